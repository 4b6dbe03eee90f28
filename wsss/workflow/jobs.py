"""The jobs of a configuration, seen from the artefact folders: which stage makes a folder, from what, with which
settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from wsss.config.ablation import study_of
from wsss.config.loader import load, merge
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError
from wsss.settings import EvaluationSettings, Settings
from wsss.steps import SCORED, STEPS, TABLES
from wsss.text import nearest
from wsss.workflow.checkout import checkout
from wsss.workflow.plan import Plan

USUAL = "config.yaml"
OF_DATASET = {"index": "index", "report": "report", "ablation": "study", "explanations": "explanations"}
"""Folder below ``results/DATASET`` -> the rule that makes it."""
LAST = {"all": ("summary", "report"), "ablation": ("study",), "explain": ("explanations",)}
"""Target -> the rules that end it."""


@dataclass(frozen=True)
class Job:
    """One job of the workflow; ``rule`` is also the name of its stage program."""

    rule: str
    dataset: str
    seed: str | None = None
    name: str | None = None
    kind: str | None = None

    @property
    def wildcards(self) -> Any:
        """What the workflow's rules call its dataset, seed, name and kind."""
        return SimpleNamespace(dataset=self.dataset, seed=self.seed, name=self.name, kind=self.kind)

    @property
    def of_recipe(self) -> tuple[str, str]:
        """Seed and recipe, for jobs that make an artefact of a recipe. Raises ``ValueError`` for others."""
        if self.seed is None or self.name is None:
            raise ValueError(f"{self.rule} makes no artefact of a recipe")
        return self.seed, self.name


