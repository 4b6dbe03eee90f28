"""Scores by how often classes are tagged and how large objects are, against counting pixel by pixel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from wsss.data.images import read_mask
from wsss.evaluate.breakdown import breakdown, count_sizes, no_sizes, size_of, thirds
from wsss.evaluate.confusion import class_scores, confusion
from wsss.evaluate.scoring import score_maps, score_masks
from wsss.evaluate.thresholds import ThresholdCounts, best_per_class, threshold_grid
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.settings import EvaluationSettings
from wsss.stages.scores import rows
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder


def fake_index(tags, classes=5):
    """An index of training images with these tags."""
    items = [SimpleNamespace(labels=labels) for labels in tags]
    return SimpleNamespace(classes=tuple("abcdefgh"[:classes]), split=lambda split: items if split == "train" else [])


def brute_force(pairs, classes):
    """iou_size_* of (truth, prediction) pairs by the definition, one pixel set at a time."""
    both, union = {}, {}
    for truth, prediction in pairs:
        valid = truth != 255
        for c in range(1, classes + 1):
            share = (truth == c).sum() / truth.size
            if share:
                size = "small" if share < 0.05 else "medium" if share < 0.2 else "large"
                t, p = (truth == c) & valid, (prediction == c) & valid
                both[size, c] = both.get((size, c), 0) + (t & p).sum()
                union[size, c] = union.get((size, c), 0) + (t | p).sum()
    found = {}
    for size in ("small", "medium", "large"):
        values = [both[key] / union[key] for key in both if key[0] == size]
        found[f"iou_size_{size}"] = np.mean(values) if values else None
    return found


def pictures(rng, count, classes=4):
    """Truths with objects of all sizes, and predictions that are partly wrong."""
    for _ in range(count):
        truth = np.zeros((20, 30), np.uint8)
        for c in rng.permutation(classes)[: rng.integers(0, 4)]:
            h, w = rng.integers(2, 16, 2)
            y, x = rng.integers(0, 12, 2)
            truth[y : y + h, x : x + w] = c + 1
        truth[rng.random(truth.shape) < 0.05] = 255
        wrong = rng.integers(0, classes + 1, truth.shape)
        prediction = np.where((rng.random(truth.shape) < 0.3) | (truth == 255), wrong, truth).astype(np.uint8)
        yield truth, prediction


def test_thirds_by_hand():
    tags = [(1,), (1, 3), (1, 3, 0), (4,), (0,)]
    assert thirds(fake_index(tags)) == ((1, 0), (3, 4), (2,))  # 3 tags; then 0 and 3 with 2, 0 first; 4 with 1; 2 none
    assert thirds(fake_index(tags, 6)) == ((1, 0), (3, 4), (2, 5))
    assert thirds(fake_index([(0,)], 3)) == ((0,), (1,), (2,))
    assert thirds(fake_index([(0,)], 2)) == ()


def test_sizes_begin_at_the_bounds():
    assert size_of(np.array([0.001, 0.0499, 0.05, 0.1999, 0.2, 1.0])).tolist() == [0, 0, 1, 1, 2, 2]


def test_by_hand():
    truth = np.zeros((10, 10), np.uint8)
    truth[0, :4] = 1  # 4 %: small
    truth[5:, :6] = 2  # 30 %: large
    prediction = np.zeros_like(truth)
    prediction[0, 2:6] = 1  # 2 of 4 hit, 2 beside: 2 / 6
    prediction[5:, :3] = 2  # 15 / 30
    prediction[9, 9] = 3  # a class that is not there counts in no size
    sizes = no_sizes(3)
    matrix = confusion(truth, prediction, 3)
    count_sizes(sizes, matrix, truth.size)
    found = breakdown(fake_index([(0,), (0, 2)], 3), matrix, sizes)
    assert found == pytest.approx({
        "miou_head": 2 / 6, "miou_middle": 0.0, "miou_tail": 0.5,
        "iou_size_small": 2 / 6, "iou_size_medium": None, "iou_size_large": 0.5,
    })  # fmt: skip
    empty = breakdown(fake_index([], 3), np.zeros((4, 4), np.int64), no_sizes(3))
    assert set(empty.values()) == {None} and len(empty) == 6
    assert len(breakdown(fake_index([], 2), np.eye(3, dtype=np.int64), no_sizes(2))) == 3  # no thirds of two classes


@pytest.mark.parametrize("seed", range(3))
def test_sizes_against_brute_force(seed):
    pairs = list(pictures(np.random.default_rng(seed), 12))
    sizes, matrix = no_sizes(4), np.zeros((5, 5), np.int64)
    for truth, prediction in pairs:
        one = confusion(truth, prediction, 4)
        count_sizes(sizes, one, truth.size)
        matrix += one
    expected = brute_force(pairs, 4)
    found = breakdown(fake_index([], 4), matrix, sizes)
    assert {k: found[k] for k in expected} == pytest.approx(expected)
    assert all(expected.values())


@pytest.mark.parametrize("seed", range(2))
def test_sizes_of_all_thresholds_equal_those_of_each(seed):
    rng = np.random.default_rng(seed)
    counts, halves = ThresholdCounts(threshold_grid(7), 4), [ThresholdCounts(threshold_grid(7), 4) for _ in range(2)]
    one_by_one = np.stack([no_sizes(4)] * 7)
    for number, (truth, _) in enumerate(pictures(rng, 8)):
        tags = rng.permutation(4)[: number % 3]  # 0 to 2 maps, of classes that may be there or not
        maps = (rng.integers(0, 8, (len(tags), *truth.shape)) / 7).astype(np.float32)
        counts.add(maps, tags, truth)
        halves[number % 2].add(maps, tags, truth)
        for k, threshold in enumerate(counts.thresholds):
            matrix = confusion(truth, pseudo_mask(maps, tags, threshold), 4)
            count_sizes(one_by_one[k], matrix, truth.size)
    np.testing.assert_array_equal(counts.sizes(), one_by_one)
    np.testing.assert_array_equal(halves[0].merge(halves[1]).sizes(), one_by_one)


def test_best_threshold_of_each_class():
    rng = np.random.default_rng(0)
    counts = ThresholdCounts(threshold_grid(10), 4)
    for truth, prediction in pictures(rng, 6):
        maps = np.stack([(prediction == c + 1) * 0.4 + 0.5 * rng.random(truth.shape) for c in range(3)])
        counts.add(maps.astype(np.float32), np.arange(3), truth)
    confusions = counts.confusions()
    found = best_per_class(confusions, 7)
    for c in range(3):
        ious = [np.nan_to_num(class_scores(matrix)["iou"])[c + 1] for matrix in confusions]
        assert ious[found[c]] == max(ious) and max(ious) not in ious[: found[c]]
    assert found[3] == 7  # has no map, so no threshold is any good


def test_scores_hold_the_breakdown(tmp_path, index, little):
    settings = EvaluationSettings(threshold=0.3, calibration_images=3, thresholds=20)
    store = MapStore(little.cams(tmp_path / "cams", index))
    result = score_maps(index, store, settings, ("train", "val"), 7, 1)
    assert 0 < result["calibration_miou"] <= 1
    for split, scores in result["splits"].items():
        items = index.scored(split)
        assert "thresholds_per_class" not in scores["policies"]["fixed"]
        for policy, found in scores["policies"].items():
            pairs = [
                (read_mask(i.mask), pseudo_mask(store.full(i.id), store[i.id].classes, found["threshold"]))
                for i in items
            ]
            expected = brute_force(pairs, 3)
            assert {k: found[k] for k in expected} == pytest.approx(expected)
            order = np.argsort([-sum(c in i.labels for i in index.split("train")) for c in range(3)], kind="stable")
            for name, c in zip(("head", "middle", "tail"), order, strict=True):
                assert found[f"miou_{name}"] == found["per_class"][little.classes[c]]["iou"]
            if policy != "fixed":
                assert list(found["thresholds_per_class"]) == list(little.classes)
                assert set(found["thresholds_per_class"].values()) <= {i / 20 for i in range(20)}
                table = dict((row[2], row[3]) for row in rows(result) if row[:2] == (split, policy))
                assert table["threshold_dog"] == found["thresholds_per_class"]["dog"]
    assert (
        result["splits"]["train"]["policies"]["calibrated"]["thresholds_per_class"]
        == result["splits"]["val"]["policies"]["calibrated"]["thresholds_per_class"]
    )
    masks = little.masks(tmp_path / "m", index, lambda mask: np.roll(mask, 2, 0))
    found = score_masks(index, MaskFolder(masks / "masks"), ("val",), 1)["splits"]["val"]["policies"][""]
    pairs = [(read_mask(i.mask), MaskFolder(masks / "masks").read(i.id)) for i in index.scored("val")]
    expected = brute_force(pairs, 3)
    assert {k: found[k] for k in expected} == pytest.approx(expected)


def test_pixels_that_a_mask_leaves_out_are_missed(tmp_path, index, little):
    rng = np.random.default_rng(0)

    def leave_out(mask):
        return np.where(rng.random(mask.shape) < 0.3, 255, mask).astype(np.uint8)

    masks = MaskFolder(little.masks(tmp_path / "m", index, leave_out) / "masks")
    found = score_masks(index, masks, ("val",), 2)["splits"]["val"]["policies"][""]
    pairs = [(read_mask(i.mask), masks.read(i.id)) for i in index.scored("val")]
    truth, mask = (np.concatenate([p[k].ravel() for p in pairs]) for k in range(2))
    mask, truth = mask[truth != 255], truth[truth != 255]
    ious = [((truth == c) & (mask == c)).sum() / ((truth == c) | (mask == c)).sum() for c in np.unique(truth)]
    assert found["miou"] == pytest.approx(np.mean(ious)) and found["miou"] < 0.8
    assert found["unlabelled"] == pytest.approx((mask == 255).mean())
    assert found["miou_labelled"] == found["precision"] == 1.0
    assert found["pixel_accuracy"] == pytest.approx((mask == truth).mean())
    expected = brute_force(pairs, 3)
    assert {k: found[k] for k in expected} == pytest.approx(expected)
