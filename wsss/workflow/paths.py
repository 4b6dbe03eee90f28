"""Where artefacts lie and what they are called: what the rules of the workflow and their targets have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from wsss.config.ablation import Study
from wsss.config.loader import Config
from wsss.settings import KINDS, classes_of
from wsss.steps import SCORED, STEPS


class Watcher(Protocol):
    """Told of every job that Snakemake looks at (``wsss.workflow.watch``)."""

    def __call__(self, rule: str, wildcards: Any) -> bool:
        """Whether a job has to run."""

    def runs(self, path: str) -> bool:
        """Whether the job runs that makes a file."""

    def before(self, rule: str, wildcards: Any) -> list[str]:
        """Manifests that are made before a job has to run."""


class Places:
    """The names of a configuration's recipes and artefacts.

    Args:
        config: The configuration.
        study: The ablation study beside it, or why it cannot be had; its recipes are made for its own target alone.
        root: The checkout: the folder that holds ``stages/`` and ``wsss/``.
        ancient: Snakemake's mark for inputs whose time does not count.
        watch: Told of every job that Snakemake looks at; None: nobody is.
    """

    def __init__(
        self,
        config: Config,
        root: Path,
        ancient: Callable[[str], Any] = lambda path: path,
        study: Study | str = "no study was asked for",
        watch: Watcher | None = None,
    ) -> None:
        self.own, self.root, self.ancient, self.study = config, Path(root), ancient, study
        self.watch = watch
        self.config = study.config if isinstance(study, Study) else config

    def names(self, kind: str) -> list[str]:
        """Names of the configuration's own recipes."""
        return list(self.own.recipes[kind])

    def recipe(self, rule: str, name: str) -> Any:
        """The typed settings of the recipe that a rule makes an artefact of."""
        return self.config.recipes[STEPS[rule].kind][name]

    def served(self, rule: str) -> list[str]:
        """Names of the recipes that a rule makes artefacts of."""
        step = STEPS[rule]
        key = classes_of(KINDS[step.kind])[0]
        recipes = self.config.recipes[step.kind]
        if key is None or not step.variants:
            return list(recipes)
        return [n for n, s in recipes.items() if getattr(s, key) in step.variants]

    def base(self, dataset: str, seed: Any = None) -> str:
        """``results/<dataset>[/s<seed>]``."""
        parts = [self.config.results, dataset] + ([f"s{seed}"] if seed is not None else [])
        return "/".join(parts)

    def pattern(self, *kinds: str) -> str:
        """A wildcard constraint: exactly the names of these kinds."""
        return one_of(name for kind in kinds for name in self.config.recipes[kind])

    def name_pattern(self, rule: str) -> str:
        """A wildcard constraint: exactly the names that a rule serves."""
        return one_of(self.served(rule))

    @staticmethod
    def kind_pattern() -> str:
        """A wildcard constraint: the kinds of scores."""
        return one_of(SCORED)

    def mark(self, rule: str, wildcards: Any) -> Callable[[str], Any]:
        """How a job's inputs are marked: ``ancient``, so that their times are nothing to it, but for those that run
        themselves before a job that has to run."""
        watch = self.watch
        if watch is None or not watch(rule, wildcards):
            return self.ancient
        return lambda path: path if watch.runs(path) else self.ancient(path)

    def after(self, rule: str, wildcards: Any) -> dict[str, list[str]]:
        """Further inputs of a job that has to run: what runs before it without being read by it, so that Snakemake sees
        that it depends on that."""
        found = [] if self.watch is None else self.watch.before(rule, wildcards)
        return {"after": found} if found else {}

    def prefix(self, wildcards: Any, input: Any) -> str:
        """What stands before all results where the workflow is a module with a ``prefix``; empty elsewhere."""
        index = f"{self.base(wildcards.dataset)}/index/manifest.json"
        return "" if input is None else str(input.index[0]).removesuffix(index)


def one_of(names: Iterable[str]) -> str:
    """A pattern that matches exactly these names; nothing where there is none."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or "(?!)"
