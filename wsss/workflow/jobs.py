"""One job of the workflow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What makes one artefact; ``rule`` is also the name of its stage program.

    Attributes:
        rule: Name of the rule.
        dataset: Name of the dataset.
        seed: Seed of the run; None for what all seeds share.
        name: Name of the recipe; None for the index and for tables.
        kind: Kind of what is scored; None but for ``scores``.
    """

    rule: str
    dataset: str
    seed: str | None = None
    name: str | None = None
    kind: str | None = None

    @property
    def of_recipe(self) -> tuple[str, str]:
        """Seed and recipe, for jobs that make an artefact of a recipe. Raises ``ValueError`` for others."""
        if self.seed is None or self.name is None:
            raise ValueError(f"{self.rule} makes no artefact of a recipe")
        return self.seed, self.name
