"""The tiny chain: every stage program with a command that takes about a second."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCENES = {"kind": "scenes", "train": 10, "val": 4, "size": 64, "classes": 3}
SMALL = {
    **{"backbone": "resnet10t", "pretrained": False, "output_stride": 16, "crop": 64, "long_side": [56, 72]},
    **{"optimizer": "adamw", "lr": 1e-3, "epochs": 2, "batch_size": 4},
}
INDEX, RUN, ELSEWHERE = "results/scenes/index", "results/scenes/s0", "elsewhere"
CLIP = f"{ELSEWHERE}/clip"
CRF = {"preset": "labels", "iterations": 2}
EPOCH, COARSE, PLAIN = {"epochs": 1}, {"scales": [1.0]}, {"crf": None}
"""Settings of others that lie in the same folder."""
WSSS = "wsss"
SHARDS = 3
"""Jobs that share images."""
SHORT = (INDEX, *(f"{RUN}/{name}/vanilla" for name in ("classifiers", "cams", "scores/cams", "masks")))
"""A chain of its own for the quick selection."""
LAYOUT = [["priors", "vanilla", {"mIoU": ["cams", "vanilla"]}], ["priors", "p-noc", {"mIoU": ["cams", "p-noc"]}]]


@dataclass(frozen=True)
class Job:
    """A stage's command, or one of ``wsss``, to be run in the working folder.

    Attributes:
        stage: Program in ``stages/``, or ``wsss``.
        out: The artefact folder that it changes.
        args: What follows ``--out``; all that follows ``wsss``.
        outputs: What the workflow's rule declares: Snakemake deletes it before each attempt.
        threads: Pools of worker processes have so many.
        scattered: Jobs may share its images.
        changed: Settings with which another artefact is made in the same folder; None: it is made with another seed.
    """

    stage: str
    out: str
    args: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    threads: int = 1
    scattered: bool = False
    changed: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return " ".join((self.stage, *Path(self.out).parts[-2:]))

    @property
    def argv(self) -> list[str]:
        if self.stage == WSSS:
            return list(self.args)
        return ["--out", self.out, "--threads", str(self.threads), "--device", "cpu", *self.args]

    @property
    def table(self) -> bool:
        """Whether Snakemake deletes what it has made, and not only its manifest: old tables are not kept."""
        return len(self.outputs) > 1

    def another(self, number: int) -> Job:
        """The command of another artefact for the same folder: 0 itself, 1 other settings (or seed), 2 another seed."""
        if number == 1 and self.changed is not None:
            at = self.args.index("--settings") + 1
            changed = json.dumps(json.loads(self.args[at]) | self.changed)
            return replace(self, args=(*self.args[:at], changed, *self.args[at + 1 :]))
        return replace(self, args=(*self.args, "--seed", str(number))) if number else self

    def shard(self, number: int) -> Job:
        """The job that makes one of several shards of its images."""
        receipt = f"parts/{number}-of-{SHARDS}.json"
        return replace(self, args=(*self.args, "--shard", f"{number}/{SHARDS}"), outputs=(receipt,))

    def gathering(self) -> Job:
        """The job that puts the shards together."""
        return replace(self, args=(*self.args, "--gather", str(SHARDS)))


@dataclass
class Jobs:
    """Collects jobs in the order in which they can be run."""

    found: list[Job] = field(default_factory=list)

    def add(
        self,
        stage: str,
        out: str,
        settings: Any = None,
        *args: str,
        outputs: tuple[str, ...] = (),
        threads: int = 1,
        index: bool = True,
        changed: dict[str, Any] | None = None,
    ) -> str:
        given = ["--index", INDEX] if index else []
        given += [] if settings is None else ["--settings", json.dumps(settings)]
        scattered = "scattered=True" in (ROOT / "stages" / f"{stage}.py").read_text()
        outputs = ("manifest.json", *outputs)
        self.found.append(Job(stage, out, (*given, *args), outputs, threads, scattered, changed))
        return out


def jobs() -> list[Job]:
    """The chain, each job after those whose artefacts it reads."""
    all_of = Jobs()
    add = all_of.add
    add("index", INDEX, SCENES, "--dataset", "scenes", index=False, threads=2, changed={"train": 8})
    vanilla = add("classifier", f"{RUN}/classifiers/vanilla", {"objective": "vanilla", **SMALL}, changed=EPOCH)
    p_noc = {"objective": "p-noc", "ordinary": "vanilla", **SMALL}
    p_noc = add("classifier", f"{RUN}/classifiers/p-noc", p_noc, "--ordinary", vanilla)
    cams = {"scales": [0.5, 1.0]}
    first = add(
        "cams", f"{RUN}/cams/vanilla", {"classifier": "vanilla", **cams}, "--classifier", vanilla, changed=COARSE
    )
    second = add("cams", f"{RUN}/cams/p-noc", {"classifier": "p-noc", **cams}, "--classifier", p_noc)
    net = {"objective": "c2am-h", "hints": "p-noc", **SMALL}
    net = add("saliency", f"{RUN}/saliency/c2am-h", net, "--hints", second)
    maps = {"scales": [1.0]}
    maps = add("saliency_maps", f"{RUN}/saliency-maps/c2am-h", maps, "--saliency", net)
    out = f"{RUN}/saliency-masks/c2am-h"
    salient = add("saliency_masks", out, {"crf": CRF}, "--maps", maps, threads=2)
    learnt = {"objective": "saliency", "saliency": "c2am-h", "architecture": "unet", **SMALL}
    add("saliency", f"{RUN}/saliency/unet", learnt, "--saliency", salient)
    both = ("--cams", second, "--saliency", maps)
    out = f"{RUN}/affinity-labels/p-noc"
    labels = add("affinity_labels", out, {"crf": CRF}, *both, threads=2)
    edges = {"cams": "p-noc", "radius": 4, **SMALL}
    edges = add("affinity", f"{RUN}/affinity/p-noc", edges, "--labels", labels)
    walk = {"source": "walk", "cams": "p-noc", "affinity": "p-noc", "steps": 8}
    walk = add("walk", f"{RUN}/cams/walk", walk, "--cams", second, "--affinity", edges)
    alike = {"source": "feature-walk", "cams": "p-noc", "backbone": "resnet10t", "pretrained": False, "steps": 8}
    alike |= {"output_stride": 16, "grid_stride": 4, "warm_start": "vanilla"}
    add("feature_walk", f"{RUN}/cams/alike", alike, "--cams", second, "--warm-start", vanilla)
    if find_spec("open_clip") is not None:
        words = {"source": "text", "model": f"local-dir:{CLIP}", "weights": f"{CLIP}/clip.safetensors"}
        add("text_cams", f"{RUN}/cams/words", {**words, "background": ["sky"], "too_near": 1.0})
    together = {"source": "ensemble", "members": ["vanilla", "p-noc"]}
    add("ensemble", f"{RUN}/cams/both", together, "--members", first, second, threads=2)
    taken = {"source": "external", "path": f"{ELSEWHERE}/maps"}
    add("external_cams", f"{RUN}/cams/elsewhere", taken, threads=2)
    scores = [
        add("scores", f"{RUN}/scores/cams/{name}", {"calibration_images": 4}, "--kind", "cams", "--artefact", artefact,
            threads=2, changed={"calibration_images": 3})
        for name, artefact in (("vanilla", first), ("p-noc", second))
    ]  # fmt: skip
    made = {"cams": "vanilla", "crf": CRF, "threshold": {"policy": "calibrated"}}
    out, given = f"{RUN}/masks/vanilla", ("--cams", first, "--scores", scores[0])
    masks = add("masks", out, made, *given, threads=2, changed=PLAIN)
    plain = {"cams": "walk", "saliency": "c2am-h", "crf": None}
    walked = add("masks", f"{RUN}/masks/walk", plain, "--cams", walk, "--saliency", maps, threads=2)
    ballot = {"source": "vote", "members": ["vanilla", "walk"], "rule": "agreement"}
    add("vote", f"{RUN}/masks/voted", ballot, "--members", masks, walked, threads=2)
    choice = {"source": "choice", "members": ["vanilla", "walk"], "by": "masks", "calibration_images": 4}
    add("choice", f"{RUN}/masks/best", choice, "--members", masks, walked, threads=2)
    taken = {"source": "external", "path": f"{ELSEWHERE}/masks"}
    add("external_masks", f"{RUN}/masks/elsewhere", taken, threads=2)
    snapped = {"source": "regions", "masks": "vanilla", "regions": f"{ELSEWHERE}/regions"}
    add("regions", f"{RUN}/masks/snapped", snapped, "--masks", masks, threads=2)
    segmenter = {"masks": "vanilla", **SMALL}
    segmenter = add("segmenter", f"{RUN}/segmenters/vanilla", segmenter, "--masks", masks)
    out, predict = f"{RUN}/predictions/vanilla", {"scales": [1.0], "crf": "deeplab", "splits": ["train", "val"]}
    predicted = add("predictions", out, predict, "--segmenter", segmenter, threads=2)
    again = {"source": "segmenter", "segmenters": ["vanilla"], "prior": "vanilla", "scales": [1.0]}
    given = ("--segmenters", segmenter, "--prior", masks)
    add("segmenter_masks", f"{RUN}/masks/again", again, *given, threads=2, changed=PLAIN)
    for kind, artefact in (("masks", masks), ("segmenters", predicted), ("classifiers", p_noc)):
        given = ("--kind", kind, "--artefact", artefact)
        scores.append(add("scores", f"{RUN}/scores/{kind}/{Path(artefact).name}", {}, *given, threads=2))
    minmax = {
        "classifier": "vanilla",
        "explainer": "minmax-cam",
        "policy": "gt",
        "calibration_images": 4,
        "pictures": 2,
    }
    out = f"{RUN}/explanations/minmax"
    minmax = add("explanation", out, minmax, "--classifier", vanilla, threads=2)
    tables = ("explanations.md", "explanations.csv", "pictures")
    add("explanations", "results/explanations", None, "--explanations", minmax, outputs=tables)
    step = {"objective": "continual", "supervision": "masks", **SMALL}
    first = add("segmenter", f"{RUN}/segmenters/step-0", {**step, "classes": ["ring", "cross"]})
    kept = {"segmenter": "step-0", "budget_kib": 30, "pictures": 1}
    kept = add("memory", f"{RUN}/memories/salient", kept, "--segmenter", first, changed={"budget_kib": 20})
    second = {**step, "classes": ["stripes"], "warm_start": "step-0", "memory": "salient"}
    given = ("--warm-start", first, "--memory", kept)
    second = add("segmenter", f"{RUN}/segmenters/step-1", second, *given)
    out, plain = f"{RUN}/predictions/step", {"scales": [1.0]}
    steps = [add("predictions", f"{out}-{n}", plain, "--segmenter", of) for n, of in enumerate((first, second))]
    given = ("--segmenters", first, second, "--predictions", *steps, "--memories", kept)
    add("continual", "results/continual", None, *given, outputs=("continual.md", "continual.csv"))
    box = {"segmenter": "vanilla", "explainer": "seg-grad-cam", "eps": [8], "steps": 2, "images": 4, "pictures": 1}
    box = add("audit", f"{RUN}/audits/box", box, "--segmenter", segmenter, threads=2)
    add("audits", "results/audits", None, "--audits", box, outputs=("audits.md", "audits.csv"))
    space = {"architecture": "fpn", "backbone": {"resnet10t": False, "test_resnet": False}, "width": [64]}
    small = {"teacher": "vanilla", "space": space, "explainer": "gradient", "size": 64, "images": 24, "population": 2}
    small |= {"iterations": 0, "warm_steps": 1, "batch_size": 8, "background": True}
    small = add("search", f"{RUN}/searches/small", small, "--teacher", segmenter, threads=2)
    add("searches", "results/searches", None, "--searches", small, outputs=("searches.md", "searches.csv"))
    tables, given = ("ablation.md", "ablation.csv"), ("--scores", *scores[:2])
    add("ablation_table", "results/ablation", None, "--layout", json.dumps(LAYOUT), *given, outputs=tables)
    given = ("--scores", *scores, "--results", "results/scenes")
    add("summary", "results/summary", {}, *given, outputs=("summary.md", "summary.csv", "panels"))
    add("report", "results/report", None, "--scores", *scores, outputs=("pictures.csv", "../report.html"))
    return all_of.found


def check_complete(chain: list[Job]) -> None:
    """Every program of ``stages/`` is in the chain: a new stage is killed like the others, or this says so."""
    programs = {path.stem for path in (ROOT / "stages").glob("*.py") if not path.name.startswith("_")}
    lacking = programs - {job.stage for job in chain} - ({"text_cams"} if find_spec("open_clip") is None else set())
    if lacking:
        raise SystemExit(f"tests/chaos/checkout.py has no job for {', '.join(sorted(lacking))}: add one to jobs()")


def bring_in(checkout: Path, job: Job) -> None:
    """Put what was made elsewhere where the next job reads it: copies of what the chain has made."""
    if job.stage == "text_cams":
        from tests.tiny_clip import write_clip  # which loads torch

        write_clip(checkout / CLIP)
        return
    masks = f"{RUN}/masks/vanilla/masks"  # labels may be regions, too
    source = {"external_cams": f"{RUN}/cams/vanilla", "external_masks": masks, "regions": masks}.get(job.stage)
    if source is None:
        return
    target = checkout / ELSEWHERE / job.stage.removeprefix("external_").replace("cams", "maps")
    shutil.copytree(checkout / source, target, ignore=shutil.ignore_patterns(".*", "state", "*.json"))
