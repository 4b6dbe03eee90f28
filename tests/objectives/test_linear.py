"""The fit of a linear layer against Newton's method by loops; its stage: ``tests/engine/test_linear.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.objectives.linear import fit_linear


def case(seed, count=14, width=4, classes=3):
    """Features (N, D) that are not centred, and labels (N, C)."""
    rng = np.random.default_rng(seed)
    features = rng.normal(1, 1, (count, width))
    return features, (features @ rng.normal(0, 1, (width, classes)) + rng.normal(0, 1, (count, classes)) > 0) * 1.0


def slowly(features, labels, penalty, positive):
    """Newton's method for each class, sums written as loops."""
    count, width = features.shape
    scale = math.sqrt(sum(float(row @ row) for row in features) / count)
    found = []
    for c in range(labels.shape[1]):
        w = np.zeros(width)
        for _ in range(50):
            slope, bend = penalty * w, penalty * np.eye(width)
            for row, y in zip(features / scale, labels[:, c], strict=True):
                p = 1 / (1 + math.exp(-float(w @ row)))
                weight = positive[c] * y + (1 - y)
                slope = slope + weight * (p - y) * row / count
                bend = bend + weight * p * (1 - p) * np.outer(row, row) / count
            w = w - np.linalg.solve(bend, slope)
        assert np.abs(slope).max() < 1e-12
        found.append(w / scale)
    return np.array(found)


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("positive", [[1.0, 1.0, 1.0], [4.0, 0.5, 1.0]])
def test_minimum_against_newtons_method(penalty, positive):
    features, labels = case(0)
    expected = slowly(features, labels, penalty, positive)
    found, (before, after) = fit_linear(features, labels, penalty, np.array(positive))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    ones = sum(weight * labels[:, c].mean() + (1 - labels[:, c]).mean() for c, weight in enumerate(positive))
    assert before == pytest.approx(math.log(2) * ones) and after < before
    if positive == [1.0, 1.0, 1.0]:
        np.testing.assert_array_equal(found, fit_linear(features, labels, penalty)[0])


def test_the_scale_of_features_and_repeated_images_change_nothing():
    features, labels = case(1)
    found, losses = fit_linear(features, labels, 0.01)
    scaled, also = fit_linear(1000 * features, labels, 0.01)
    np.testing.assert_allclose(1000 * scaled, found, rtol=1e-6)
    twice, _ = fit_linear(np.tile(features, (2, 1)), np.tile(labels, (2, 1)), 0.01)
    np.testing.assert_allclose(twice, found, rtol=1e-5)
    assert losses == pytest.approx(also)


def test_a_class_that_all_or_none_have_is_finite():
    features, labels = case(2)
    labels[:, 0], labels[:, 1] = 1, 0
    found, _ = fit_linear(features, labels, 1e-4)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("wrong", [0.0, math.nan, math.inf])
def test_features_that_say_nothing_are_refused(wrong):
    with pytest.raises(WsssError, match="not finite, or all 0"):
        fit_linear(np.full((4, 3), wrong), np.ones((4, 2)), 1e-3)
