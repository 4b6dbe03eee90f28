"""The stage that explains a segmentation network, from recipe to table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.plain import seen
from wsss.data.images import read_mask
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.explain import Regions, find, subject_of
from wsss.explain.metrics import ExplainedBatch, RegionMetrics, measure_regions
from wsss.explain.recipes import placed
from wsss.models.segmenter import Segmenter, load_segmenter
from wsss.runtime.shard import Shard
from wsss.settings import ExplanationSettings
from wsss.stages.explanation import make as write_explanations
from wsss.stages.explanations import make as write_comparison
from wsss.stages.explanations import read_explained
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.weights import save_weights


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    torch.manual_seed(0)
    network = Segmenter("deeplabv3plus", "test_resnet", 3).eval()
    for module in network.modules():  # statistics that a training would have left
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
            module.running_mean.normal_(0, 0.1)
    folder = tmp_path_factory.mktemp("segmenter") / "walk"
    folder.mkdir()
    about = {"architecture": "deeplabv3plus", "backbone": "test_resnet", "output_stride": 16}
    about |= {"atrous_rates": [6, 12, 18], "classes": ["red", "green"]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {})
    return folder


def explain(make_run, tiny_index, segmenter, name="explained", shard=None, **settings):
    settings = ExplanationSettings.read({"segmenter": "walk", "pictures": 2} | settings)
    run = make_run(settings, {"index": tiny_index, "segmenter": segmenter}, name)
    if shard:
        run.shard = shard
    write_explanations(run)
    if not shard:
        inputs = {"segmenter": {"path": str(segmenter)}}
        facts = {"seed": 0, "settings": settings.model_dump(mode="json"), "inputs": inputs}
        write_manifest(run.out, facts | run.facts | run.recorded)
    return run.out


def test_what_is_told_is_what_the_library_measures(make_run, tiny_index, segmenter):
    out = explain(
        make_run, tiny_index, segmenter, classes="green", region="image", curves=True, curve_steps=2,
        curve_fills=["black", "noise"],
    )  # fmt: skip
    recorded = json.loads((out / "metrics.json").read_text())
    assert recorded["explainer"] == "seg-hires-grad-cam" and recorded["curve_fills"] == ["black", "noise"]
    items = Index.load(tiny_index).split("val")
    subject = subject_of(load_segmenter(segmenter)[0].eval())
    x = torch.cat([seen(item.image, 1.0) for item in items])
    batch = ExplainedBatch(x, [item.id for item in items], None, [read_mask(item.mask) for item in items])
    metrics = RegionMetrics(True, ("black", "noise"), 2)
    target = Regions([2], "image")
    method = find("seg-hires-grad-cam")()
    tally = measure_regions(method, subject, [batch], 2, lambda _: target, metrics)
    theirs = tally.summary()["weighted"]
    assert {"energy", "inside", "deletion_black", "insertion_noise_random", "deletion_spread"} <= set(theirs)
    for metric, value in theirs.items():
        ours = recorded["summary"]["reference"]["weighted"][metric]
        assert ours == pytest.approx(value, rel=1e-3, abs=5e-3), metric  # a few pixels are undecided
    rows = list(csv.DictReader((out / "detections.csv").open()))
    assert [row["class"] for row in rows] == ["green"] * len(items)
    store = MapStore(out)
    assert store.attributes["signed"] == 1 and store.attributes["stride"] == 16
    made = method(subject, x, target)
    for number, item in enumerate(items):
        (maps,) = store[item.id].maps
        assert store[item.id].classes.tolist() == [1] and maps.shape == (1, 3, 3)  # 40 x 48 pixels, 16 a cell
        np.testing.assert_allclose(maps[0], made.maps[number].numpy(), atol=1e-3 * float(made.maps.abs().max()))
    assert Image.open(out / "pictures.png").size[0] > 100


def test_regions_of_the_ground_truth_and_of_a_place(make_run, tiny_index, segmenter):
    out = explain(make_run, tiny_index, segmenter, region="given", explainer="gradient")
    items = Index.load(tiny_index).split("val")
    rows = list(csv.DictReader((out / "detections.csv").open()))
    named = {(row["image"], row["class"]): float(row["area"]) for row in rows}
    expected = {
        (item.id, name): float((read_mask(item.mask) == c + 1).mean())
        for item in items
        for c, name in enumerate(("red", "green"))
        if (read_mask(item.mask) == c + 1).any()
    }
    assert named == pytest.approx(expected)
    out = explain(
        make_run, tiny_index, segmenter, "box", region="box", at=[0.25, 0.5, 0.75, 1], classes=["red", "green"]
    )
    rows = list(csv.DictReader((out / "detections.csv").open()))
    assert len(rows) == 2 * len(items) and {float(row["area"]) for row in rows} == {0.25}


def test_a_place_in_shares():
    assert placed((), (40, 48)) is None
    assert placed((0.5, 1.0), (40, 48)) == (20, 47)
    assert placed((0.0, 0.25, 1.0, 0.5), (40, 48)) == (0, 12, 40, 24)
    assert placed((0.5, 0.5, 0.501, 0.501), (40, 48)) == (20, 24, 21, 25)  # a pixel at least


def test_shared_explanations_are_those_of_one_run(make_run, tiny_index, segmenter):
    how = {"classes": ["red", "green"], "explainer": "smooth-grad", "explainer_options": {"n": 2}}
    whole = explain(make_run, tiny_index, segmenter, "whole", **how)
    for number in range(2):
        explain(make_run, tiny_index, segmenter, "shared", Shard(number, 2), **how)
    shared = explain(make_run, tiny_index, segmenter, "shared", **how)
    for name in ("metrics.json", "classes.csv", "detections.csv", "pictures.png"):
        assert (whole / name).read_bytes() == (shared / name).read_bytes(), name


def test_the_table_of_two_networks(make_run, tiny_index, segmenter):
    how = {"region": "image", "classes": ["red"], "curves": True, "curve_steps": 2}
    folders = [
        explain(make_run, tiny_index, segmenter, "hires", **how),
        explain(make_run, tiny_index, segmenter, "plain", explainer="seg-grad-cam", **how),
    ]
    run = make_run(None, {"index": tiny_index} | {f"explanations.{n}": f for n, f in enumerate(folders)}, "table")
    run.args.dataset = "tiny"
    write_comparison(run)
    text = (run.out / "explanations.md").read_text()
    assert "## Segmentation network walk, val, region image" in text and "AD ↓" not in text
    head = next(line for line in text.splitlines() if line.startswith("| recipe"))
    assert "deletion mean ↓" in head and "insertion blur ↑" in head and "deletion spread ↓" in head
    one = read_explained(folders[0]).metrics["summary"]["reference"]["weighted"]
    row = next(line for line in text.splitlines() if line.startswith("| hires "))
    assert f"| {100 * one['deletion_mean']:.1f} ({100 * one['deletion_mean_random']:.1f}) |" in row
    rows = list(csv.DictReader((run.out / "explanations.csv").open()))
    assert {(r["classifier"], r["segmenter"]) for r in rows} == {("", "walk")}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either 'classifier: NAME' or 'segmenter: NAME'"),
        ({"segmenter": "a", "classifier": "b"}, "either 'classifier: NAME' or 'segmenter: NAME'"),
        ({"segmenter": "a", "explainer": "minmax-cam"}, "'minmax-cam' is for classifiers"),
        ({"classifier": "a", "region": "image"}, "'region' is for segmentation networks"),
        ({"segmenter": "a", "policy": "gt"}, "are for classifiers"),
        ({"segmenter": "a", "region": "pixel"}, "needs 2 numbers in 'at'"),
        ({"segmenter": "a", "at": [0.5, 0.5]}, "needs no numbers in 'at'"),
        ({"segmenter": "a", "region": "box", "at": [0.5, 0, 0.5, 1]}, "give it some height and width"),
        (
            {"segmenter": "a", "explainer": "seg-ablation-cam", "explainer_options": {"prt": "all"}},
            "did you mean 'part'",
        ),
    ],
)
def test_recipes_that_make_no_sense(settings, said):
    with pytest.raises(ValueError, match=said):
        ExplanationSettings.read(settings)


def test_what_shows_before_anything_runs(make_run, tiny_index, segmenter):
    with pytest.raises(WsssError, match="there is no class 'gren'; did you mean 'green'"):
        explain(make_run, tiny_index, segmenter, classes="gren")
    run = make_run(ExplanationSettings.read({"segmenter": "walk"}), {"index": tiny_index}, "none")
    with pytest.raises(WsssError, match="--segmenter: name the folder"):
        write_explanations(run)
