"""What the rules of the workflow ask: which files a job reads and makes, how its program is called, what it needs.

Nothing that a rule hands to Snakemake makes a job run again by itself: params are all derived, the text of the shell
line never changes, and the inputs of an artefact that is what is wanted are marked ``ancient``. Whether it is that is
the question of ``wsss.workflow.staleness`` alone; ``watch`` (``wsss.workflow.watch``) tells Snakemake the answer for
each job that it looks at. A checkout or its results may so be moved, copied or touched.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Container, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from wsss.runtime.shard import Shard
from wsss.steps import SCORED, STEPS
from wsss.workflow.chain import OF_DATASET, Chain
from wsss.workflow.jobs import Job
from wsss.workflow.resources import GATHER, NEEDS
from wsss.workflow.site import Site

SCORES = "scores"
"""The rule and the group of scores, and the name under which stages read them."""


class Watcher(Protocol):
    """Told of every job that Snakemake looks at (``wsss.workflow.watch``)."""

    def __call__(self, job: Job, shard: Shard | None) -> bool:
        """Whether a job has to run."""

    def runs(self, path: str) -> bool:
        """Whether the job runs that makes a file."""

    def before(self, job: Job, shard: Shard | None) -> list[str]:
        """Manifests that are made before a job has to run."""


class Rules:
    """What the rules of a configuration ask.

    Which job is meant follows from the wildcards: ``folder`` and ``name`` of a recipe's artefact, ``folder`` alone of
    what a dataset has once, ``kind`` and ``name`` of scores, none of the summary; ``part`` and ``parts`` of a shard.

    Args:
        chain: The configuration's jobs.
        root: The checkout: the folder that holds ``stages/`` and ``wsss/``.
        ancient: Snakemake's mark for inputs whose time does not count.
        watch: Told of every job that Snakemake looks at; None: nobody is.
        cores: Cores of a job without a network.
        gpu_cores: Cores of a job with one, or of each of its processes.
        groups: The groups of jobs that Snakemake was told to put together (``--group-components``).
        site: How GPUs are asked for; None: as on one machine.
        python: What runs the stages' programs.
    """

    def __init__(
        self,
        chain: Chain,
        root: Path,
        ancient: Callable[[str], Any] = lambda path: path,
        watch: Watcher | None = None,
        cores: int = 8,
        gpu_cores: int = 8,
        groups: Callable[[], Container[str]] = tuple,
        site: Site | None = None,
        python: str = sys.executable,
    ) -> None:
        self.chain, self.root, self.ancient, self.watch = chain, Path(root), ancient, watch
        self.cores, self.gpu_cores, self.groups, self.site = cores, gpu_cores, groups, site or Site()
        self.python = python

    def job(self, wildcards: Any) -> Job:
        """The job that Snakemake means."""
        folder, seed, name, kind = (getattr(wildcards, key, None) for key in ("folder", "seed", "name", "kind"))
        if folder is None:
            rule = "summary" if kind is None else "scores"
        else:
            rule = OF_DATASET[folder] if name is None else self.chain.maker(folder, name)
        return Job(rule, str(wildcards.dataset), seed, name, kind)

    # --- outputs --------------------------------------------------------------------------------------------------

    def artefact(self, rule: str, shard: bool = False) -> str:
        """Pattern of the manifest that a rule makes of a recipe, or of the receipt of a shard; it matches exactly the
        recipes that the rule serves."""
        run, folder = self.chain.base("{dataset}", "{seed}"), STEPS[rule].folder
        file = "parts/{part}-of-{parts}.json" if shard else "manifest.json"
        return f"{run}/{{folder,{re.escape(folder)}}}/{{name,{one_of(self.chain.served(rule))}}}/{file}"

    def scattered(self) -> list[str]:
        """The rules whose artefacts may be made by several jobs that share the images."""
        jobs = {rule: [Job(rule, "", "0", name) for name in self.chain.served(rule)] for rule in STEPS}
        return [
            rule for rule, of_rule in jobs.items() if any(hasattr(self.chain.settings(j), "shards") for j in of_rule)
        ]

    def pattern(self, *kinds: str) -> str:
        """A wildcard constraint: exactly the names of the recipes of these kinds."""
        return one_of(name for kind in kinds for name in self.chain.config.recipes[kind])

    @staticmethod
    def kinds() -> str:
        """A wildcard constraint: the kinds of scores."""
        return one_of(SCORED)

    def manifests(self, kind: str) -> list[str]:
        """Manifests of all artefacts of a kind; for ``segmenters``, of their predictions."""
        return [f"{folder}/manifest.json" for folder in self.chain.made_of(kind)]

    def pages(self) -> list[str]:
        """The summary and the report of every dataset: what the default target asks for."""
        bases = [self.chain.base(dataset) for dataset in self.chain.config.dataset]
        return [f"{base}/{page}" for page in ("summary.md", "report.html") for base in bases]

    def finals(self, target: str) -> Callable[..., list[str]]:
        """Input function of a target: the manifests of the jobs that end it."""
        return lambda *_: [f"{self.chain.folder(job)}/manifest.json" for job in self.chain.last(target)]

    # --- inputs ---------------------------------------------------------------------------------------------------

    def reads(self, key: str) -> Callable[[Any], list[Any]]:
        """Input function: the manifests that a job reads under a name, or under ``key.0``, ``key.1``, ... None where
        its recipe refers to none."""

        def get(wildcards: Any) -> list[Any]:
            return self._read(wildcards).get(key, [])

        return get

    def _read(self, wildcards: Any) -> dict[str, list[Any]]:
        mark, found = self._mark(wildcards), dict[str, list[Any]]()
        for name, folder in self.chain.inputs(self.job(wildcards)).items():
            found.setdefault(name.partition(".")[0], []).append(mark(f"{folder}/manifest.json"))
        return found

    def all_inputs(self, wildcards: Any) -> dict[str, list[Any]]:
        """Input function, to be unpacked: everything that a job reads, by name, and ``waits``."""
        return self._read(wildcards) | self.waits(wildcards)

    def pictures(self, wildcards: Any) -> list[Any]:
        """Input function: what a table pictures."""
        mark = self._mark(wildcards)
        kinds = ("cams", "saliency", "masks", "segmenters")
        folders = [folder for kind in kinds for folder in self.chain.made_of(kind, [wildcards.dataset])]
        return [mark(f"{folder}/manifest.json") for folder in folders]

    def waits(self, wildcards: Any) -> dict[str, list[Any]]:
        """Input function, to be unpacked: what runs before a job without being read by it, so that Snakemake sees that
        it depends on that; and the shards that are put together."""
        job, shard = self.job(wildcards), shard_of(wildcards)
        mark, watch = self._mark(wildcards), self.watch
        found = {"after": [] if watch is None else watch.before(job, shard)}
        if shard is None and (total := self.chain.shards(job)) > 1:
            folder = Path(self.chain.folder(job))
            found["parts"] = [mark(str(Shard(number, total).receipt(folder))) for number in range(total)]
        return {name: paths for name, paths in found.items() if paths}

    def _mark(self, wildcards: Any) -> Callable[[str], Any]:
        """How a job's inputs are marked: ``ancient``, so that their times are nothing to it, but for those that run
        themselves before a job that has to run."""
        watch, ancient = self.watch, self.ancient
        if watch is None or not watch(self.job(wildcards), shard_of(wildcards)):
            return ancient
        return lambda path: path if watch.runs(path) else ancient(path)

    # --- the command ----------------------------------------------------------------------------------------------

    def command(self, wildcards: Any, input: Any, output: Any, threads: int) -> str:
        """The whole command of a job: Python, the stage's program wherever the checkout lies, its flags."""
        job, shard, out = self.job(wildcards), shard_of(wildcards), Path(output[0]).parent
        out = out if shard is None else out.parent
        index = f"{self.chain.base(job.dataset)}/index/manifest.json"
        prefix = str(input.index[0]).removesuffix(index) if job.rule != "index" else ""
        words = [self._program(job, threads), self.chain.flags(job, prefix)]
        if shard is not None:
            words.append(f"--shard {shard.number}/{shard.total}")
        elif total := len(input.get("parts", ())):
            words.append(f"--gather {total}")
        if (settings := self.chain.settings_text(job)) is not None:
            words.append(f"--settings {shlex.quote(settings)}")
        if job.seed is not None:
            words.append(f"--seed {job.seed}")
        state = out / "state" if job.rule in STEPS else out
        return " ".join([*words, shlex.join(["--threads", str(threads), "--out", str(out), "--state", str(state)])])

    def _program(self, job: Job, threads: int) -> str:
        """How the stage is called: under torchrun where several processes train together, under srun where they do so
        on several nodes of a cluster; with ``--log`` where a training is to be watched, ``--stage-to`` where it
        is to copy its images, ``--storage`` where masks are not to be files of their own."""
        stage, training = str(self.root / "stages" / f"{job.rule}.py"), self.chain.training(job)
        processes = 1 if training is None else training.processes
        nodes, launcher, together = self.spread_over(job), [], []
        if nodes > 1:
            each = processes // nodes
            launcher = ["srun", f"--nodes={nodes}", f"--ntasks={processes}", f"--ntasks-per-node={each}"]
            launcher += [f"--cpus-per-task={max(1, threads // each)}", "--kill-on-bad-exit=1"]
        elif processes > 1:
            together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        storage = self.chain.storage(job)
        words = [*launcher, self.python, *together, stage]
        if training is not None:
            words += ["--log", training.log] if training.log else []
            words += ["--stage-to", training.stage_to] if training.stage_to else []
        words += ["--storage", storage] if storage not in (None, "png") else []
        return shlex.join(words)

    def title(self, wildcards: Any) -> str:
        """What a job is, for people."""
        job, shard = self.job(wildcards), shard_of(wildcards)
        words = [TITLES[job.rule], *(word for word in (job.kind, job.name) if word)]
        part = f", shard {shard.number}/{shard.total}" if shard else ""
        where = job.dataset if job.seed is None else f"{job.dataset}, seed {job.seed}"
        return f"{' '.join(words)}{part} ({where})"

    def group(self, wildcards: Any) -> str | None:
        """The group of a job that a cluster may be given together with others; None: it is a job of its own.

        Scores are in one, ``scores``, but for those by which thresholds or weights are chosen: something that is scored
        again comes of these, and jobs that are one may not wait for each other by way of others."""
        return self.group_of(self.job(wildcards))

    def group_of(self, job: Job) -> str | None:
        """``group`` of a job."""
        grouped = job.rule == SCORES and SCORES in self.groups() and self.chain.folder(job) not in self._choosing
        return SCORES if grouped else None

    @cached_property
    def _choosing(self) -> frozenset[str]:
        """Folders of scores that others than tables read."""
        jobs = [job for job in self.chain.everything() if job.rule in STEPS]
        folders = (self.chain.inputs(job).items() for job in jobs)
        return frozenset(folder for pairs in folders for key, folder in pairs if key.partition(".")[0] == SCORES)

    # --- resources ------------------------------------------------------------------------------------------------

    def spread_over(self, job: Job) -> int:
        """Over how many nodes a job is spread; one machine is one, whatever a recipe says."""
        training = self.chain.training(job)
        return training.nodes if training is not None and self.site.cluster else 1

    def processes(self, job: Job) -> int:
        """How many processes of a job share a node. Each of a training's has a GPU."""
        training = self.chain.training(job)
        return 1 if training is None else training.processes // self.spread_over(job)

    def threads(self, wildcards: Any) -> int:
        """Cores of a job on each node. Snakemake gives no more than there are."""
        job = self.job(wildcards)
        need = NEEDS[job.rule]
        if self.group_of(job) is not None:
            return 1  # several side by side
        return self.gpu_cores * self.processes(job) if need.gpu else min(need.cores or self.cores, self.cores)

    def nodes(self, wildcards: Any) -> int:
        """Nodes of a job."""
        return self.spread_over(self.job(wildcards))

    def mpi(self, wildcards: Any) -> int | None:
        """Marks a job whose command calls srun itself: inside the job the executor then starts no task around it. It is
        0, so that the executor does not count tasks where it submits, which it can neither for one a node nor beside
        GPUs: a job is given cores and GPUs by the node."""
        return 0 if self.nodes(wildcards) > 1 else None

    def _wanted(self, wildcards: Any, input: Any) -> tuple[int, int]:
        """GPUs of a job on each node, and its nodes; putting shards together takes no GPU."""
        job = self.job(wildcards)
        gpus = self.processes(job) if NEEDS[job.rule].gpu and not input.get("parts") else 0
        return gpus, self.spread_over(job)

    def gpus(self, wildcards: Any, input: Any) -> int:
        """GPUs of a job with a network, where they are asked for by their number."""
        return self.site.gpus_of(*self._wanted(wildcards, input))

    def gpu_model(self, wildcards: Any, input: Any) -> str | None:
        """The model of these GPUs, where the site names one."""
        return self.site.model_of(*self._wanted(wildcards, input))

    def gres(self, wildcards: Any, input: Any) -> str | None:
        """GPUs of a job on each node, where they are asked for by ``--gres``."""
        return self.site.gres_of(*self._wanted(wildcards, input))

    def memory(self, wildcards: Any, input: Any, attempt: int, threads: int) -> int:
        """Megabytes on each node; putting shards together takes little."""
        job = self.job(wildcards)
        need = GATHER if input.get("parts") else NEEDS[job.rule]
        return need.memory(attempt, threads, self.processes(job))

    def minutes(self, wildcards: Any, attempt: int) -> int:
        """Time limit of a job."""
        return NEEDS[self.job(wildcards).rule].time(attempt)


