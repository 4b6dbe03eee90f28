"""Training by several processes against training by one with the same micro-batches.

They agree to ``CLOSE`` and not to the bit: sums over the images of a micro-batch are taken in another order, which
changes the last bits of float32, and each step builds on the one before. Seen after the six steps here: 1e-6 (P-NOC) to
3e-5 (segmenter). Where a step is large the difference grows faster, since a value next to a threshold (of a rectifier,
of a hard mask) falls to the other side; hence the small rates.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.engine.process_group import together
from tests.engine.tiny_training import SMALL
from wsss.data.sampling import Order
from wsss.errors import WsssError
from wsss.runtime.run import Run
from wsss.settings import (
    C2amSettings,
    CoTrainingSettings,
    EarlyLearningSettings,
    EmaTeacherSettings,
    PNocSettings,
    SegmentationSettings,
    VanillaSettings,
)
from wsss.stages.classifier import make as train_classifier
from wsss.stages.saliency import make as train_saliency
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.manifest import write_manifest
from wsss.store.weights import load_weights
from wsss.system.exit import Interrupted
from wsss.system.launch import World
from wsss.training.engine import Trainer

CLOSE = 1e-4
TRAINED = {
    "vanilla": (train_classifier, VanillaSettings(**SMALL, ema=0.9, momentum=0.9)),
    "per-process": (train_classifier, VanillaSettings(**SMALL, ema=0.9, momentum=0.9, batch_norm="per-process")),
    "p-noc": (
        train_classifier,
        PNocSettings(
            **{**SMALL, "lr": 0.001},
            ordinary="vanilla",
            accumulate=2,
            erase_class="least-chosen",
            erasing_max="batch",
            adversary_max="batch",
            adversary_batch_norm="normal",
        ),
    ),
    "segmenter": (
        train_segmenter,
        SegmentationSettings(**{**SMALL, "lr": 0.0005}, supervision="masks", architecture="unet"),
    ),
    "ema-teacher": (
        train_segmenter,
        EmaTeacherSettings(**{**SMALL, "lr": 0.0005}, supervision="masks", architecture="unet", class_mix=1.0),
    ),
    "early-learning": (
        train_segmenter,
        EarlyLearningSettings(
            **{**SMALL, "lr": 0.0001, "epochs": 4},
            **{"supervision": "masks", "architecture": "unet", "correction_start": 0.0, "sure": 0.4},
        ),
    ),
    "co-training": (
        train_segmenter,
        CoTrainingSettings(**{**SMALL, "lr": 0.0001}, momentum=0.0, supervision="masks", architecture="unet"),
    ),
    "tagged": (
        train_segmenter,
        SegmentationSettings(
            **{**SMALL, "lr": 0.0002}, supervision="masks", architecture="unet", gt_masks=4, tags=0.5, masked_share=None
        ),
    ),
    "c2am": (train_saliency, C2amSettings(**SMALL)),
}
OBJECTIVES = ["vanilla", "p-noc", "segmenter", "ema-teacher", "early-learning", "co-training", "tagged", "c2am"]


def run_of(name: str, given: dict[str, Path], out: Path, world: World | None = None) -> Run:
    trained, settings = TRAINED[name]
    out.mkdir(parents=True, exist_ok=True)
    inputs = {key: folder for key, folder in given.items() if key == "index" or name == "p-noc"}
    args = SimpleNamespace(out=out, state=out / "state", seed=0, threads=1, device="cpu")
    stage = {train_segmenter: "segmenter", train_saliency: "saliency"}.get(trained, "classifier")
    return Run(args, settings, inputs, stage, world)


def train(rank: int, ranks: int, name: str, given: dict[str, Path], out: Path, stop: int | None = None) -> dict:
    """Train, or stop after ``stop`` micro-steps by a signal to the last process; what is told of the run."""
    run = run_of(name, given, out, World(rank, ranks))
    original = Trainer._micro_step

    def step(self, batch):
        original(self, batch)
        if self.step == stop and rank == ranks - 1:
            run.stop = "a test"

    Trainer._micro_step = step
    try:
        TRAINED[name][0](run)
    except Interrupted:
        assert stop is not None
    finally:
        Trainer._micro_step = original
    return run.recorded


def spread(ranks: int, name: str, given: dict[str, Path], out: Path, stop: int | None = None) -> dict:
    """``train`` by so many processes; what the first tells."""
    if ranks == 1:
        return train(0, 1, name, given, out, stop)
    return together(ranks, train, ranks, name, given, out, stop)[0]


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_weights(out / "model.safetensors")[0]


def apart(out: Path, other: Path) -> float:
    """Largest difference of any weight or running statistic."""
    one, two = weights_of(out), weights_of(other)
    assert one.keys() == two.keys()
    return max(float((one[k].double() - two[k].double()).abs().max()) for k in one)


@pytest.fixture(scope="module")
def given(tiny_index, tmp_path_factory) -> dict[str, Path]:
    ordinary = tmp_path_factory.mktemp("given") / "ordinary"
    spread(1, "vanilla", {"index": tiny_index}, ordinary)
    write_manifest(ordinary, {})
    return {"index": tiny_index, "ordinary": ordinary}


@pytest.fixture(scope="module")
def alone(given, tmp_path_factory) -> Path:
    """Folder with what one process makes of each."""
    folder = tmp_path_factory.mktemp("alone")
    for name in OBJECTIVES:
        spread(1, name, given, folder / name)
    return folder


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_train_like_one(given, alone, tmp_path, name):
    facts = spread(2, name, given, tmp_path / name)
    assert facts["processes"] == 2
    assert apart(tmp_path / name, alone / name) < CLOSE
    one, two = (
        [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        for folder in (alone, tmp_path)
    )
    assert len(one) == len(two) and [r.keys() for r in one] == [r.keys() for r in two]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(list(first.values()), list(second.values()), atol=1e-4)


def test_statistics_of_parts_of_the_batch_are_another_training(given, alone, tmp_path):
    """``per-process`` is what the tolerance has to tell from ``normal``. Alone, the two are the same."""
    spread(1, "per-process", given, tmp_path / "one")
    assert apart(tmp_path / "one", alone / "vanilla") == 0
    spread(2, "per-process", given, tmp_path / "two")
    assert apart(tmp_path / "two", alone / "vanilla") > 20 * CLOSE


@pytest.mark.parametrize("before, after", [(1, 2), (4, 1)])
def test_another_number_of_processes_goes_on(given, alone, tmp_path, before, after):
    out = tmp_path / "out"
    spread(before, "p-noc", given, out, stop=3)
    (checkpoint,) = out.glob("state/*/checkpoint.pt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 4, "half an optimiser step is never saved"
    torch.save({**state, "seconds": state["seconds"] + 1000}, checkpoint)
    facts = spread(after, "p-noc", given, out)
    assert facts["processes"] == after
    assert 1000 < facts["training_seconds"] < 1100, "the time of all runs together"
    assert apart(out, alone / "p-noc") < CLOSE
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_image_is_seen_once_an_epoch(ranks):
    whole = list(Order(24, 4, 3, seed=5))
    parts = [list(Order(24, 4, 3, seed=5, rank=rank, ranks=ranks)) for rank in range(ranks)]
    joint = [[visit for part in parts for visit in part[step]] for step in range(len(whole))]
    assert joint == whole
    for epoch in range(3):
        assert sorted(visit for step in joint[6 * epoch : 6 * epoch + 6] for visit in step) == [
            (epoch, position) for position in range(24)
        ]


def elsewhere(rank: int, given: dict[str, Path], out: Path) -> str:
    """The second process has a state folder of its own."""
    try:
        train(rank, 2, "vanilla", given, out if rank == 0 else out / "mine")
    except WsssError as error:
        return str(error)
    return "trained"


def test_processes_that_see_different_checkpoints_refuse_to_train(given, tmp_path):
    spread(1, "vanilla", given, tmp_path / "out", stop=2)
    assert all("on a file system that all their machines share" in said for said in together(
        2, elsewhere, given, tmp_path / "out"))  # fmt: skip


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch_size .6. must be a multiple of processes .4."):
        VanillaSettings(**{**SMALL, "batch_size": 6}, processes=4)