class Chain:
    """A configuration's jobs.

    Attributes:
        plan: What the workflow's rules ask; its recipes are those of the ablation study too.
        files: The configuration files.
        given: Whether they were named, and not just found.
    """

    def __init__(self, plan: Plan, files: Sequence[str], given: bool) -> None:
        self.plan, self.files, self.given = plan, tuple(files), given

    @classmethod
    def read(cls, files: Sequence[str] | None) -> Chain:
        """Read a configuration as the workflow does: the files that are named, or ``config.yaml``.

        Raises ``WsssError`` where a file is missing or has problems."""
        if not files and not Path(USUAL).is_file():
            raise WsssError(f"no {USUAL} in {os.getcwd()}; go to the folder of the run, or name one with --configfile")
        names = list(files or [USUAL])
        raw = reduce(merge, [read_yaml(name) for name in names])
        plan = Plan(load(raw), checkout() or Path.cwd(), study=study_of(raw))
        return cls(plan, names, bool(files))

    @property
    def title(self) -> str:
        """The configuration files, as messages name them."""
        return " + ".join(self.files)

    def at(self, folder: Path | str) -> Job:
        """The job that makes an artefact folder. Raises ``WsssError`` where the configuration has none."""
        results = self.plan.config.results
        parts = Path(os.path.relpath(os.path.abspath(folder), os.path.abspath(results))).parts
        if not parts or parts[0] == "..":
            raise WsssError(f"lies outside the results folder {results!r} of {self.title}")
        dataset, *rest = parts
        self._known("datasets", dataset)
        if not rest:
            return Job("summary", dataset)
        if len(rest) == 1 and rest[0] in OF_DATASET:
            return Job(OF_DATASET[rest[0]], dataset)
        if len(rest) >= 3 and (seed := re.fullmatch(r"s(\d+)", rest[0])):
            if len(rest) == 4 and rest[1] == "scores" and rest[2] in SCORED:
                self._maker(SCORED[rest[2]], rest[3])
                return Job("scores", dataset, seed[1], rest[3], rest[2])
            if len(rest) == 3:
                return Job(self._maker(rest[1], rest[2]), dataset, seed[1], rest[2])
        raise WsssError(f"is no folder that {self.title} makes (results/DATASET/sSEED/KIND/NAME)")

    def _maker(self, folder: str, name: str) -> str:
        """The rule that makes ``folder/name``."""
        rules = [rule for rule, step in STEPS.items() if step.folder == folder]
        if not rules:
            raise WsssError(f"no stage writes into a folder {folder!r}")
        self._known(STEPS[rules[0]].kind, name)
        return next(rule for rule in rules if name in self.plan.served(rule))

    def _known(self, kind: str, name: str) -> None:
        known = self.plan.config.recipes[kind]
        if name not in known:
            raise WsssError(f"{self.title} has no recipe {name!r} in '{kind}'{nearest(name, known)}")

    def folder(self, job: Job) -> str:
        """The artefact folder of a job, relative to the working directory."""
        base = self.plan.base(job.dataset, job.seed)
        if job.rule in OF_DATASET.values():
            return f"{base}/{next(name for name, rule in OF_DATASET.items() if rule == job.rule)}"
        if job.rule == "summary":
            return base
        middle = f"scores/{job.kind}" if job.rule == "scores" else STEPS[job.rule].folder
        return f"{base}/{middle}/{job.name}"

    def inputs(self, job: Job) -> dict[str, str]:
        """Input name to artefact folder, as a manifest has them."""
        index = {"index": f"{self.plan.base(job.dataset)}/index"}
        if job.rule == "index":
            return {}
        if job.rule == "scores" and job.kind is not None:
            run = self.plan.base(job.dataset, job.seed)
            return index | {"artefact": f"{run}/{SCORED[job.kind]}/{job.name}"}
        if job.rule == "explanations":
            return index | {f"explanations.{n}": one for n, one in enumerate(self.plan.explanations(job.dataset))}
        if job.rule in ("summary", "report", "study"):
            read = self.plan.study_scores if job.rule == "study" else self.plan.scores
            return index | {f"scores.{n}": folder for n, folder in enumerate(read(job.dataset))}
        return self.plan.upstream(job.rule, job.dataset, *job.of_recipe)

    def settings(self, job: Job) -> Settings | None:
        """The typed settings that a job's stage reads; what it does not read has its default."""
        if job.rule in ("report", "study", "explanations"):
            return None
        recipe: Settings
        if job.rule == "index":
            recipe = self.plan.config.recipes["datasets"][job.dataset]
            return recipe
        values = json.loads(self.plan.settings(job.rule)(job.wildcards))
        if job.rule in ("scores", "summary"):
            read: Settings = EvaluationSettings.read(values)
            return read
        recipe, part = self.plan.recipe(job.rule, job.of_recipe[1]), STEPS[job.rule].part
        read = type(recipe if part is None else getattr(recipe, part)).read(values)
        return read

    def counted_flags(self, job: Job) -> dict[str, str]:
        """Flags of a job's program that change its result and are no settings, by name."""
        if job.rule == "scores":
            return {"kind": str(job.kind)}
        if job.rule in ("index", *TABLES):
            return {"dataset": job.dataset, **({"layout": self.plan.study_layout(None)} if job.rule == "study" else {})}
        return {}

    def shards(self, job: Job) -> int:
        """Jobs that share the images, as the recipe has it; one more puts their shares together where it is not 1."""
        return self.plan.shards(job.rule, job.of_recipe[1]) if job.rule in STEPS else 1

    def flags(self, job: Job) -> str:
        """Flags of a job's program that are no settings: its inputs, and what they are."""
        return self.plan.given_flags(job.rule)(job.wildcards, None)

    def wanted(self, target: str = "all") -> list[Job]:
        """Every job of a target (``all``, ``ablation``, ``explain``), each after those it needs."""
        if target == "ablation":
            self.plan.studies()  # says why there is no study
        if target == "explain" and not self.plan.explained():
            raise WsssError(f"{self.title} has no 'explanations'")
        found: dict[Job, None] = {}

        def need(job: Job) -> None:
            if job not in found:
                for folder in self.inputs(job).values():
                    need(self.at(folder))
                found[job] = None

        for dataset in self.plan.config.dataset:
            for rule in LAST[target]:
                need(Job(rule, dataset))
        return list(found)

    def everything(self) -> list[Job]:
        """Every job of every target that the configuration has, each after those it needs."""
        found: dict[Job, None] = {}
        for target in LAST:
            try:
                found |= dict.fromkeys(self.wanted(target))
            except WsssError:
                continue
        return list(found)
