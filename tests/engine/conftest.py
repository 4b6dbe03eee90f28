"""A handful of coloured squares with tags, and a run without a command line."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.engine.tiny_training import SMALL
from wsss.data.index import Item, write_index
from wsss.runtime.run import Run
from wsss.settings import (
    AuditSettings,
    CamsSettings,
    ExplanationSettings,
    PredictSettings,
    SearchSettings,
    SegmenterSettings,
    VanillaSettings,
    WalkSettings,
)
from wsss.stages.classifier import make as train_classifier
from wsss.store.manifest import write_manifest
from wsss.system.exit import Interrupted
from wsss.system.files import write_json
from wsss.training.engine import Trainer

STAGES = {
    AuditSettings: "audit",
    CamsSettings: "cams",
    ExplanationSettings: "explanation",
    PredictSettings: "predictions",
    SearchSettings: "search",
    SegmenterSettings: "segmenter",
    WalkSettings: "walk",
}
COLOURS = np.array([[200, 40, 40], [40, 200, 40]], np.uint8)


@pytest.fixture(scope="session")
def tiny_index(tmp_path_factory):
    """12 training and 4 validation images of 48 px: a red or green square (or both) on noise, with masks."""
    folder = tmp_path_factory.mktemp("tiny") / "index"
    (folder / "images").mkdir(parents=True)
    items = []
    for number in range(16):
        rng = np.random.default_rng(number)
        image = rng.integers(60, 160, (40, 48, 3), dtype=np.uint8)
        mask = np.zeros((40, 48), np.uint8)
        labels = ((0,), (1,), (0, 1))[number % 3]
        for c in labels:
            y, x = rng.integers(0, 24), rng.integers(0, 12) + 24 * c
            image[y : y + 12, x : x + 12] = COLOURS[c]
            mask[y : y + 12, x : x + 12] = c + 1
        name = f"p{number}"
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "images" / f"{name}-mask.png")
        split = "train" if number < 12 else "val"
        paths = (folder / "images" / f"{name}.png", folder / "images" / f"{name}-mask.png")
        items.append(Item(name, split, *paths, 40, 48, labels, True))
    write_index(folder, ("red", "green"), items)
    write_json(folder / "report.json", {"dataset": "tiny", "dropped": []})
    write_manifest(folder, {"stage": "index"})
    return folder


@pytest.fixture
def make_run(tmp_path):
    """``make_run(settings, inputs, name)``: a run of the stage that reads such settings, in a folder of its own."""

    def make(settings, inputs, name="out", seed=0):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        stage = next((stage for cls, stage in STAGES.items() if isinstance(settings, cls)), "classifier")
        return Run(SimpleNamespace(out=out, state=None, seed=seed, threads=1, device="cpu"), settings, inputs, stage)

    return make


@pytest.fixture
def trained_ordinary(tiny_index, make_run):
    """The folder of a plain classifier, as the ordinary one of P-NOC."""
    run = make_run(VanillaSettings(**SMALL), {"index": tiny_index}, "ordinary")
    train_classifier(run)
    write_manifest(run.out, {})
    return run.out


@pytest.fixture
def stopped_at_every_step(monkeypatch):
    """``stopped_at_every_step(train, run)``: stops the training after each micro-step and starts it again, until it
    ends; how often it was stopped."""
    original = Trainer._micro_step

    def train_on(train, run):
        def cut(self, batch):
            original(self, batch)
            run.stop = "a test"

        monkeypatch.setattr(Trainer, "_micro_step", cut)
        stops = 0
        while True:
            run.stop = None
            try:
                train(run)
                return stops
            except Interrupted:
                stops += 1

    return train_on
