"""Pseudo masks from maps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.refine.pseudo_masks import best_labels, chosen_threshold, pseudo_mask
from wsss.settings import CrfSettings, Threshold


def slow_mask(maps, classes, threshold):
    """Pixel by pixel."""
    out = np.zeros(maps.shape[1:], np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            best, value = 0, np.float32(threshold)
            for c, map_ in zip(classes, maps, strict=True):
                if map_[y, x] > value:
                    best, value = c + 1, map_[y, x]
            out[y, x] = best
    return out


@pytest.mark.parametrize("seed", range(4))
def test_slow_twin_with_ties(seed):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 5, (3, 7, 9)).astype(np.float32) / np.float32(10)
    classes = np.array([1, 4, 19])
    for threshold in (0, 0.1, 0.2, 0.35):
        found = pseudo_mask(maps, classes, threshold)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, slow_mask(maps, classes, threshold))


def test_by_hand():
    maps = np.array([[[0.3, 0.31, 0.5, 0.4]], [[0.1, 0.2, 0.5, 0.6]]], np.float32)
    assert best_labels(maps, 0.3).tolist() == [[0, 1, 1, 2]]  # a tie goes to the background, then to the first
    assert pseudo_mask(maps, np.array([2, 7]), 0.3).tolist() == [[0, 3, 3, 8]]


def test_without_labels_all_is_background():
    mask = pseudo_mask(np.zeros((0, 4, 5), np.float32), np.zeros(0, int), 0.3, crf=CrfSettings())
    assert mask.shape == (4, 5) and mask.dtype == np.uint8 and not mask.any()


def test_crf_sees_the_tagged_classes_only():
    image = np.zeros((12, 10, 3), np.uint8)
    image[:, 5:] = 200
    maps = np.zeros((2, 12, 10), np.float32)
    maps[0, :, 7:] = 0.9
    maps[0, 6, 1] = 0.9
    settings = CrfSettings(bilateral=(5.0, 20.0, 10.0))
    mask = pseudo_mask(maps, np.array([3, 11]), 0.3, image, settings)
    assert set(np.unique(mask)) == {0, 4}
    np.testing.assert_array_equal(mask > 0, np.tile(np.arange(10) >= 5, (12, 1)))


def scores(tmp_path, policies):
    (tmp_path / "scores.json").write_text(json.dumps({"splits": {"train": {"policies": policies}}}))
    return tmp_path


def test_chosen_threshold(tmp_path):
    assert chosen_threshold(Threshold(value=0.25), None) == (0.25, {"value": 0.25, "policy": "fixed"})
    folder = scores(tmp_path, {"calibrated": {"threshold": 0.4, "threshold_images": 20}})
    value, facts = chosen_threshold(Threshold(policy="calibrated"), folder)
    assert value == 0.4 and facts == {"value": 0.4, "policy": "calibrated", "masks_looked_at": 20}
    with pytest.raises(WsssError, match="no oracle threshold"):
        chosen_threshold(Threshold(policy="oracle"), folder)
    with pytest.raises(WsssError, match="--scores"):
        chosen_threshold(Threshold(policy="oracle"), None)
    with pytest.raises(WsssError, match="training split"):
        chosen_threshold(Threshold(policy="oracle"), tmp_path / "nowhere")
