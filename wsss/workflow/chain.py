"""The jobs of a configuration: which folder each makes, from what, with which settings and flags."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from wsss.config.ablation import Study, layout, study_of
from wsss.config.loader import Config, load, merge
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError
from wsss.settings import KINDS, ContinualSettings, Settings, TrainingSettings, classes_of
from wsss.steps import COMPARED, LEARNT_FROM, OF_RECIPES, PIXEL_SCORES, READ_FROM, SCORED, STEPS, TABLES
from wsss.text import nearest
from wsss.workflow.jobs import Job

USUAL = "config.yaml"
OF_DATASET = {"index": "index", "report": "report", "ablation": "ablation_table", **{rule: rule for rule in COMPARED}}
"""Folder below ``results/DATASET`` -> the rule that makes it."""
LAST = {
    "all": ("summary", "report"),
    "ablation": ("ablation_table",),
    "explain": ("explanations",),
    "beyond": ("audits", "continual", "searches"),
}
"""Target -> the rules that end it; of those that compare recipes (``COMPARED``), the ones that have some."""


class Chain:
    """A configuration's recipes, artefacts and jobs.

    Attributes:
        own: The configuration as it was given.
        study: The ablation study beside it, or why it cannot be had; its recipes are made for its own target alone.
        config: The configuration with the study's recipes.
        files: The configuration files.
        given: Whether they were named, and not just found.
    """

    def __init__(
        self,
        config: Config,
        study: Study | str = "no study was asked for",
        files: Iterable[str] = (),
        given: bool = False,
        prefix: str = "",
    ) -> None:
        """``prefix``: stands before the folder of results, where the workflow is a module that has one."""
        self.own, self.study, self.files, self.given = config, study, tuple(files), given
        config = study.config if isinstance(study, Study) else config
        self.config = dataclasses.replace(config, results=f"{prefix}{config.results}")

    @classmethod
    def read(cls, files: Sequence[str] | None) -> Chain:
        """Read a configuration as the workflow does: the files that are named, or ``config.yaml``.

        Raises ``WsssError`` where a file is missing or has problems."""
        if not files and not Path(USUAL).is_file():
            raise WsssError(f"no {USUAL} in {os.getcwd()}; go to the folder of the run, or name one with --configfile")
        names = list(files or [USUAL])
        raw = reduce(merge, [read_yaml(name) for name in names])
        return cls(load(raw), study_of(raw), names, bool(files))

    @property
    def title(self) -> str:
        """The configuration files, as messages name them."""
        return " + ".join(self.files)

    # --- recipes --------------------------------------------------------------------------------------------------

    def recipe(self, rule: str, name: str | None) -> Any:
        """The typed settings of the recipe that a rule makes an artefact of."""
        return self.config.recipes[STEPS[rule].kind][str(name)]

    def served(self, rule: str) -> list[str]:
        """Names of the recipes that a rule makes artefacts of."""
        step = STEPS[rule]
        key = classes_of(KINDS[step.kind])[0]
        recipes = self.config.recipes[step.kind]
        return [n for n, s in recipes.items() if key is None or not step.variants or getattr(s, key) in step.variants]

    def training(self, job: Job) -> TrainingSettings | None:
        """The settings of a job that is a training."""
        step = STEPS.get(job.rule)
        recipe = self.recipe(job.rule, job.name) if step is not None and step.part is None else None
        return recipe if isinstance(recipe, TrainingSettings) else None

    def shards(self, job: Job) -> int:
        """Jobs that share the images, as the recipe has it; one more puts their shards together where it is not 1."""
        shards: int = getattr(self._block(job), "shards", 1)
        return shards

    def storage(self, job: Job) -> str | None:
        """How a job stores its masks, as the recipe has it; None for one that writes none."""
        return getattr(self._block(job), "storage", None)

    def _block(self, job: Job) -> Any:
        """What of a recipe its job reads; None for a job that is not of a recipe."""
        if job.rule not in STEPS:
            return None
        recipe, part = self.recipe(job.rule, job.name), STEPS[job.rule].part
        return recipe if part is None else getattr(recipe, part)

    # --- folders --------------------------------------------------------------------------------------------------

    def base(self, dataset: str, seed: Any = None) -> str:
        """``results/<dataset>[/s<seed>]``."""
        return "/".join([self.config.results, dataset, *([f"s{seed}"] if seed is not None else [])])

    def folder(self, job: Job) -> str:
        """The artefact folder of a job, relative to the working directory."""
        base = self.base(job.dataset, job.seed)
        if job.rule in OF_DATASET.values():
            return f"{base}/{next(name for name, rule in OF_DATASET.items() if rule == job.rule)}"
        if job.rule == "summary":
            return base
        middle = f"scores/{job.kind}" if job.rule == "scores" else STEPS[job.rule].folder
        return f"{base}/{middle}/{job.name}"

    def at(self, folder: Path | str) -> Job:
        """The job that makes an artefact folder. Raises ``WsssError`` where the configuration has none."""
        results = self.config.results
        parts = Path(os.path.relpath(os.path.abspath(folder), os.path.abspath(results))).parts
        if not parts or parts[0] == "..":
            raise WsssError(f"lies outside the results folder {results!r} of {self.title}")
        dataset, *rest = parts
        self._check_name("datasets", dataset)
        if not rest:
            return Job("summary", dataset)
        if len(rest) == 1 and rest[0] in OF_DATASET:
            return Job(OF_DATASET[rest[0]], dataset)
        if len(rest) >= 3 and (seed := re.fullmatch(r"s(\d+)", rest[0])):
            if len(rest) == 4 and rest[1] == "scores" and rest[2] in SCORED:
                self.maker(SCORED[rest[2]], rest[3])
                return Job("scores", dataset, seed[1], rest[3], rest[2])
            if len(rest) == 3:
                return Job(self.maker(rest[1], rest[2]), dataset, seed[1], rest[2])
        raise WsssError(f"is no folder that {self.title} makes (results/DATASET/sSEED/KIND/NAME)")

    def maker(self, folder: str, name: str) -> str:
        """The rule that makes ``folder/name``."""
        rules = [rule for rule, step in STEPS.items() if step.folder == folder]
        if not rules:
            raise WsssError(f"no stage writes into a folder {folder!r}")
        self._check_name(STEPS[rules[0]].kind, name)
        return next(rule for rule in rules if name in self.served(rule))

    def _check_name(self, kind: str, name: str) -> None:
        known = self.config.recipes[kind]
        if name not in known:
            raise WsssError(f"{self.title} has no recipe {name!r} in '{kind}'{nearest(name, known)}")

    def made_of(self, kind: str, datasets: Iterable[str] | None = None) -> list[str]:
        """Folders of all artefacts of a kind, over datasets and seeds; for ``segmenters``, of their predictions."""
        return [f"{run}/{SCORED[kind]}/{name}" for run, name in self._every(kind, datasets)]

    def _every(self, kind: str, datasets: Iterable[str] | None) -> list[tuple[str, str]]:
        datasets, names = self.config.dataset if datasets is None else datasets, self.own.recipes
        runs = [self.base(dataset, seed) for dataset in datasets for seed in self.config.seeds]
        return [(run, name) for run in runs for name in names[OF_RECIPES.get(kind, kind)]]

    # --- what a job reads -----------------------------------------------------------------------------------------

    def inputs(self, job: Job) -> dict[str, str]:
        """Input name to artefact folder, as a manifest has them: ``members.0``, ``members.1``, ... for a list."""
        if job.rule == "index":
            return {}
        index = {"index": f"{self.base(job.dataset)}/index"}
        if job.rule == "scores":
            return index | {"artefact": f"{self.base(job.dataset, job.seed)}/{SCORED[str(job.kind)]}/{job.name}"}
        if job.rule in TABLES:
            for name, folders in self._put_together(job).items():
                index |= {f"{name}.{n}": folder for n, folder in enumerate(folders)}
            return index
        step, run = STEPS[job.rule], self.base(job.dataset, job.seed)
        found = index | {flag: f"{run}/{folder}/{job.name}" for flag, folder in step.reads}
        for key, (kind, target) in self.config.refs(step.kind, str(job.name)).items():
            if key not in step.without and (step.refs is None or key in step.refs):
                special = LEARNT_FROM if job.rule == "saliency" else READ_FROM
                found[key] = f"{run}/{special.get(key, kind)}/{target}"
        return found | self._scores_read(job, run)

    def _scores_read(self, job: Job, run: str) -> dict[str, str]:
        """The scores of maps that a job chooses thresholds or weights by."""
        recipe = self.recipe(job.rule, job.name)
        by_threshold = job.rule == "masks" and recipe.saliency is None and recipe.ignore is None
        if by_threshold and recipe.threshold.looks_at_masks:
            return {"scores": f"{run}/scores/cams/{recipe.cams}"}
        if job.rule == "ensemble" and recipe.rule == "calibrated":
            return {f"scores.{n}": f"{run}/scores/cams/{member}" for n, member in enumerate(recipe.members)}
        return {}

    def _put_together(self, job: Job) -> dict[str, list[str]]:
        """What a table shows: names of its inputs, and the folders of each."""
        if (kind := COMPARED.get(job.rule)) is not None:
            found = {kind: [f"{run}/{kind}/{name}" for run, name in self._every(kind, [job.dataset])]}
            if kind == "searches":
                judged = self._judged_by_searches(job.dataset)
                found["segmenters"] = [f"{run}/segmenters/{name}" for run, name in judged]
                found["scores"] = [f"{run}/scores/segmenters/{name}" for run, name in judged]
            return {**self._steps_learnt(job.dataset), **found} if job.rule == "continual" else found
        if job.rule == "ablation_table":
            pairs = self.study.recipes if isinstance(self.study, Study) else ()
            runs = [self.base(job.dataset, seed) for seed in self.config.seeds]
            return {"scores": [f"{run}/scores/{kind}/{name}" for kind, name in pairs for run in runs]}
        kinds = ((kind, self._every(kind, [job.dataset])) for kind in SCORED)
        return {"scores": [f"{run}/scores/{kind}/{name}" for kind, every in kinds for run, name in every]}

    def _steps_learnt(self, dataset: str) -> dict[str, list[str]]:
        """The networks that learn classes step by step, and their predictions, in the same order."""
        every = [
            (run, name)
            for run, name in self._every("segmenters", [dataset])
            if isinstance(self.config.recipes["segmenters"][name], ContinualSettings)
        ]
        return {folder: [f"{run}/{folder}/{name}" for run, name in every] for folder in ("segmenters", "predictions")}

    def _judged_by_searches(self, dataset: str) -> list[tuple[str, str]]:
        """The segmentation networks that show what searches are worth: their teachers, and what they found."""
        recipes = self.own.recipes
        teachers = {search.teacher for search in recipes["searches"].values()}
        return [
            (run, name)
            for run, name in self._every("segmenters", [dataset])
            if name in teachers or recipes["segmenters"][name].architecture_from is not None
        ]

    # --- how a job is called --------------------------------------------------------------------------------------

    def settings(self, job: Job) -> Settings | None:
        """The typed settings that a job's stage reads; what it does not read has its default. None without any."""
        given, text = self._given(job), self.settings_text(job)
        if given is None or text is None or job.rule == "index":
            return given
        read: Settings = type(given).read(json.loads(text))
        return read

    def settings_text(self, job: Job) -> str | None:
        """The same as one canonical JSON string, as the program is given it."""
        given, step = self._given(job), STEPS.get(job.rule)
        if job.rule in ("scores", "summary") and job.kind not in PIXEL_SCORES:
            return "{}"  # only maps are scored at thresholds: a change runs nothing else again
        return None if given is None else given.canonical(exclude=set(step.without) if step else set())

    def _given(self, job: Job) -> Settings | None:
        """The settings that a job is about, with what its stage does not read."""
        given: Settings
        if job.rule in ("report", "ablation_table", *COMPARED):
            return None
        if job.rule == "index":
            given = self.config.recipes["datasets"][job.dataset]
        elif job.rule not in STEPS:
            given = self.config.evaluation
            if job.kind == "saliency":  # *fixed* is the threshold that the recipe makes its masks with
                threshold = self.config.recipes["saliency"][str(job.name)].refine.threshold
                if threshold != "otsu":
                    given = given.model_copy(update={"threshold": threshold})
        else:
            recipe, part = self.recipe(job.rule, job.name), STEPS[job.rule].part
            given = recipe if part is None else getattr(recipe, part)
            if job.rule == "choice" and recipe.by == "masks" and recipe.calibration_images is None:
                number = self.config.evaluation.calibration_images
                given = given.model_copy(update={"calibration_images": number})
        return given

    def counted_flags(self, job: Job) -> dict[str, str]:
        """Flags of a job's program that change its result and are no settings, by name."""
        if job.rule == "scores":
            return {"kind": str(job.kind)}
        if job.rule not in ("index", *TABLES):
            return {}
        table = job.rule == "ablation_table" and isinstance(self.study, Study)
        return {"dataset": job.dataset, **({"layout": layout(self.study)} if table else {})}  # type: ignore[arg-type]

    def flags(self, job: Job, prefix: str = "") -> str:
        """Flags of a job's program that are no settings: its inputs, and what they are. ``prefix`` stands before every
        folder."""
        grouped: dict[str, list[str]] = {name: [value] for name, value in self.counted_flags(job).items()}
        if job.rule == "summary":
            grouped["results"] = [prefix + self.base(job.dataset)]
        for key, folder in self.inputs(job).items():
            grouped.setdefault(key.partition(".")[0].replace("_", "-"), []).append(prefix + folder)
        return " ".join(f"--{flag} {shlex.join(values)}" for flag, values in grouped.items())

    # --- targets --------------------------------------------------------------------------------------------------

    def wanted(self, target: str = "all") -> list[Job]:
        """Every job of a target (``all``, ``ablation``, ``explain``, ``beyond``), each after those it needs."""
        last = self.last(target)
        if not last:
            kinds = " and no ".join(f"'{COMPARED[rule]}'" for rule in LAST[target])
            raise WsssError(f"{self.title} has no {kinds}")
        return self._with_what_they_need(last)

    def last(self, target: str) -> list[Job]:
        """The jobs that end a target. Raises ``WsssError`` where the ablation study does not go with the
        configuration."""
        if target == "ablation" and not isinstance(self.study, Study):
            raise WsssError(self.study)
        rules = [rule for rule in LAST[target] if rule not in COMPARED or self.own.recipes[COMPARED[rule]]]
        return [Job(rule, dataset) for dataset in self.config.dataset for rule in rules]

    def most_processes(self) -> int:
        """Processes on a node of the training that has the most there."""
        recipes = (one for kind in self.config.recipes.values() for one in kind.values())
        trainings = (one for one in recipes if isinstance(one, TrainingSettings))
        return max((one.processes // one.nodes for one in trainings), default=1)

    def everything(self) -> list[Job]:
        """Every job of every target that the configuration has, each after those it needs."""
        targets = [target for target in LAST if target != "ablation" or isinstance(self.study, Study)]
        return self._with_what_they_need(job for target in targets for job in self.last(target))

    def _with_what_they_need(self, jobs: Iterable[Job]) -> list[Job]:
        found: dict[Job, None] = {}

        def need(job: Job) -> None:
            if job not in found:
                for folder in self.inputs(job).values():
                    need(self.at(folder))
                found[job] = None

        for job in jobs:
            need(job)
        return list(found)
