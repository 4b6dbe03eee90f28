"""What the rules of the workflow ask: which files a job reads, how its program is called, where things are.

Nothing that a rule hands to Snakemake makes a job run again by itself: params are all derived, the text of the shell
line never changes, and the inputs of an artefact that is what is wanted are marked ``ancient``. Whether it is that is
the question of ``wsss.workflow.staleness`` alone; ``watch`` (``wsss.workflow.watch``) tells Snakemake the answer for
each job that it looks at. A checkout or its results may so be moved, copied or touched.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss.runtime.shard import Shard
from wsss.settings import EvaluationSettings, Settings, TrainingSettings
from wsss.steps import LEARNT_FROM, PIXEL_SCORES, READ_FROM, SCORED, STEPS
from wsss.workflow.resources import GATHER, NEEDS
from wsss.workflow.targets import Targets


class Plan(Targets):
    """The workflow's view of a configuration: ``wsss.workflow.paths`` says where things are, ``wsss.workflow.targets``
    what ends a run; here stands what a job reads, and how it is called."""

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
        """Input function of a rule and of its shards, to be unpacked."""

        def get(wildcards: Any) -> dict[str, Any]:
            mark = self.mark(rule, wildcards)
            folders = self.upstream(rule, wildcards.dataset, wildcards.seed, wildcards.name)
            found: dict[str, Any] = {key: [mark(f"{folder}/manifest.json")] for key, folder in folders.items()}
            found |= self.after(rule, wildcards)
            if not is_shard(wildcards) and (total := self.shards(rule, wildcards.name)) > 1:
                folder = Path(self.folder(rule, wildcards))
                found["parts"] = [mark(str(Shard(number, total).receipt(folder))) for number in range(total)]
            return found

        return get

    def shards(self, rule: str, name: str) -> int:
        """Over how many jobs an artefact is scattered."""
        recipe, part = self.recipe(rule, name), STEPS[rule].part
        shards: int = getattr(recipe if part is None else getattr(recipe, part), "shards", 1)
        return shards

    def folder(self, rule: str, wildcards: Any) -> str:
        """The folder of a recipe's artefact."""
        return f"{self.base(wildcards.dataset, wildcards.seed)}/{STEPS[rule].folder}/{wildcards.name}"

    def flags(self, rule: str) -> Callable[[Any, Any], str]:
        """The command's input folders, ``--index DIR --ordinary DIR``; a reference that is null has no flag."""

        def get(wildcards: Any, input: Any) -> str:
            grouped: dict[str, list[str]] = {}
            before = self.prefix(wildcards, input)
            for key, folder in self.upstream(rule, wildcards.dataset, wildcards.seed, wildcards.name).items():
                grouped.setdefault(key.partition(".")[0].replace("_", "-"), []).append(before + folder)
            return " ".join(f"--{flag} {shlex.join(folders)}" for flag, folders in grouped.items())

        return get

    def score_inputs(self, wildcards: Any) -> dict[str, Any]:
        """Input function of the rule ``scores``: the index, and what is scored."""
        mark = self.mark("scores", wildcards)
        artefact = f"{self.base(wildcards.dataset, wildcards.seed)}/{SCORED[wildcards.kind]}/{wildcards.name}"
        index = f"{self.base(wildcards.dataset)}/index"
        direct = {"index": [mark(f"{index}/manifest.json")], "artefact": [mark(f"{artefact}/manifest.json")]}
        return direct | self.after("scores", wildcards)

    def score_flags(self, wildcards: Any, input: Any) -> str:
        """The input folders of the command of ``scores``, and the kind of what is scored."""
        before = self.prefix(wildcards, input)
        run = before + self.base(wildcards.dataset, wildcards.seed)
        artefact = f"{run}/{SCORED[wildcards.kind]}/{wildcards.name}"
        index = f"{before}{self.base(wildcards.dataset)}/index"
        return shlex.join(["--index", index, "--kind", wildcards.kind, "--artefact", artefact])

    def index_inputs(self, wildcards: Any) -> list[Any]:
        """Input function of the rule ``index``, which reads the user's own files only. They are no inputs: one that is
        missing is left for the stage to report, with everything else that is wrong."""
        self.mark("index", wildcards)
        return []

    def index_flags(self, wildcards: Any, input: Any) -> str:
        """The name of a dataset, as a flag."""
        return f"--dataset {wildcards.dataset}"

    # --- params ---------------------------------------------------------------------------------------------------

    def settings(self, rule: str) -> Callable[[Any], str]:
        """All settings that a job's program reads, as one string."""

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

    def command(self, rule: str) -> Callable[..., str]:
        """The whole command of a job."""
        program, given = self.program(rule), self.given_flags(rule)
        settings = None if rule in ("report", "study", "explanations") else self.settings(rule)

        def get(wildcards: Any, input: Any, output: Any, threads: int) -> str:
            out = Path(output[0]).parent
            out = out.parent if is_shard(wildcards) else out
            words = [program(wildcards), given(wildcards, input)]
            if is_shard(wildcards):
                words.append(f"--shard {wildcards.part}/{wildcards.parts}")
            elif total := len(input.get("parts", ())):
                words.append(f"--gather {total}")
            if settings is not None:
                words.append(f"--settings {shlex.quote(settings(wildcards))}")
            if hasattr(wildcards, "seed"):
                words.append(f"--seed {wildcards.seed}")
            state = out / "state" if rule in STEPS else out
            tail = shlex.join(["--threads", str(threads), "--out", str(out), "--state", str(state)])
            return " ".join([*filter(None, words), tail])

        return get

    def given_flags(self, rule: str) -> Callable[[Any, Any], str]:
        """Flags of a job's program that are no settings: its inputs, and what they are."""
        special: dict[str, Callable[[Any, Any], str]] = {
            "index": self.index_flags,
            "scores": self.score_flags,
            "summary": self.summary_flags,
            "report": self.report_flags,
            "study": self.study_flags,
            "explanations": self.explanation_flags,
        }
        return special.get(rule) or self.flags(rule)

    def program(self, rule: str) -> Callable[[Any], str]:
        """How a stage is called: this Python, and the stage's path wherever the checkout lies; under torchrun where
        several processes train together; with ``--log`` where a training is to be watched."""
        stage, processes, log = str(self.root / "stages" / f"{rule}.py"), self.processes(rule), self.log(rule)

        def get(wildcards: Any) -> str:
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
    def gpus(wildcards: Any, input: Any) -> int:
        """GPUs of a job with a network; putting shares together takes none."""
        return 0 if input.get("parts") else 1

    @staticmethod
    def shared_memory(rule: str) -> Callable[[Any, Any, int, int], int]:
        """Megabytes of a job of an inference stage; putting shares together takes little."""

        def get(wildcards: Any, input: Any, attempt: int, threads: int) -> int:
            return (GATHER if input.get("parts") else NEEDS[rule]).memory(wildcards, attempt, threads)

        return get

    @staticmethod
    def tee(wildcards: Any, output: Any) -> str:
        """Shows a stage's messages and keeps them. It outlives the signals that stop a job, so that a stage that saves
        its state can still say so."""
        return """sh -c 'trap "" INT TERM; exec tee "$0"'"""


def is_shard(wildcards: Any) -> bool:
    """Whether a job makes a share of an artefact."""
    return getattr(wildcards, "part", None) is not None
