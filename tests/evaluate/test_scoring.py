"""Scores of whole artefacts: the right images, the right policies, nothing left out in silence."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wsss.data.images import read_mask
from wsss.errors import WsssError
from wsss.evaluate.confusion import confusion, mean_iou, metrics
from wsss.evaluate.scoring import calibration_ids, score_classifier, score_maps, score_masks
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.settings import EvaluationSettings
from wsss.stages.scores import rows
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

SETTINGS = EvaluationSettings(threshold=0.333, calibration_images=3, thresholds=20)


def straight(index, store, items, threshold):
    matrix = np.zeros((4, 4), np.int64)
    for item in items:
        prediction = pseudo_mask(store.full(item.id), store[item.id].classes, threshold)
        matrix += confusion(read_mask(item.mask), prediction, 3)
    return matrix


def test_three_policies_equal_their_definition(tmp_path, index, little):
    store = MapStore(little.cams(tmp_path / "cams", index))
    result = score_maps(index, store, SETTINGS, ("train", "val"), 7, 1)
    grid = [i / 20 for i in range(20)]
    few = [index.item(id) for id in result["calibration"]]
    assert len(few) == 3 and all(item.split == "train" and item.scored for item in few)
    calibrated = max(grid, key=lambda t: mean_iou(straight(index, store, few, t)))
    for split in ("train", "val"):
        items = index.scored(split)
        oracle = max(grid, key=lambda t: mean_iou(straight(index, store, items, t)))
        policies = result["splits"][split]["policies"]
        for policy, threshold, looked_at in (
            ("fixed", 0.333, 0),
            ("calibrated", calibrated, 3),
            ("oracle", oracle, len(items)),
        ):
            found = policies[policy]
            assert found["threshold"] == threshold and found["threshold_images"] == looked_at
            assert found["images"] == len(items)
            expected = metrics(straight(index, store, items, threshold), little.classes)
            assert {k: found[k] for k in expected} == expected
        assert policies["oracle"]["miou"] == pytest.approx(max(result["splits"][split]["curve"]["miou"]), abs=1e-6)
    assert result == score_maps(index, store, SETTINGS, ("val", "train"), 7, 2)  # any order, any number of processes


def test_calibration_is_drawn_with_the_seed(index):
    items = index.scored("train")
    assert calibration_ids(items, 3, 1) == calibration_ids(items, 3, 1)
    assert len({tuple(calibration_ids(items, 3, seed)) for seed in range(10)}) > 3
    assert calibration_ids(items, 99, 1) == [item.id for item in items]


def test_no_calibration_without_training_maps(tmp_path, index, little):
    store = MapStore(little.cams(tmp_path / "cams", index, ("val",)))
    result = score_maps(index, store, SETTINGS, ("val",), 0, 1)
    assert set(result["splits"]["val"]["policies"]) == {"fixed", "oracle"}


def test_masks(tmp_path, index, little):
    """Specification, section 22, checks 11 and 12."""
    exact = score_masks(index, MaskFolder(little.masks(tmp_path / "m", index) / "masks"), ("train", "val"), 2)
    for split in ("train", "val"):
        found = exact["splits"][split]["policies"][""]
        assert found["miou"] == found["pixel_accuracy"] == 1.0
        assert found["images"] == exact["splits"][split]["images"] == len(index.scored(split))
    empty = little.masks(tmp_path / "e", index, lambda mask: np.zeros_like(mask)) / "masks"
    found = score_masks(index, MaskFolder(empty), ("val",), 1)["splits"]["val"]["policies"][""]
    occurring = sum(values["iou"] is not None for values in found["per_class"].values())
    assert found["miou"] == pytest.approx(found["per_class"]["background"]["iou"] / occurring)
    assert found["miou_fg"] == 0


def test_boundary_iou_of_a_split_is_its_definition(tmp_path, index, little):
    """Intersection over union of bands that are summed over the images, beside a writing without distances; a class
    that occurs nowhere has none and does not count."""
    folder = MaskFolder(little.masks(tmp_path / "m", index, lambda mask: np.roll(mask, 2, 1)) / "masks")
    found = score_masks(index, folder, ("val",), 1)["splits"]["val"]["policies"][""]
    classes = len(index.classes)
    both, either = np.zeros(classes), np.zeros(classes)
    for item in index.scored("val"):
        truth, mask = read_mask(item.mask), folder.read(item.id)
        width = max(1, round(0.02 * math.hypot(*truth.shape)))
        for c in range(classes):
            inner = [ndimage.binary_erosion(m == c + 1, np.ones((3, 3)), iterations=width) for m in (truth, mask)]
            true, given = ((m == c + 1) & ~i & (truth != 255) for m, i in zip((truth, mask), inner, strict=True))
            both[c] += (true & given).sum()
            either[c] += (true | given).sum()
    values = {name: both[c] / either[c] if either[c] else None for c, name in enumerate(index.classes)}
    assert {name: found["per_class"][name]["boundary_iou"] for name in index.classes} == pytest.approx(values)
    known = [value for value in values.values() if value is not None]
    assert found["boundary_iou"] == pytest.approx(np.mean(known)) and 0 < found["boundary_iou"] < found["miou_fg"]
    assert "boundary_iou" not in found["per_class"]["background"]
    few = score_masks(replace(index, classes=(*index.classes, "nowhere")), folder, ("val",), 1)
    scores = few["splits"]["val"]["policies"][""]
    assert scores["per_class"]["nowhere"]["boundary_iou"] is None
    assert scores["boundary_iou"] == found["boundary_iou"]


def test_missing_images_are_named(tmp_path, index, little):
    lost = index.scored("val")[1].id
    store = MapStore(little.cams(tmp_path / "cams", index, leave_out=(lost,)))
    with pytest.raises(WsssError, match=f"no maps of 1 images.*{lost}"):
        score_maps(index, store, SETTINGS, ("train", "val"), 0, 1)
    masks = MaskFolder(little.masks(tmp_path / "m", index) / "masks")
    masks.file(lost).unlink()
    with pytest.raises(WsssError, match=f"no masks of 1 images.*{lost}"):
        score_masks(index, masks, ("val",), 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_sizes_that_differ_are_named(tmp_path, index, threads, little):
    masks = MaskFolder(little.masks(tmp_path / "m", index) / "masks")
    item = index.scored("val")[0]
    masks.write(item.id, np.zeros((5, 6), np.uint8))
    with pytest.raises(
        WsssError, match=f"{item.id}: the ground-truth mask is {item.height} x {item.width} pixels.* 5 x 6"
    ):
        score_masks(index, masks, ("val",), threads)


def test_without_masks(tmp_path, little):
    index = little.index(tmp_path / "index", masks=False)
    store = MapStore(little.cams(tmp_path / "cams", index))
    result = score_maps(index, store, SETTINGS, ("train", "val"), 0, 1)
    found = result["splits"]["train"]["policies"]
    assert list(found) == ["fixed"] and "label-free" in result["splits"]["train"]["note"]
    pairs, present, share = 0, 0, {c: [] for c in range(3)}
    for item in index.split("train"):
        mask = pseudo_mask(store.full(item.id), store[item.id].classes, 0.333)
        for c in item.labels:
            pairs, present = pairs + 1, present + (mask == c + 1).any()
            share[c].append((mask == c + 1).mean())
    assert found["fixed"]["tagged_present"] == pytest.approx(present / pairs)
    assert found["fixed"]["coverage"] == pytest.approx(np.mean([np.mean(v) for v in share.values() if v]))
    assert found["fixed"]["untagged"] == 0 and "miou" not in found["fixed"]
    wrong = little.masks(tmp_path / "w", index, lambda mask: np.full_like(mask, 1)) / "masks"
    found = score_masks(index, MaskFolder(wrong), ("val",), 1)["splits"]["val"]["policies"][""]
    items = index.split("val")
    assert found["untagged"] == pytest.approx(np.mean([0 not in item.labels for item in items]))


def test_classifier(tmp_path, index, little):
    path = tmp_path / "predictions.csv"
    items = index.split("val")
    lines = [",".join([i.id, "val", *("0.9" if c in i.labels else "0.2" for c in range(3))]) for i in items]
    path.write_text("\n".join([",".join(["id", "split", *little.classes]), *lines]) + "\n", encoding="utf-8")
    found = score_classifier(index, path)["splits"]["val"]
    assert found["images"] == len(items) and found["policies"][""]["map"] == 1.0
    path.write_text(path.read_text("utf-8").replace(lines[2] + "\n", ""), encoding="utf-8")
    with pytest.raises(WsssError, match=items[2].id):
        score_classifier(index, path)


def test_rows_are_long_form():
    scores = {"threshold": 0.3, "threshold_images": 0, "images": 5, "miou": 0.5, "per_class": {"a b": {"iou": None}}}
    table = rows({"splits": {"val": {"policies": {"fixed": scores}}}})
    assert table == [
        ("val", "fixed", "threshold", 0.3, 5),
        ("val", "fixed", "miou", 0.5, 5),
        ("val", "fixed", "iou_a b", None, 5),
    ]


def test_stages(tmp_path, index, little):
    """The two programs in a row: score maps, then make masks at the calibrated threshold, then score those."""
    cams = little.cams(tmp_path / "cams", index)
    given = json.dumps({"calibration_images": 3, "thresholds": 20})
    common = ["--index", index.folder, "--threads", 2]
    scores = tmp_path / "scores"
    said = little.run_stage(
        "scores", *common, "--kind", "cams", "--artefact", cams, "--settings", given, "--out", scores
    )
    assert "calibrated" in said
    content = json.loads((scores / "scores.json").read_text())
    assert content["splits"]["train"]["dropped"] == 1 and content["dataset"] == "little"
    with open(scores / "scores.csv", newline="") as file:
        table = list(csv.DictReader(file))
    value = next(
        r["value"] for r in table if (r["split"], r["policy"], r["metric"]) == ("val", "oracle", "iou_red cow")
    )
    assert float(value) == pytest.approx(
        content["splits"]["val"]["policies"]["oracle"]["per_class"]["red cow"]["iou"], abs=1e-6
    )

    out, recipe = tmp_path / "masks", {"cams": "x", "crf": None, "threshold": {"policy": "calibrated"}}
    arguments = [*common, "--cams", cams, "--settings", json.dumps(recipe), "--out", out]
    assert "--scores" in little.run_stage("masks", *arguments, code=2)
    little.run_stage("masks", *arguments, "--scores", scores)
    manifest = json.loads((out / "manifest.json").read_text())
    calibrated = content["splits"]["train"]["policies"]["calibrated"]
    assert manifest["threshold"] == {"value": calibrated["threshold"], "policy": "calibrated", "masks_looked_at": 3}
    assert manifest["images"] == 13 and len(MaskFolder(out / "masks").ids()) == 13
    with Image.open(next((out / "masks").rglob("*.png"))) as image:
        assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]
    little.run_stage("scores", *common, "--kind", "masks", "--artefact", out, "--out", tmp_path / "again")
    found = json.loads((tmp_path / "again" / "scores.json").read_text())["splits"]["train"]["policies"][""]
    assert found["miou"] == pytest.approx(calibrated["miou"])
