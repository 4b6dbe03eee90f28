"""Memories and steps of learning in the chain: the stages, their resume, and the table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.tiny_training import SMALL
from wsss.beyond.exemplars import Labeller, Teller, kept_labels, strongest_of
from wsss.data.images import read_image, read_mask
from wsss.data.index import Index
from wsss.data.transforms import normalise
from wsss.errors import WsssError
from wsss.evaluate.confusion import class_scores, confusion
from wsss.models.class_rows import LEAST, close_rows, last_layer, steps_of
from wsss.models.segmenter import Segmenter, load_segmenter
from wsss.parts.units import UnitsOnDemand
from wsss.settings import ContinualSettings, MemorySettings
from wsss.stages.continual import make as write_table
from wsss.stages.memory import make as write_memory
from wsss.stages.segmenter import make as train_step
from wsss.store.exemplars import Exemplars
from wsss.store.manifest import write_manifest
from wsss.store.masks import MaskFolder
from wsss.store.weights import load_weights, save_weights
from wsss.system.exit import Interrupted

STEP = {**SMALL, "long_side": [56, 72], "architecture": "fpn", "objective": "continual", "supervision": "masks"}


@pytest.fixture(scope="module")
def old(tmp_path_factory, tiny_index) -> Path:
    """A network that knows red, and sees it in half of an image; not trained."""
    torch.manual_seed(0)
    network = Segmenter("fpn", "test_resnet", 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
    torch.nn.init.normal_(last_layer(network).weight, 0, 1)
    with torch.no_grad():
        pixels = read_image(Index.load(tiny_index).items[0].image)
        scores = network.eval()(torch.from_numpy(normalise(pixels))[None])[0]
        last_layer(network).bias[1] -= (scores[1] - scores[0]).median()
    close_rows(network, [1])
    folder = tmp_path_factory.mktemp("old") / "step-0"
    folder.mkdir()
    about = {"architecture": "fpn", "backbone": "test_resnet", "output_stride": 32, "atrous_rates": [6, 12, 18]}
    about |= {"classes": ["red", "green"], "steps": [["red"]]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    settings = {"objective": "continual", "classes": ["red"], "warm_start": None, "memory": None, "disjoint": False}
    write_manifest(folder, {"seed": 0, "settings": settings})
    return folder


def finished(run) -> Path:
    facts = {"seed": 0, "settings": run.settings.model_dump(mode="json")}
    write_manifest(run.out, json.loads(json.dumps(facts)) | run.facts)
    return run.out


def remember(make_run, tiny_index, old, name="memory", inputs=None, **how):
    settings = MemorySettings.read({"segmenter": "step-0", "supervision": "masks", "dilate": 2, "pictures": 2, **how})
    run = make_run(settings, {"index": tiny_index, "segmenter": old, **(inputs or {})}, name)
    run.stage = "memory"
    write_memory(run)
    return finished(run)


def learn(make_run, tiny_index, name, inputs=None, **how):
    run = make_run(ContinualSettings.read({**STEP, **how}), {"index": tiny_index, **(inputs or {})}, name)
    train_step(run)
    return finished(run)


def test_a_memory_hangs_together(make_run, tiny_index, old):
    out = remember(make_run, tiny_index, old, method="true-box", lossless=True, budget_kib=12)
    memory, index = Exemplars(out / "memory.h5"), Index.load(tiny_index)
    told = json.loads((out / "metrics.json").read_text())
    rows = list(csv.DictReader((out / "memory.csv").open()))
    assert [row["image"] for row in rows] == memory.ids and len(memory) == told["exemplars"] > 1
    assert sum(int(row["bytes"]) for row in rows) == memory.bytes == told["bytes"] <= 12 * 1024 == told["budget"]
    assert all(0 in index.item(id).labels and index.item(id).split == "train" for id in memory.ids)
    assert told["object_recall"] == 1 and told["per_class"] == {"red": len(memory)} and told["unusable"] == []
    teller = Teller(load_segmenter(old)[0].eval(), torch.device("cpu"))
    total = np.zeros((3, 3), int)
    for row, one in zip(rows, memory, strict=True):
        item = index.item(one.id)
        truth = read_mask(item.mask)
        np.testing.assert_array_equal(one.labels(), np.where(truth == 1, 1, 0), "green is for later")
        inside, pixels = one.reliable(), read_image(item.image)
        np.testing.assert_array_equal(one.image()[inside], pixels[inside])
        assert inside[truth == 1].all() and (one.image() != pixels).any() and one.tags == (0,)
        assert int(row["context"]) == len(one.context) and int(row["labels"]) == len(one.mask)
        assert float(row["box_share"]) == pytest.approx(inside.mean(), abs=1e-6) and row["boxes"] == "1"
        assert int(row["object_pixels"]) == (truth == 1).sum()
        total += confusion(one.labels(), teller.probabilities(one.image()).argmax(0), 2)
    assert told["fidelity"] == pytest.approx(np.nanmean(class_scores(total)["iou"]), abs=2e-2)
    assert Image.open(out / "pictures.png").size[0] > 100


@pytest.mark.parametrize(
    "how",
    [
        {"method": "salient"},
        {"method": "salient", "explainer": "gradient", "boxes": "components", "context": "quality"},
        {"method": "crop", "threshold": 0.5},
        {"method": "random-box"},
        {"method": "uniform", "factor": 2, "supervision": "pseudo"},
        {"method": "whole", "quality": None},
        {"method": "whole", "quality": 25, "select": "herding"},
    ],
)
def test_every_compression_keeps_to_the_budget(make_run, tiny_index, old, how):
    out = remember(make_run, tiny_index, old, budget_kib=6, **how)
    memory = Exemplars(out / "memory.h5")
    assert 0 < memory.bytes <= 6 * 1024 and all(one.image().shape == (40, 48, 3) for one in memory)
    if how.get("quality", 0) is None:
        for one in memory:
            assert one.context == Index.load(tiny_index).item(one.id).image.read_bytes()
    if how.get("supervision") == "pseudo":
        assert all(set(np.unique(one.labels())) <= {0, 1} for one in memory), "an unknown class is not predicted"
    if how.get("context") == "quality":
        assert all(Image.open(io.BytesIO(one.context)).size == (48, 40) for one in memory)


def test_a_killed_memory_goes_on_where_it_was(make_run, tiny_index, old, monkeypatch):
    whole = remember(make_run, tiny_index, old, "whole", budget_kib=8)
    settings = MemorySettings.read(
        {"segmenter": "step-0", "supervision": "masks", "dilate": 2, "pictures": 2, "budget_kib": 8}
    )
    run = make_run(settings, {"index": tiny_index, "segmenter": old}, "cut")
    run.stage = "memory"
    made: list[str] = []
    original = UnitsOnDemand.__call__

    def cut(self, key, make):
        def noted():
            made.append(key)
            run.stop = "a test"
            return make()

        return original(self, key, noted)

    monkeypatch.setattr(UnitsOnDemand, "__call__", cut)
    stops = 0
    while True:
        run.stop = None
        try:
            write_memory(run)
            break
        except Interrupted:
            stops += 1
    assert stops == len(made) == len(set(made)) > 8, "nothing is made twice"
    one, other = Exemplars(whole / "memory.h5"), Exemplars(run.out / "memory.h5")
    assert one.ids == other.ids and [e.context for e in one] == [e.context for e in other]
    for name in ("memory.csv", "metrics.json"):
        assert (whole / name).read_bytes() == (run.out / name).read_bytes()


def test_the_memory_before_is_carried_as_it_is(make_run, tiny_index, old):
    first = remember(make_run, tiny_index, old, "first", budget_kib=6, method="uniform")
    step = learn(make_run, tiny_index, "step-1", {"warm_start": old}, classes=["green"], warm_start="step-0", epochs=1)
    assert steps_of(step) == (("red",), ("green",))
    out = remember(
        make_run, tiny_index, step, "second", {"previous": first}, previous="first", budget_kib=6, method="whole"
    )
    before, memory = Exemplars(first / "memory.h5"), Exemplars(out / "memory.h5")
    told = json.loads((out / "metrics.json").read_text())
    carried = [id for id in memory.ids if id in before]
    assert 0 < len(carried) == told["carried"] < len(memory) and memory.bytes <= 6 * 1024
    assert all(memory[id].context == before[id].context and memory[id].mask == before[id].mask for id in carried)
    assert set(told["per_class"]) == {"red", "green"} and min(told["per_class"].values()) > 0


def test_replay_trains_resumes_and_is_compared(make_run, tiny_index, old, stopped_at_every_step, tmp_path):
    memory = remember(make_run, tiny_index, old, "boxes", method="true-box", budget_kib=8)
    none = learn(make_run, tiny_index, "none", {"warm_start": old}, classes=["green"], warm_start="step-0", epochs=1)
    inputs = {"warm_start": old, "memory": memory}
    how = {"classes": ["green"], "warm_start": "step-0", "memory": "boxes", "outside": "ignore", "epochs": 1}
    how |= {"outside_weight": 0.5, "distil": 0.5}
    replay = learn(make_run, tiny_index, "replay", inputs, **how)
    facts = json.loads((replay / "manifest.json").read_text())
    assert facts["images"] == 8 and facts["exemplars"] == len(Exemplars(memory / "memory.h5"))
    assert not list(replay.glob("**/*-mask.png")) or (replay / "state").exists()
    run = make_run(ContinualSettings.read({**STEP, **how}), {"index": tiny_index, **inputs}, "stopped")
    assert stopped_at_every_step(train_step, run) >= 3
    one, other = (load_weights(folder / "model.safetensors")[0] for folder in (replay, run.out))
    assert all(torch.equal(one[name], other[name]) for name in one), "resumed to the bit"
    predictions = []
    for name, value in (("step-0", 1), ("none", 2), ("replay", 0)):
        folder = tmp_path / "predictions" / name
        for item in Index.load(tiny_index).split("val"):
            truth = read_mask(item.mask)
            MaskFolder(folder / "masks").write(item.id, np.where(truth == value, truth, 0) if value else truth)
        write_manifest(folder, {})
        predictions.append(folder)
    table = make_run(None, {"index": tiny_index}, "table")
    table.stage, table.args.dataset = "continual", None
    for kind, folders in (("segmenters", [old, none, replay]), ("predictions", predictions), ("memories", [memory])):
        table.inputs |= {f"{kind}.{n}": folder for n, folder in enumerate(folders)}
    write_table(table)
    rows = {
        (row["recipe"], row["metric"]): row["value"] and float(row["value"])
        for row in csv.DictReader((table.out / "continual.csv").open())
    }
    assert rows["step-0", "iou_red"] == 1 and ("step-0", "iou_green") not in rows
    assert rows["none", "iou_red"] == 0 and rows["none", "forgetting"] == 1 and rows["none", "miou_new"] == 1
    assert rows["replay", "forgetting"] == 0 and rows["replay", "miou_all"] == 1 == rows["replay", "boundary_old"]
    assert rows["none", "miou_old"] == 0 == rows["none", "boundary_old"]
    page = (table.out / "continual.md").read_text()
    assert "## After step-0: green" in page and "| replay | true-box q75 on whole/4 |" in page and "## Memories" in page


def test_labels_of_earlier_steps_come_from_the_network(tiny_index, old):
    item = next(i for i in Index.load(tiny_index).items if i.labels == (0, 1))
    pixels = read_image(item.image)
    network = load_segmenter(old)[0].eval()
    with torch.no_grad():
        last_layer(network).bias[1] = -LEAST  # sure of red everywhere
    teller = Teller(network, torch.device("cpu"))
    truth = read_mask(item.mask)
    found = Labeller(teller, True, (1,), (0,))(item, pixels)
    np.testing.assert_array_equal(found, np.where(truth == 2, 2, 1))
    np.testing.assert_array_equal(Labeller(teller, True, (0,), ())(item, pixels), np.where(truth == 1, 1, 0))
    assert (Labeller(teller, False, (0,), ())(item, pixels) == 1).all()
    assert kept_labels(np.array([[0, 1, 2, 255]], np.uint8), [0]).tolist() == [[0, 1, 0, 255]]


def test_maps_are_put_together_by_their_largest():
    maps = torch.tensor([[[0.0, 4.0]], [[-1.0, 0.0]], [[2.0, 0.0]]])
    assert strongest_of(maps, (1, 2)).tolist() == [[1.0, 1.0]]
    assert strongest_of(maps[:0], (2, 3)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"classes": ["green"]}, "has not learnt green"),
        ({"classes": ["gren"]}, "no class 'gren'.*green"),
        ({"previous": "x"}, "--previous: the recipe names 'x'"),
        ({"cams": "x"}, "--cams: the recipe names 'x'"),
    ],
)
def test_memories_that_cannot_be_made(make_run, tiny_index, old, how, said):
    with pytest.raises(WsssError, match=said):
        remember(make_run, tiny_index, old, **how)


@pytest.mark.parametrize(
    ("how", "given", "said"),
    [
        ({"classes": ["red"], "warm_start": "x"}, ("warm_start",), "red was learnt before"),
        ({"classes": ["blue"]}, (), "no class 'blue'"),
        ({"classes": ["green"], "warm_start": "x"}, (), "--warm-start: the recipe names 'x'"),
        ({"classes": ["green"]}, ("warm_start",), "--warm-start: the recipe names none"),
    ],
)
def test_steps_that_cannot_be_learnt(make_run, tiny_index, old, how, given, said):
    with pytest.raises(WsssError, match=said):
        learn(make_run, tiny_index, "step", {name: old for name in given}, **how)
