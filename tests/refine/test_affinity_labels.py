"""Affinity labels: both rules by hand and pixel by pixel, and the files that the stage writes."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.refine.affinity_labels import labels_by_thresholds, labels_with_saliency
from wsss.settings import AffinityLabelSettings, CrfSettings

PLAIN = AffinityLabelSettings(crf=None)


def row(*values):
    return np.array([values], np.float32)


def test_with_saliency_by_hand():
    maps = np.stack([row(0.9, 0.9, 0.3, 0.5, 0.4, 0.1), row(0.1, 0.2, 0.2, 0.6, 0.1, 0.0)])
    saliency = row(0.05, 0.8, 0.8, 0.2, 0.3, 0.1)
    # not salient though claimed; class 3; salient, unclaimed; class 8 is stronger; 0.4 does not exceed 0.4; 0.1 neither
    expected = [[0, 4, 255, 9, 255, 0]]
    found = labels_with_saliency(maps, np.array([3, 8]), saliency, PLAIN)
    assert found.dtype == np.uint8 and found.tolist() == expected


def test_by_thresholds_by_hand():
    maps = np.stack([row(0.9, 0.3, 0.05, 0.4, 0.1), row(0.5, 0.1, 0.02, 0.41, 0.0)])
    found = labels_by_thresholds(maps, np.array([3, 8]), PLAIN)
    assert found.dtype == np.uint8 and found.tolist() == [[4, 255, 0, 9, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    maps, saliency = rng.random((2, 9, 11), np.float32), rng.random((9, 11), np.float32)
    settings = AffinityLabelSettings(foreground=0.6, background=0.35, crf=None)
    both, alone = np.zeros((9, 11), int), np.zeros((9, 11), int)
    for y in range(9):
        for x in range(11):
            k = int(maps[:, y, x].argmax())
            value, name = maps[k, y, x], (2, 5)[k] + 1
            if saliency[y, x] > np.float32(0.35):
                both[y, x] = name if value > np.float32(0.6) else 255
            alone[y, x] = name if value > np.float32(0.6) else 255 if value > np.float32(0.35) else 0
    assert np.array_equal(labels_with_saliency(maps, np.array([2, 5]), saliency, settings), both)
    assert np.array_equal(labels_by_thresholds(maps, np.array([2, 5]), settings), alone)


def test_images_without_tags():
    none = np.zeros((0, 1, 3), np.float32)
    assert labels_by_thresholds(none, np.zeros(0, int), PLAIN).tolist() == [[0, 0, 0]]
    assert labels_with_saliency(none, np.zeros(0, int), row(0.0, 0.5, 0.1), PLAIN).tolist() == [[0, 255, 0]]


def halves():
    """A dark and a bright half; what maps and saliency say crosses their border a little."""
    image = np.zeros((16, 20, 3), np.uint8)
    image[:, 10:] = 200
    maps, saliency = np.zeros((2, 16, 20), np.float32), np.zeros((16, 20), np.float32)
    maps[0, :, 12:] = 0.9
    maps[0, 8, 3] = 0.9
    maps[1, 8, 17] = 0.2
    saliency[:, 12:] = 0.9
    saliency[4, 4] = 0.9
    return image, maps, saliency


def test_every_reading_has_its_crf():
    image, maps, saliency = halves()
    settings = AffinityLabelSettings(crf=CrfSettings(bilateral=(5.0, 20.0, 10.0)))
    expected = np.tile(np.where(np.arange(20) < 10, 0, 4), (16, 1))
    assert np.array_equal(labels_with_saliency(maps, np.array([3, 8]), saliency, settings, image), expected)
    assert np.array_equal(labels_by_thresholds(maps, np.array([3, 8]), settings, image), expected)


@pytest.mark.parametrize("unary", ["labels", "scores"])
def test_255_only_where_salient_and_0_only_elsewhere(unary):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (24, 30, 3), np.uint8)
    maps, saliency = rng.random((3, 24, 30), np.float32), rng.random((24, 30), np.float32)
    crf = CrfSettings(unary=unary, iterations=2, bilateral=(5.0, 20.0, 1.0), gaussian=(1.0, 1.0))
    settings = AffinityLabelSettings(foreground=0.7, background=0.6, crf=crf)
    found = labels_with_saliency(maps, np.array([0, 4, 19]), saliency, settings, image)
    only_saliency = labels_with_saliency(np.zeros((0, 24, 30), np.float32), np.zeros(0, int), saliency, settings, image)
    assert set(np.unique(found)) <= {0, 1, 5, 20, 255}
    assert np.array_equal(found == 0, only_saliency == 0)
    assert 0 < (found == 0).sum() < found.size
