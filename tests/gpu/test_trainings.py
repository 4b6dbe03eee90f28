"""Every training on a GPU, simulated where there is none: as on a CPU, without a wait in its steps, with the same bits
after it was stopped."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.engine.tiny_training import SMALL
from tests.gpu.simulated.build import ROOT
from tests.gpu.simulated.device import metered
from wsss.beyond.continual import Step
from wsss.data.few_masks import masks_of
from wsss.data.index import Index, Item
from wsss.data.loading import Batch, ByteBatch, TrainingViews
from wsss.objectives import find
from wsss.objectives.continual import Continual
from wsss.objectives.tagged_segmentation import TaggedSegmentation
from wsss.runtime.run import Run
from wsss.settings import (
    AffinitySettings,
    C2amHSettings,
    C2amSettings,
    ContinualSettings,
    CoTrainingSettings,
    EarlyLearningSettings,
    EmaTeacherSettings,
    GuidedSettings,
    OcCseSettings,
    PNocSettings,
    POcSettings,
    PuzzleSettings,
    SaliencyNetSettings,
    SegmentationSettings,
    VanillaSettings,
)
from wsss.system.exit import Interrupted
from wsss.training.engine import Trainer

pytestmark = pytest.mark.gpu_sim

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SHORT = {**SMALL, "epochs": 1, "augment": ()}
"""Three steps of four images."""
RECORDS = "wsss/training/records.py"
WRITING = {RECORDS, "wsss/training/precision.py"}
"""Where the host may wait: what is written down has to be there. The last one tells a checkpoint of its scales, whose
tensors are copied without a wait for each."""


class Case(NamedTuple):
    """A training: its settings, its objective of a folder with the ordinary classifier, and its images' targets."""

    settings: Any
    build: Callable[[Any, Path], Any]
    targets: str = ""
    soft: bool = False


def classify(cls: Any, targets: str = "", **changes: Any) -> Case:
    judged = {"ordinary": "x"} if "ordinary" in cls.model_fields else {}
    frequencies = torch.tensor([0.6, 0.6])
    return Case(
        cls(**SHORT, **judged, **changes),
        lambda s, ordinary: find(s.objective)(s, 2, {"ordinary": ordinary}, frequencies),
        targets,
    )


def segment(cls: Any, soft: bool = False, **changes: Any) -> Case:
    settings = cls(**{**SHORT, "supervision": "masks", "architecture": "unet", **changes})
    return Case(settings, lambda s, _: find(s.objective)(s, 2), "masks", soft)


CASES = {
    "vanilla": classify(VanillaSettings),
    "averaged": classify(VanillaSettings, ema=0.9, clip_norm=1.0, optimizer="adamw"),
    "puzzle": classify(PuzzleSettings),
    "oc-cse": classify(OcCseSettings, output_stride=8),
    "p-oc": classify(POcSettings, erase_class="balanced"),
    "p-noc": classify(PNocSettings, erase_class="least-chosen"),
    "leaking": classify(PNocSettings, erase_class="focal", gradient_leak=True),
    "guided": classify(GuidedSettings, "few"),
    "guided at the image": classify(
        GuidedSettings, "few", guidance_layer="input", absent_classes=1, batch_norm="fixed"
    ),
    "affinity": Case(
        AffinitySettings(**SHORT, cams="x", saliency="x", radius=3), lambda s, _: find("affinity")(s, 2), "masks"
    ),
    "c2am": Case(C2amSettings(**SHORT), lambda s, _: find(s.objective)(s)),
    "c2am-h": Case(C2amHSettings(**SHORT, hints="x"), lambda s, _: find(s.objective)(s), "strengths"),
    "saliency": Case(SaliencyNetSettings(**SHORT, saliency="x"), lambda s, _: find(s.objective)(s), "masks"),
    "segmentation": segment(SegmentationSettings, architecture="deeplabv3plus", loss_cap=0.5),
    "soft targets": segment(SegmentationSettings, True, supervision="pseudo", masks="x", soft_weight=0.5),
    "tags": Case(
        SegmentationSettings(**SHORT, supervision="masks", architecture="unet", gt_masks=4, tags=0.5),
        lambda s, _: TaggedSegmentation(s, 2),
        "few",
    ),
    "ema-teacher": segment(EmaTeacherSettings, teacher_warmup=0, class_mix=1.0),
    "early-learning": segment(EarlyLearningSettings, correction_start=0.0, sure=0.4, batch_size=2),
    "co-training": segment(CoTrainingSettings, lr=0.001),
    "continual": Case(
        ContinualSettings(
            **SHORT, supervision="masks", architecture="unet", classes=["green"], warm_start="x", distil=1.0
        ),
        lambda s, _: Continual(s, 2, Step((1,), (0,)), Continual(s, 2, Step((0,))).networks["segmenter"]),
        "masks",
    ),
}
WITHOUT_STEPS = {"linear", "token_cut"}
"""Objectives that the engine does not train."""


def targets_of(kind: str, items: list[Item]) -> Any:
    if kind == "strengths":
        return lambda item: np.random.default_rng(len(item.id)).integers(0, 255, (item.height, item.width), np.uint8)
    return {"": None, "few": masks_of(items[:4]), "masks": masks_of(items)}[kind]


def levels(item: Item) -> np.ndarray:
    shares = np.random.default_rng(len(item.id)).random((len(item.labels) + 1, 10, 12))
    return (255 * shares / shares.sum(0)).astype(np.uint8)


