"""Forgetting, and boundary IoU beside a slow writing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wsss.evaluate.boundaries import WIDTH, band, count_boundaries
from wsss.evaluate.forgetting import forgetting, mean_over


def test_forgetting_by_hand():
    before, after = {"cat": 0.8, "dog": 0.6}, {"cat": 0.5, "dog": 0.6, "cow": 0.9}
    assert forgetting(before, after) == pytest.approx(0.15)
    assert forgetting(after, after) == 0
    assert forgetting({"cat": 0.5}, {"cat": 0.7}) == pytest.approx(-0.2), "they may get better"
    assert forgetting({"cat": 0.8, "dog": None}, {"cat": 0.5, "dog": 0.3}) == pytest.approx(0.3)
    assert forgetting({}, after) is None and forgetting(before, {"cat": None}) is None
    assert mean_over({"a": 0.2, "b": 0.6, "c": None}, "abcd") == pytest.approx(0.4)
    assert mean_over({"c": None}, "c") is None


def slow_band(region, width):
    """A pixel of the region with one outside it, or outside the image, in the square around it."""
    height, across = region.shape
    found = np.zeros_like(region)
    for y in range(height):
        for x in range(across):
            if region[y, x]:
                for v in range(y - width, y + width + 1):
                    for u in range(x - width, x + width + 1):
                        if not (0 <= v < height and 0 <= u < across) or not region[v, u]:
                            found[y, x] = True
    return found


@pytest.mark.parametrize("width", [1, 2, 3])
def test_bands_beside_a_slow_writing(width):
    rng = np.random.default_rng(width)
    for share in (0.02, 0.2):
        region = rng.random((17, 23)) > share
        np.testing.assert_array_equal(band(region, width), slow_band(region, width))
    assert band(np.zeros((5, 4), bool), width).sum() == 0


def test_boundaries_of_an_image_beside_a_slow_writing():
    rng = np.random.default_rng(0)
    truth, mask = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[10:40, 10:40], truth[30:60, 50:80] = 1, 3
    mask[12:42, 10:38], mask[:, 60:] = 1, 2
    truth[rng.random(truth.shape) > 0.95] = 255
    width = round(WIDTH * math.hypot(60, 80))
    assert width == 2
    counts = count_boundaries(truth, mask, 3)
    for c in range(3):
        true, given = slow_band(truth == c + 1, width), slow_band(mask == c + 1, width)
        known = truth != 255
        assert counts[c].tolist() == [(true & given & known).sum(), ((true | given) & known).sum()]
    assert counts.dtype == np.int64 and counts[0, 0] > 0 and counts[1, 0] == 0 < counts[1, 1]
    same = count_boundaries(mask, mask, 3)
    assert (same[:, 0] == same[:, 1]).all() and same[2].tolist() == [0, 0]


def test_boundaries_punish_what_plain_iou_forgives():
    truth, wider = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    truth[20:80, 20:80], wider[17:83, 17:83] = 1, 1
    counts = count_boundaries(truth, wider, 1)[0]
    assert counts[0] / counts[1] < 0.1 < 0.8 < 60 * 60 / (66 * 66)
