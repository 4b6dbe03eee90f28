"""Scores of saliency: any object against background, at every threshold and for masks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from wsss.evaluate.confusion import confusion, mean_iou
from wsss.evaluate.scoring import salient, score_maps, score_masks
from wsss.settings import EvaluationSettings
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

SETTINGS = EvaluationSettings(threshold=0.2, calibration_images=3, thresholds=20)


def truth_of(item):
    mask = np.array(Image.open(item.mask))
    return np.where(mask == 255, 255, (mask > 0).astype(np.uint8)).astype(np.uint8)


@pytest.fixture
def maps(tmp_path, index):
    """Probabilities that follow the truth roughly; not divided by the maximum of an image."""
    rng, folder = np.random.default_rng(1), tmp_path / "maps"
    folder.mkdir()
    with MapWriter(folder / shard_name(0, 1), scales=(1.0,), flip=False, stride=4, attributes={"relative": 0}) as out:
        for item in index.items:
            cells = (truth_of(item)[::4, ::4] == 1) * 0.5 + 0.3 * rng.random(
                (-(-item.height // 4), -(-item.width // 4))
            )
            out.add(item.id, [0], (item.height, item.width), [cells[None].astype(np.float32)])
    write_manifest(folder, {"stage": "saliency_maps", "settings": {"splits": ["train", "val"]}, "seed": 0})
    return folder


def test_maps_at_every_threshold(maps, index):
    store = MapStore(maps)
    result = score_maps(salient(index), store, SETTINGS, ("train", "val"), 0, 1, True)
    for split in ("train", "val"):
        items = index.scored(split)
        found = result["splits"][split]
        for threshold, value in zip(found["curve"]["threshold"], found["curve"]["miou"], strict=True):
            matrix = sum(
                confusion(truth_of(i), (store.full(i.id)[0] > np.float32(threshold)).astype(np.uint8), 1) for i in items
            )
            assert value == pytest.approx(mean_iou(matrix), abs=1e-6)
        assert set(found["policies"]) == {"fixed", "calibrated", "oracle"}
        assert found["policies"]["fixed"]["threshold"] == 0.2 and found["images"] == len(items)
        assert set(found["policies"]["oracle"]["per_class"]) == {"background", "salient"}
        assert found["policies"]["oracle"]["miou"] > 0.7


def test_masks_and_nothing(tmp_path, index):
    folder = MaskFolder(tmp_path / "masks")
    for item in index.items:
        folder.write(item.id, (truth_of(item) == 1).astype(np.uint8))
    found = score_masks(salient(index), folder, ("train", "val"), 1, True)
    assert all(found["splits"][s]["policies"][""]["miou"] == 1.0 for s in ("train", "val"))
    for item in index.items:
        folder.write(item.id, np.zeros((item.height, item.width), np.uint8))
    nothing = score_masks(salient(index), folder, ("val",), 1, True)["splits"]["val"]["policies"][""]
    assert nothing["miou"] == pytest.approx(nothing["per_class"]["background"]["iou"] / 2)


def test_without_true_masks_there_are_diagnostics(tmp_path, little, maps):
    bare = little.index(tmp_path / "bare", masks=False)
    found = score_maps(salient(bare), MapStore(maps), SETTINGS, ("val",), 0, 1, True)["splits"]["val"]
    assert "no image" in found["note"] and 0 < found["policies"]["fixed"]["coverage"] < 1


def test_the_stage(tmp_path, index, little, maps):
    arguments = ("--index", index.folder, "--settings", '{"threshold": 0.2}', "--threads", 1)
    said = little.run_stage("scores", "--kind", "saliency", "--artefact", maps, "--out", tmp_path / "s", *arguments)
    assert "oracle: miou" in said
    scores = json.loads((tmp_path / "s" / "scores.json").read_text())
    assert scores["kind"] == "saliency" and scores["classes"] == ["salient"]
    masks = tmp_path / "sm"
    for item in index.items:
        MaskFolder(masks / "masks").write(item.id, (truth_of(item) == 1).astype(np.uint8))
    write_manifest(masks, {"stage": "saliency_masks", "settings": {"threshold": 0.2}, "splits": ["val"], "seed": 0})
    little.run_stage("scores", "--kind", "saliency-masks", "--artefact", masks, "--out", tmp_path / "m", *arguments)
    scores = json.loads((tmp_path / "m" / "scores.json").read_text())
    assert list(scores["splits"]) == ["val"] and scores["splits"]["val"]["policies"][""]["miou"] == 1.0
