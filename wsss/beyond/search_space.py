"""The networks that a search chooses from: what tells them apart, and how one becomes another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from wsss.settings.searches import DILATED, STRIDES, SearchSpace

GENES = ("architecture", "backbone", "output_stride", "atrous_rates", "decoder_channels")


@dataclass(frozen=True)
class Genome:
    """A network. Genes that make no difference to its architecture have one value: stride 32 and no rates."""

    architecture: str
    backbone: str
    output_stride: int
    atrous_rates: tuple[int, int, int] | None
    decoder_channels: int | None

    def __str__(self) -> str:
        rates = "" if self.atrous_rates is None else f" rates {','.join(map(str, self.atrous_rates))}"
        width = "" if self.decoder_channels is None else f" channels {self.decoder_channels}"
        return f"{self.architecture} {self.backbone} stride {self.output_stride}{rates}{width}"

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Genome:
        """From JSON values; further keys are left out."""
        rates = plain["atrous_rates"]
        return cls(**{g: plain[g] for g in GENES} | {"atrous_rates": None if rates is None else tuple(rates)})


class Space:
    """All genomes of a recipe.

    Attributes:
        every: Each of them once, in the order of the settings (backbones by name).
    """

    def __init__(self, settings: SearchSpace) -> None:
        self.weights = dict(settings.backbone)
        self._values: dict[str, tuple[Any, ...]] = {
            "architecture": settings.architecture,
            "backbone": tuple(sorted(settings.backbone)),
            "output_stride": settings.output_stride,
            "atrous_rates": settings.atrous_rates,
            "decoder_channels": settings.width,
        }
        self.every = list(self._all())

    def _all(self) -> Iterator[Genome]:
        for architecture in self._values["architecture"]:
            for values in product(*(self.possible(gene, architecture) for gene in GENES[1:])):
                yield Genome(architecture, *values)

    def possible(self, gene: str, architecture: str) -> tuple[Any, ...]:
        """The values that a gene can have with an architecture."""
        if gene == "output_stride":
            allowed = STRIDES.get(architecture)
            return (32,) if allowed is None else tuple(v for v in self._values[gene] if v in allowed)
        return (None,) if gene == "atrous_rates" and architecture not in DILATED else self._values[gene]

    def draw(self, rng: np.random.Generator) -> Genome:
        """Any genome, all alike."""
        return self.every[int(rng.integers(len(self.every)))]

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """One gene, any of those that have a choice, gets any other value; the genome itself where none has."""
        free = [gene for gene in GENES if len(self.possible(gene, genome.architecture)) > 1]
        if not free:
            return genome
        gene = free[int(rng.integers(len(free)))]
        others = [v for v in self.possible(gene, genome.architecture) if v != getattr(genome, gene)]
        return self._fitted(replace(genome, **{gene: others[int(rng.integers(len(others)))]}), rng)

    def cross(self, first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
        """Each gene from either parent."""
        picked = {gene: getattr((first, second)[int(rng.integers(2))], gene) for gene in GENES}
        return self._fitted(Genome(**picked), rng)

    def _fitted(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """With any possible value for each gene that has one which does not go with the architecture."""
        for gene in GENES[1:]:
            possible = self.possible(gene, genome.architecture)
            if getattr(genome, gene) not in possible:
                genome = replace(genome, **{gene: possible[int(rng.integers(len(possible)))]})
        return genome

    def recipe(self, genome: Genome) -> dict[str, Any]:
        """A genome as keys of a recipe of ``segmenters`` (JSON values); rates only where they make a difference."""
        found = {
            "architecture": genome.architecture,
            "backbone": genome.backbone,
            "pretrained": self.weights[genome.backbone],
            "output_stride": genome.output_stride,
            "decoder_channels": genome.decoder_channels,
        }
        return found if genome.atrous_rates is None else {**found, "atrous_rates": list(genome.atrous_rates)}