TITLES = {
    "index": "Checking the dataset",
    "classifier": "Training classifier",
    "cams": "Class activation maps",
    "text_cams": "Maps of CLIP",
    "ensemble": "Ensemble of maps",
    "external_cams": "Importing maps",
    "walk": "Random walk",
    "feature_walk": "Random walk over features",
    "saliency": "Training saliency",
    "saliency_maps": "Saliency maps",
    "saliency_masks": "Saliency masks",
    "affinity_labels": "Affinity labels",
    "affinity": "Training affinity",
    "masks": "Pseudo-labels",
    "vote": "Pseudo-labels by vote",
    "choice": "Choosing pseudo-labels",
    "segmenter_masks": "Pseudo-labels from segmentation networks",
    "regions": "Pseudo-labels by regions",
    "external_masks": "Importing masks",
    "segmenter": "Training segmentation network",
    "predictions": "Predicting with segmentation network",
    "explanation": "Explaining",
    "memory": "Memory of exemplars",
    "audit": "Auditing explanations",
    "search": "Searching for networks by their explanations",
    "scores": "Scoring",
    "summary": "Summary",
    "report": "Report",
    "ablation_table": "Tables of the ablation study",
    "explanations": "Tables of the explanations",
    "continual": "Tables of the steps of learning",
    "audits": "Tables of the audits",
    "searches": "Tables of the searches",
}
"""Rule -> what Snakemake says when one of its jobs begins."""


def shard_of(wildcards: Any) -> Shard | None:
    """The shard that a job makes; None: the whole artefact."""
    part = getattr(wildcards, "part", None)
    return None if part is None else Shard(int(part), int(wildcards.parts))


def one_of(names: Iterable[str]) -> str:
    """A pattern that matches exactly these names; nothing where there is none."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or "(?!)"