def trainer(
    case: Case,
    index: Path,
    ordinary: Path,
    folder: Path,
    device: torch.device,
    double: bool = False,
    **changes: Any,
) -> Trainer:
    settings = case.settings.model_copy(update=changes)
    items = Index.load(index).labelled("train")
    folder.mkdir(exist_ok=True, parents=True)
    arguments = SimpleNamespace(out=folder, state=None, seed=0, threads=1, device=device.type)
    torch.manual_seed(0)
    views = TrainingViews(items, 2, settings, 0, targets_of(case.targets, items), levels if case.soft else None)
    run = Run(arguments, settings, {"index": index}, "classifier")
    objective = case.build(settings, ordinary)
    if double:
        for network in (*objective.networks.values(), *objective.fixed.values()):
            network.double()
    return Trainer(objective, views, settings, run, device)


def doubled(batch: Batch) -> Batch:
    """Its images in float64."""
    return replace(batch, images=batch.images.double())


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}


def losses_of(it: Trainer) -> list[float]:
    """The first loss of each record."""
    lines = [json.loads(line) for line in it.records.path.read_text().splitlines()]
    return [next(value for name, value in line.items() if name not in ("step", "epoch", "lr")) for line in lines]


def farthest(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest difference, relative to the largest value of each tensor."""
    floating = [name for name in expected if expected[name].is_floating_point()]
    assert found.keys() == expected.keys() and all(found[n].dtype == expected[n].dtype for n in expected)
    return max(float((found[n] - expected[n]).abs().max() / expected[n].abs().max().clamp(min=1e-3)) for n in floating)


def test_every_objective_has_a_case():
    files = (ROOT / "wsss" / "objectives").glob("*.py")
    declared = {path.stem for path in files if re.search("^VERSION = ", path.read_text(), re.M)}
    tried = {getattr(case.settings, "objective", name).replace("-", "_") for name, case in CASES.items()}
    assert declared - tried == WITHOUT_STEPS | {"tagged_segmentation"}, "the last one is the case 'tags'"


@pytest.mark.parametrize("name", CASES)
def test_a_training_is_that_of_the_cpu(name, tiny_index, ordinary, tmp_path, monkeypatch):
    """With ``deterministic`` torch refuses what is not the same in each run: every objective trains with it.

    In float64: sums come in another order, and what three steps make of float32's rounding differs from one kind of
    processor to the next."""
    make = partial(trainer, CASES[name], tiny_index, ordinary, double=True)
    moved = ByteBatch.to
    monkeypatch.setattr(ByteBatch, "to", lambda self, device: doubled(moved(self, device)))
    on_cpu = make(tmp_path / "cpu", CPU)
    expected, losses = weights(on_cpu.train()), losses_of(on_cpu)
    began = torch.backends.cudnn.benchmark
    it = make(tmp_path / "gpu", GPU, deterministic=True)
    network = it.train()
    assert {t.device for t in network.state_dict().values()} == {GPU}
    assert abs(losses_of(it)[0] - losses[0]) < 1e-6 * max(1, abs(losses[0]))
    if it.settings.optimizer == "sgd":  # the other one makes whole steps of gradients that are nothing but rounding
        assert farthest(weights(network), expected) < 1e-6  # where a loss asks for float32; 1e-13 without
    assert torch.backends.cudnn.benchmark is began and not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", CASES)
def test_no_step_waits_whatever_the_precision(name, tiny_index, ordinary, tmp_path):
    """No step waits for the GPU, or copies from memory that is not page-locked, but where a record or a checkpoint is
    written."""
    make = partial(trainer, CASES[name], tiny_index, ordinary)
    on_cpu = make(tmp_path / "cpu", CPU)
    on_cpu.train()
    losses = losses_of(on_cpu)
    for precision, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        it = make(tmp_path / precision, GPU, precision=precision)
        with metered() as meter:
            network = it.train()
        seen = weights(network)
        assert it.precision.type == kind and all(t.isfinite().all() for t in seen.values())
        assert abs(losses_of(it)[0] - losses[0]) < 0.05 * max(1, abs(losses[0])), "of the same weights"
        used = [s for s in it.precision.scalers.values() if s.is_enabled()]
        assert len(used) == (len(it.networks) if precision == "fp16" else 0)
        assert len({id(scaler) for scaler in used}) == (min(1, len(used)) if it.objective.crossed() else len(used))
        waits = Counter(place.split(": ")[1].split(":")[0] for place in meter.waits.elements())
        assert set(waits) <= WRITING, meter.waits
        assert waits[RECORDS] > 0 and sum(meter.kernels.values()) > 100, "the meter sees what it should"
        assert not meter.unpinned


@pytest.mark.parametrize("name", CASES)
def test_stopped_at_every_step_it_ends_with_the_same_bits(name, tiny_index, ordinary, tmp_path, monkeypatch):
    make = partial(trainer, CASES[name], tiny_index, ordinary, device=GPU, precision="fp16", deterministic=True)
    whole = weights(make(tmp_path / "whole").train())
    plain = Trainer._micro_step

    def cut(self: Trainer, batch: Any) -> None:
        plain(self, batch)
        self.run.stop = "a test"

    monkeypatch.setattr(Trainer, "_micro_step", cut)
    for _ in range(9):
        it = make(tmp_path / "cut")
        try:
            pieces = weights(it.train())
            break
        except Interrupted:
            assert it.checkpoint.path.exists()
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
