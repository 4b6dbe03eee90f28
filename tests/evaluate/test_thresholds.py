"""All thresholds in one pass equal one pass a threshold."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.evaluate.confusion import confusion
from wsss.evaluate.thresholds import ThresholdCounts, best_threshold, threshold_grid


def looped(images, thresholds, classes):
    """Threshold, argmax and count, image after image and threshold after threshold."""
    result = []
    for threshold in thresholds:
        matrix = np.zeros((classes + 1, classes + 1), np.int64)
        for maps, present, truth in images:
            padded = np.concatenate([np.full((1, *truth.shape), threshold, np.float32), maps])
            keys = np.concatenate([[0], np.asarray(present, int) + 1])
            matrix += confusion(truth, keys[padded.argmax(axis=0)], classes)
        result.append(matrix)
    return np.stack(result)


def random_images(seed, classes, count=6):
    rng = np.random.default_rng(seed)
    grid = threshold_grid(20)
    for _ in range(count):
        n = rng.integers(0, 4)
        shape = (int(rng.integers(3, 12)), int(rng.integers(3, 12)))
        maps = rng.random((n, *shape)).astype(np.float32)
        ties = rng.random((n, *shape)) < 0.4
        maps[ties] = rng.choice(grid, int(ties.sum()))  # scores that equal a threshold, and one another
        truth = rng.choice([*range(classes + 1), 255], shape)
        yield maps, rng.permutation(classes)[:n], truth


@pytest.mark.parametrize("seed", range(6))
def test_slow_twin_with_ties_and_ignored_pixels(seed):
    images = list(random_images(seed, 5))
    grid = threshold_grid(20)
    counts = ThresholdCounts(grid, 5)
    for image in images:
        counts.add(*image)
    np.testing.assert_array_equal(counts.confusions(), looped(images, grid, 5))
    assert counts.images == len(images)


def test_merge_does_not_depend_on_the_split():
    images = list(random_images(9, 4))
    whole, first, second = (ThresholdCounts(threshold_grid(10), 4) for _ in range(3))
    for number, image in enumerate(images):
        whole.add(*image)
        (first if number < 2 else second).add(*image)
    np.testing.assert_array_equal(second.merge(first).confusions(), whole.confusions())


def test_by_hand():
    counts = ThresholdCounts(np.array([0.0, 0.5]), 2)
    counts.add(np.array([[[0.0, 0.5, 0.6]]], np.float32), np.array([1]), np.array([[0, 2, 2]]))
    zero, half = counts.confusions()
    np.testing.assert_array_equal(zero, [[1, 0, 0], [0, 0, 0], [0, 0, 2]])  # 0 > 0 is false: background
    np.testing.assert_array_equal(half, [[1, 0, 0], [0, 0, 0], [1, 0, 1]])  # a tie goes to the background


def test_thresholds_are_float32():
    tenth = np.float32(0.1)  # a little more than 0.1
    counts = ThresholdCounts(np.array([0.1]), 1)
    counts.add(np.full((1, 1, 1), tenth), np.array([0]), np.array([[1]]))
    assert counts.confusions()[0, 1, 0] == 1


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="ascend"):
        ThresholdCounts(np.array([0.2, 0.2 + 1e-12]), 2)
    counts = ThresholdCounts(threshold_grid(10), 2)
    with pytest.raises(WsssError, match="2 x 3"):
        counts.add(np.zeros((1, 3, 3), np.float32), np.array([0]), np.zeros((2, 3), int))
    with pytest.raises(WsssError, match=r"\[7\]"):
        counts.add(np.zeros((1, 1, 1), np.float32), np.array([0]), np.array([[7]]))


def test_best():
    assert best_threshold(np.array([np.nan, 0.2, 0.7, 0.7])) == 2
    with pytest.raises(WsssError, match="255"):
        best_threshold(np.array([np.nan]))


@pytest.mark.parametrize("kind", ["grid", "with one between", "drawn", "too close", "beyond one"])
def test_how_many_thresholds_a_score_exceeds(kind):
    """Scores at, just below and just above every threshold, and beyond both ends."""
    grid = threshold_grid(60)
    thresholds = {
        "grid": grid,
        "with one between": np.union1d(grid, np.float32(0.31)),
        "drawn": np.unique(np.random.default_rng(0).random(20, np.float32)),
        "too close": np.array([0.25, np.nextafter(np.float32(0.25), np.float32(1))], np.float32),
        "beyond one": np.array([0.5, 1.5], np.float32),
    }[kind]
    near = [np.nextafter(thresholds, np.float32(side)) for side in (-9, 9)]
    drawn = np.random.default_rng(1).random(5000, np.float32) * 1.4 - 0.2
    scores = np.concatenate([thresholds, *near, drawn, np.array([-1, 0, 1, 2], np.float32)]).astype(np.float32)
    found = ThresholdCounts(thresholds, 1)._above(scores)
    assert np.array_equal(found, (scores[:, None] > thresholds).sum(axis=1))
