"""``wsss plan --on DEVICE``: a model of what a configuration takes on a device, before anything ran.

Operations and bytes of the configured networks are counted (``wsss.cli.counting``). Each operation takes at least as
long as its arithmetic at the device's peak and as its bytes at the memory's rate; the sum over a stage, divided by a
factor for its kind (``EFFICIENCY``), is its time. Views that the loader cannot prepare in that time, and dense CRFs on
the CPU, count where they are slower. No run on a GPU has checked any of it yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import device as torch_device
from torch import nn

from wsss.cli.cost_devices import GIB, Device
from wsss.cli.counting import Counted, Way, count_pass
from wsss.cli.forecast import History, pixels
from wsss.cli.planned_images import images_of
from wsss.errors import WsssError
from wsss.inference.batches import MOST_PIXELS
from wsss.models.classifier import build_classifier
from wsss.models.disentangler import build_disentangler
from wsss.models.edge_network import build_edge_network
from wsss.models.frozen_features import frozen_features
from wsss.models.saliency_net import build_saliency_net
from wsss.models.segmenter import build_segmenter
from wsss.settings import LinearSettings, ScenesSettings, TrainingSettings
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job

EFFICIENCY = {"training": 0.65, "inference": 0.5}
"""Share of the least time's speed that a kind of stage reaches. Assumed: launches, layouts and small layers cost the
rest; inference has smaller batches, and shapes that change."""
SIDE, TOGETHER = 512, 16
"""Side in pixels at which networks are counted for inference, and images of one size that go through it together."""
USUAL_PIXELS = 375 * 500
"""Of an image where no index tells, those of VOC."""
VIEW, RECOLOURED, SCALED = 0.0064, 0.0125, 0.004
"""Seconds of a core for a training view of 512 pixels a side, for one with colours changed, and for an image of
``USUAL_PIXELS`` at all scales."""
CRF_BUILD, CRF_ITERATION, LABELS = 0.027, 0.003, 0.01
"""Seconds of a core for an image of ``USUAL_PIXELS``: the lattice, an iteration with three labels, and writing labels
without a dense CRF."""
CRF_BYTES = (200, 30)
"""Bytes of main memory that a dense CRF takes for a pixel, and more for each of up to 16 labels, at most: see
``wsss.refine.crf_backends.Native``."""
OVERHEAD = {"cuda": 1.5, "cpu": 0.5}
"""GiB that libraries and the workspaces of convolutions take besides what is counted."""
CLASSES = {"voc": 20, "coco": 80}

Networks = Callable[[], nn.Module]


@dataclass(frozen=True)
class Pass:
    """A pass of a network in a micro-step; ``times``: how often, as a share of the micro-steps."""

    key: str
    build: Networks
    way: Way = "train"
    times: float = 1.0


@dataclass
class Cost:
    """What a job takes: hours of its device and GiB of its memory, what limits it, and of whom it has to wait.

    ``hours`` is None where the model has nothing to say of a stage. Without ``gpu`` both are of the CPU.
    """

    job: Job
    folder: str
    hours: float | None = None
    peak: float | None = None
    limit: str = "-"
    gpu: bool = True
    inputs: list[str] = field(default_factory=list)


class Model:
    """The model for a configuration on a device.

    Args:
        chain: The configuration.
        device: Where networks run.
        history: Knows how many images there are.
        said: Is told what is being counted.
    """

    def __init__(self, chain: Chain, device: Device, history: History, said: Callable[[str], None]) -> None:
        self.chain, self.device, self.history, self.said = chain, device, history, said
        self.on_cpu = device.name == "CPU"
        self.type = "cpu" if self.on_cpu else "cuda"
        self.known: dict[tuple[str, int, Way], Counted] = {}

    def counted(self, one: Pass, side: int) -> Counted:
        """Counts of two images of that side."""
        key = (one.key, side, one.way)
        if key not in self.known:
            self.said(f"counting {one.key}, {side} pixels, {one.way}")
            self.known[key] = count_pass(without_data(one.build), (2, 3, side, side), one.way)
        return self.known[key]

    def seconds(self, found: Counted, half: bool) -> tuple[float, float]:
        """Least seconds for one image, by arithmetic and by memory."""
        size = 2 if half and not self.on_cpu else 1  # counts are of float32
        a, b = found.floor(self.device.half if size == 2 else self.device.single, self.device.bandwidth * size)
        return a / 2, b / 2

    def classes(self, dataset: str) -> int:
        """Classes of a dataset; a guess where only its files would tell, which hardly matters for the cost."""
        settings = self.chain.config.recipes["datasets"][dataset]
        named = getattr(settings, "classes", None)  # a number of scenes, a file or names of photos
        return CLASSES.get(settings.kind, named if isinstance(named, int) else 20)

    def pixels(self, dataset: str) -> float:
        """Pixels of an image."""
        settings = self.chain.config.recipes["datasets"][dataset]
        if isinstance(settings, ScenesSettings):
            return float(settings.size**2)
        return pixels(Path(os.path.abspath(f"{self.chain.base(dataset)}/index"))) or USUAL_PIXELS

    # --- networks ---------------------------------------------------------------------------------------------------

    def classifier(self, name: str, dataset: str, way: Way = "train", times: float = 1.0) -> Pass:
        """A classifier recipe's network."""
        s = _bare(self.chain.recipe("classifier", name))
        classes = self.classes(dataset)
        return Pass(f"classifier {s.backbone}/{s.output_stride}", lambda: build_classifier(s, classes), way, times)

    def segmenter(self, name: str, dataset: str, way: Way = "train", times: float = 1.0) -> Pass:
        """A segmenter recipe's network."""
        s = _bare(self.chain.recipe("segmenter", name))
        key = f"{s.architecture} {s.backbone}/{s.output_stride} {s.decoder_channels} {s.atrous_rates}"
        classes = self.classes(dataset)
        return Pass(key, lambda: build_segmenter(s, classes), way, times)

    def saliency(self, name: str, way: Way = "train") -> Pass:
        """A saliency recipe's network."""
        s = _bare(self.chain.recipe("saliency", name))
        if s.objective == "saliency":
            return Pass(f"{s.architecture} {s.backbone}/{s.output_stride}", lambda: build_saliency_net(s), way)
        if s.objective == "token-cut":  # what its solver takes on the CPU is left out
            return Pass(f"{s.features} {s.backbone}/{s.output_stride}", lambda: frozen_features(s), way)
        return Pass(f"disentangler {s.backbone}/{s.output_stride}", lambda: build_disentangler(s), way)

    def edges(self, name: str, way: Way = "train") -> Pass:
        """An affinity recipe's network."""
        s = _bare(self.chain.recipe("affinity", name))
        return Pass(f"edges {s.backbone}/{s.output_stride} {s.width}", lambda: build_edge_network(s), way)

    def phases(self, job: Job, s: Any) -> list[list[Pass]]:
        """The passes of a micro-step; those of one list are differentiated together."""
        name = str(job.name)
        if job.rule == "affinity":
            return [[self.edges(name)]]
        if job.rule == "saliency":
            return [[self.saliency(name)]]
        if job.rule == "segmenter":
            own, objective = self.segmenter(name, job.dataset), getattr(s, "objective", "segmentation")
            if objective == "co-training":
                return [[own, own]]
            taught = objective in ("ema-teacher", "early-learning", "continual")
            return [[own, self.segmenter(name, job.dataset, "forward")] if taught else [own]]
        own = self.classifier(name, job.dataset)
        tiled = [own] if s.objective in ("puzzle", "p-oc", "p-noc") else []  # four tiles have as many pixels
        if s.objective not in ("oc-cse", "p-oc", "p-noc"):
            return [[own, *tiled]]
        found = [[own, *tiled, self.classifier(s.ordinary, job.dataset, "through")]]
        if s.objective == "p-noc":
            found.append([self.classifier(s.ordinary, job.dataset, "train", 1 / s.adversary_interval)])
        return found

    # --- stages -----------------------------------------------------------------------------------------------------

    def cost(self, job: Job) -> Cost:
        """What a job takes."""
        settings = self.chain.settings(job)
        found = Cost(job, self.chain.folder(job), inputs=list(self.chain.inputs(job).values()))
        images = images_of(self.chain, job, settings, self.history)
        if images is None:
            raise WsssError(
                f"datasets.{job.dataset}: how many images it has is unknown, since its files are not here and its "
                "lists are no published ones; say so with --images TRAIN VAL"
            )
        if isinstance(settings, TrainingSettings) and job.rule in ("classifier", "saliency", "affinity", "segmenter"):
            if getattr(settings, "supervision", None) != "classifier":
                self._training(found, job, settings, images)
        elif isinstance(settings, LinearSettings):  # its fit is nothing beside the features
            self._inference(found, job, settings, images)
        elif job.rule in ("cams", "saliency_maps", "predictions", "segmenter_masks", "walk"):
            self._inference(found, job, settings, images)
        elif job.rule in ("saliency_masks", "affinity_labels", "masks"):
            found.gpu = False
            found.hours = images * self._labels(job, settings) / self.device.cores / 3600
            found.limit = "CRF" if getattr(settings, "crf", None) else "CPU"
            found.peak = self._main_memory(job, settings)
        else:
            found.gpu = False
        return found

    def _training(self, found: Cost, job: Job, s: TrainingSettings, images: int) -> None:
        half = s.precision != "fp32"
        phases = self.phases(job, s)
        arithmetic = memory = peak = 0.0
        for phase in phases:
            saved = 0.0
            for one in phase:
                counts = self.counted(one, s.crop)
                a, b = self.seconds(counts, half)
                arithmetic, memory = arithmetic + one.times * a, memory + one.times * b
                saved += counts.saved / 2
            peak = max(peak, saved * s.batch_size / (2 if half and not self.on_cpu else 1))
        networks = {one.key: self.counted(one, s.crop) for phase in phases for one in phase if one.way == "train"}
        fixed = {one.key: self.counted(one, s.crop) for phase in phases for one in phase if one.key not in networks}
        states = 2 if s.optimizer == "adamw" else int(s.momentum > 0)
        trained = 4 * sum(each.trained for each in networks.values())
        memory += trained * (4 + 2 * states) / self.device.bandwidth / (s.batch_size * s.accumulate)
        weights = 4 * sum(each.weights for each in (*networks.values(), *fixed.values()))
        kept = weights + trained * (1 + states + (s.ema is not None))
        network = (arithmetic + memory) / EFFICIENCY["training"]
        recoloured = {"colour-jitter", "strong-jitter"} & set(s.augment)
        view = (RECOLOURED if recoloured else VIEW) * (s.crop / 512) ** 2 / max(1, self.device.cores - 1)
        found.hours = s.epochs * images * max(network, view) / 3600
        found.peak = (kept + peak) / GIB + OVERHEAD[self.type]
        found.limit = _limit(arithmetic, memory, view > network)

    def _inference(self, found: Cost, job: Job, s: Any, images: int) -> None:
        each = [self.counted(one, SIDE) for one in self._applied(job, s)]
        own = self.pixels(job.dataset)
        longest = s.size if isinstance(s, LinearSettings) else s.max_side
        reduced = min(1.0, longest**2 / own)  # about: the longer side decides
        scales, views = getattr(s, "scales", (1.0,)), 2 if s.flip else 1
        share = views * sum(scale**2 for scale in scales) * own * reduced / SIDE**2
        half = getattr(s, "precision", "fp32") != "fp32"
        limits = [self.seconds(counts, half) for counts in each]
        arithmetic, memory = (share * sum(values) for values in zip(*limits, strict=True))
        network = (arithmetic + memory) / EFFICIENCY["inference"]
        loader = SCALED * own * reduced / USUAL_PIXELS / max(1, self.device.cores - 1)
        crf = self._labels(job, s) / self.device.cores if getattr(s, "crf", None) else 0.0
        found.hours = images * (max(network, loader) + crf) / 3600
        largest = views * max(scales) ** 2 * own * reduced
        together = max(largest, min(MOST_PIXELS[self.type], TOGETHER * largest))
        active = max(counts.largest for counts in each) * together / SIDE**2 / (2 if half else 1)  # counts are of two
        found.peak = (4 * sum(counts.weights for counts in each) + active) / GIB + OVERHEAD[self.type]
        found.limit = "CRF" if crf > network else _limit(arithmetic, memory, loader > network)

    def _applied(self, job: Job, s: Any) -> list[Pass]:
        """The networks that a stage applies."""
        if job.rule == "classifier":
            return [self.classifier(str(job.name), job.dataset, "forward")]
        if job.rule == "cams":
            return [self.classifier(s.classifier, job.dataset, "forward")]
        if job.rule == "walk":
            return [self.edges(s.affinity, "forward")]
        if job.rule == "saliency_maps":
            return [self.saliency(str(job.name), "forward")]
        names = s.segmenters if job.rule == "segmenter_masks" else (str(job.name),)
        return [self.segmenter(name, job.dataset, "forward") for name in names]

    def _labels(self, job: Job, s: Any) -> float:
        """Seconds of a core for the labels of an image."""
        crf = getattr(s, "crf", None)
        if crf is None:
            return LABELS * self.pixels(job.dataset) / USUAL_PIXELS
        problems = {"affinity_labels": 2.0, "predictions": 2.7, "segmenter_masks": 2.7}.get(job.rule, 1.0)
        seconds: float = CRF_BUILD + CRF_ITERATION * crf.iterations * problems
        return seconds * self.pixels(job.dataset) / USUAL_PIXELS

    def _main_memory(self, job: Job, s: Any) -> float:
        """GiB of main memory for the labels of an image on each core."""
        own = self.pixels(job.dataset)
        a_pixel, a_label = CRF_BYTES if getattr(s, "crf", None) else (0, 0)
        labels = 2 if job.rule == "saliency_masks" else min(16, self.classes(job.dataset) + 1)
        scores = 4 * labels  # what is read: float32 of each class
        return self.device.cores * own * (a_pixel + a_label * labels + scores) / GIB + OVERHEAD["cpu"]


def without_data(build: Networks) -> nn.Module:
    """A network without data, whatever it does at its birth."""
    try:
        with torch_device("meta"):
            return build()
    except (RuntimeError, NotImplementedError):  # it reads a value of a tensor; any other cause is raised again below
        return build().to("meta")


def _bare(settings: Any) -> Any:
    """The same network without pretrained weights, which need not be here."""
    return settings.model_copy(update={"pretrained": False})


def _limit(arithmetic: float, memory: float, loader: bool) -> str:
    return "CPU loader" if loader else "compute" if arithmetic > memory else "bandwidth"
