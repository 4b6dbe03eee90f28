"""What the rules of the workflow ask: which files a stage reads, its settings, the hash of its code, where things are.

Three kinds of functions are handed to rules, and the difference decides what runs again:

- ``f(wildcards)`` for inputs and params: a change in what it returns re-runs the job (settings, code, content);
- ``f(wildcards, output)`` or ``f(wildcards, input)`` for params: derived, never a reason to re-run (paths, folders). A
  checkout may so be moved or copied;
- the small ``manifest.json`` of an artefact is the input of what follows: Snakemake compares its checksum, so touching
  it re-runs nothing; bulky files beside it are inputs marked ``ancient``, so that they only have to be there.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss.content import file_content, tree_content
from wsss.fingerprint import fingerprint
from wsss.identity import named_modules
from wsss.needs import NEEDS
from wsss.settings import EvaluationSettings, Settings, TrainingSettings
from wsss.sources import tables, trees
from wsss.steps import LEARNT_FROM, PIXEL_SCORES, READ_FROM, SCORED, STEPS
from wsss.targets import Targets


class Plan(Targets):
    """The workflow's view of a configuration: ``wsss.places`` says where things are, ``wsss.targets`` what ends a run;
    here stands what a job reads, and what makes it run again."""

    # --- inputs ---------------------------------------------------------------------------------------------------

    def upstream(self, rule: str, dataset: str, seed: str, name: str) -> dict[str, str]:
        """The artefact folders that a job reads: flag (without dashes) -> folder; ``members.0``, ``members.1``, ... for
        the entries of a list."""
        step, run = STEPS[rule], self.base(dataset, seed)
        found = {"index": f"{self.base(dataset)}/index"}
        found |= {flag: f"{run}/{folder}/{name}" for flag, folder in step.reads}
        for key, (kind, target) in self.config.refs(step.kind, name).items():
            if step.refs is None or key in step.refs:
                special = LEARNT_FROM if rule == "saliency" else READ_FROM
                found[key] = f"{run}/{special.get(key, kind)}/{target}"
        return found | self.scores_read(rule, run, name)

    def scores_read(self, rule: str, run: str, name: str) -> dict[str, str]:
        """The scores of maps that a job chooses thresholds or weights by."""
        recipe = self.recipe(rule, name)
        if rule == "masks" and recipe.threshold.policy != "fixed" and recipe.saliency is None and recipe.ignore is None:
            return {"scores": f"{run}/scores/cams/{recipe.cams}"}
        if rule == "ensemble" and recipe.rule == "calibrated":
            return {f"scores.{n}": f"{run}/scores/cams/{member}" for n, member in enumerate(recipe.members)}
        return {}

    def inputs(self, rule: str) -> Callable[[Any], dict[str, Any]]:
        """Input function of a rule, to be unpacked."""

        def get(wildcards: Any) -> dict[str, Any]:
            folders = self.upstream(rule, wildcards.dataset, wildcards.seed, wildcards.name)
            found = {key: self.artefact(folder) for key, folder in folders.items()}
            weights = getattr(self.recipe(rule, wildcards.name), "pretrained", None)
            if isinstance(weights, str) and STEPS[rule].part is None and os.path.isfile(weights):
                found["weights"] = self.theirs(weights)
            elsewhere = self.elsewhere(rule, wildcards)
            if elsewhere is not None and os.path.exists(elsewhere):
                found["elsewhere"] = self.theirs(elsewhere)
            return found

        return get

    def flags(self, rule: str) -> Callable[[Any, Any], str]:
        """The command's input folders, ``--index DIR --ordinary DIR``; a reference that is null has no flag."""

        def get(wildcards: Any, input: Any) -> str:
            grouped: dict[str, list[str]] = {}
            before = self.prefix(wildcards, input)
            for key, folder in self.upstream(rule, wildcards.dataset, wildcards.seed, wildcards.name).items():
                grouped.setdefault(key.partition(".")[0].replace("_", "-"), []).append(before + folder)
            return " ".join(f"--{flag} {shlex.join(folders)}" for flag, folders in grouped.items())

        return get

    def elsewhere(self, rule: str, wildcards: Any) -> str | None:
        """The path of an artefact made elsewhere, for the rules that take one in."""
        return self._given(rule, wildcards) if rule.startswith("external_") else None

    def _given(self, rule: str, wildcards: Any) -> str:
        path: str = self.recipe(rule, wildcards.name).path
        return path.replace("{seed}", str(wildcards.seed))

    def elsewhere_content(self, rule: str) -> Callable[[Any], str]:
        """What an artefact made elsewhere holds: a file by its content, a folder by the names and sizes below it."""

        def get(wildcards: Any) -> str:
            path = self._given(rule, wildcards)
            return "elsewhere " + (file_content(path) if os.path.isfile(path) else tree_content(path))

        return get

    def score_inputs(self, wildcards: Any) -> dict[str, Any]:
        """Input function of the rule ``scores``: the index, and what is scored."""
        run = self.base(wildcards.dataset, wildcards.seed)
        artefact = self.artefact(f"{run}/{SCORED[wildcards.kind]}/{wildcards.name}")
        predicted = (
            {"predictions": self.ancient(f"{Path(artefact[0]).parent}/predictions.csv")}
            if wildcards.kind == "classifiers"
            else {}
        )
        return {"index": self.artefact(f"{self.base(wildcards.dataset)}/index"), "artefact": artefact, **predicted}

    def score_flags(self, wildcards: Any, input: Any) -> str:
        """The input folders of the command of ``scores``, and the kind of what is scored."""
        before = self.prefix(wildcards, input)
        run = before + self.base(wildcards.dataset, wildcards.seed)
        artefact = f"{run}/{SCORED[wildcards.kind]}/{wildcards.name}"
        index = f"{before}{self.base(wildcards.dataset)}/index"
        return shlex.join(["--index", index, "--kind", wildcards.kind, "--artefact", artefact])

    def index_inputs(self, wildcards: Any) -> list[Any]:
        """The user's tables and lists. They are read by content (see ``index_content``), so their times do not count;
        one that is missing is left for the index stage to report, with everything else that is wrong."""
        dataset = self.config.recipes["datasets"][wildcards.dataset]
        return [self.theirs(path) for path in tables(dataset) if os.path.isfile(path)]

    def index_content(self, wildcards: Any) -> str:
        """What the user's own files hold: tables by content, folders by the names and sizes below them."""
        dataset = self.config.recipes["datasets"][wildcards.dataset]
        contents = [file_content(path) for path in tables(dataset)]
        return " ".join(["files", *contents, *(tree_content(path) for path in trees(dataset))])

    def weights_content(self, rule: str) -> Callable[[Any], str]:
        """Content of a file with pretrained weights, where the recipe names one."""

        def get(wildcards: Any) -> str:
            weights = self.recipe(rule, wildcards.name).pretrained
            return f"weights {file_content(weights)}" if isinstance(weights, str) else "weights none"

        return get

    # --- params ---------------------------------------------------------------------------------------------------

    def settings(self, rule: str) -> Callable[[Any], str]:
        """All settings that change a job's result, as one canonical string: Snakemake compares params as a set of
        values without names, so two numbers that swap places in separate params would go unseen."""

        def get(wildcards: Any) -> str:
            recipe: Settings
            if rule == "index":
                recipe = self.config.recipes["datasets"][wildcards.dataset]
                return recipe.canonical()
            if rule == "scores":
                # Only maps are scored at thresholds; for the rest the defaults stand, and a change re-runs nothing.
                return self.evaluation(wildcards).canonical() if wildcards.kind in PIXEL_SCORES else "{}"
            if rule == "summary":
                return "{}"
            step, recipe = STEPS[rule], self.recipe(rule, wildcards.name)
            if step.part is not None:
                recipe = getattr(recipe, step.part)
                return recipe.canonical()
            return recipe.canonical(exclude=set(step.without))

        return get

    def evaluation(self, wildcards: Any) -> EvaluationSettings:
        """How maps are scored; for saliency, *fixed* is the threshold that the recipe makes its masks with."""
        evaluation = self.config.evaluation
        if wildcards.kind == "saliency":
            threshold = self.config.recipes["saliency"][wildcards.name].refine.threshold
            evaluation = evaluation.model_copy(update={"threshold": threshold})
        return evaluation

    def code(self, rule: str) -> Callable[[Any], str]:
        """Content hash of a stage's program and of what it reaches, the module that its settings name included."""

        def get(wildcards: Any) -> str:
            if rule == "index":
                return "code " + self.hash(
                    rule, named_modules(rule, self.config.recipes["datasets"][wildcards.dataset])
                )
            recipe = self.recipe(rule, wildcards.name) if rule in STEPS else None
            return "code " + self.hash(rule, named_modules(rule, recipe))

        return get

    def hash(self, rule: str, extra: tuple[str, ...] = ()) -> str:
        """Content hash of a stage's program; ``extra``: modules that it looks up by name."""
        return fingerprint(self.root / "stages" / f"{rule}.py", self.root, extra)

    def program(self, rule: str) -> Callable[[Any, Any], str]:
        """How a stage is called: this Python, and the stage's path wherever the checkout lies; under torchrun where
        several processes train together; with ``--log`` where a training is to be watched."""
        stage, processes, log = str(self.root / "stages" / f"{rule}.py"), self.processes(rule), self.log(rule)

        def get(wildcards: Any, output: Any) -> str:
            count = processes(wildcards)
            together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
            return shlex.join([sys.executable, *(together if count > 1 else []), stage, *log(wildcards)])

        return get

    def processes(self, rule: str) -> Callable[[Any], int]:
        """Over how many processes a job is spread. Each of a training's has a GPU."""

        def get(wildcards: Any) -> int:
            training = self.training(rule, wildcards)
            return 1 if training is None else training.processes

        return get

    def log(self, rule: str) -> Callable[[Any], list[str]]:
        """The flag of a training that logs its curves elsewhere, too."""

        def get(wildcards: Any) -> list[str]:
            training = self.training(rule, wildcards)
            return [] if training is None or training.log is None else ["--log", training.log]

        return get

    def training(self, rule: str, wildcards: Any) -> TrainingSettings | None:
        """The settings of a job that is a training."""
        step = STEPS.get(rule)
        recipe = self.recipe(rule, wildcards.name) if step is not None and step.part is None else None
        return recipe if isinstance(recipe, TrainingSettings) else None

    def cores(self, rule: str, each: int) -> Callable[[Any], int]:
        """Cores of a job: ``each`` for each of its processes. Snakemake gives no more than there are."""
        processes = self.processes(rule)
        return lambda wildcards: each * processes(wildcards)

    def memory(self, rule: str) -> Callable[[Any, int, int], int]:
        """Megabytes of a job, for all its processes."""
        need, processes = NEEDS[rule], self.processes(rule)

        def get(wildcards: Any, attempt: int, threads: int) -> int:
            return need.memory(wildcards, attempt, threads) + need.base * (processes(wildcards) - 1) * attempt

        return get

    @staticmethod
    def out(wildcards: Any, output: Any) -> str:
        """The artefact folder: where the first output lies."""
        return str(Path(output[0]).parent)

    @staticmethod
    def state(wildcards: Any, output: Any) -> str:
        """A stage's folder for checkpoints: no output, so Snakemake never deletes it."""
        return str(Path(output[0]).parent / "state")

    @staticmethod
    def tee(wildcards: Any, output: Any) -> str:
        """Shows a stage's messages and keeps them. It outlives the signals that stop a job, so that a stage that saves
        its state can still say so."""
        return """sh -c 'trap "" INT TERM; exec tee "$0"'"""
