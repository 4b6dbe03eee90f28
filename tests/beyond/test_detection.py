"""Detectors: scores by hand, the regression against scikit-learn's, and figures of maps against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.beyond.detection import (
    ALONE,
    OF_MAPS,
    as_jpeg,
    detectors,
    in_first_half,
    judged,
    logistic,
    of_map,
    roc,
    through_jpeg,
)


def test_scores_by_hand():
    told = judged(np.array([0.1, 0.4]), np.array([0.35, 0.8]))
    assert told == {"auroc": 0.75, "false_alarms": 0.5}  # to find both, 0.35 has to do, and 0.4 is above it
    assert roc(np.array([0.1, 0.4]), np.array([0.35, 0.8])) == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert judged(np.array([]), np.array([1.0])) == {"auroc": None, "false_alarms": None}


def test_the_regression_against_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3))
    attacked = features @ [1.0, -2.0, 0.5] + rng.normal(size=60) > 0.3
    weights = logistic(features, attacked)
    theirs = linear_model.LogisticRegression(C=1 / (1e-2 * 60), tol=1e-10).fit(features, attacked)
    np.testing.assert_allclose(weights, [*theirs.coef_[0], *theirs.intercept_], atol=1e-4)
    assert np.isfinite(logistic(np.zeros((4, 2)), np.ones(4, bool))).all()


def test_figures_of_a_map_by_their_definitions():
    map = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    map = map / map.sum()
    told, values = of_map(map), map.double().numpy().ravel() * 30
    gini = np.abs(values[:, None] - values).sum() / (2 * 30**2 * values.mean())
    assert told["gini"] == pytest.approx(gini) and told["deviation"] == pytest.approx(values.std())
    assert of_map(torch.full((4, 4), 1 / 16)) == pytest.approx(
        {"iqr": 0, "deviation": 0, "map_entropy": 1, "variation": 0, "gini": 0}, abs=1e-6
    )
    assert of_map(torch.zeros(4, 4))["gini"] == 0


def rows(strength: float) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    names = (*OF_MAPS, *ALONE)
    return [
        {"image": f"i{n}", "condition": kind, **{name: rng.normal() for name in names}, "gini": rng.normal() + shift}
        for n in range(40)
        for kind, shift in (("clean", 0.0), ("attack", strength), ("output", 0.0))
    ]


def test_a_difference_is_found_and_none_is_not_made_up():
    told = detectors(rows(6.0))
    areas = {(one["detector"], one["attack"]): one["auroc"] for one in told["results"]}
    assert areas["maps, fitted on attack", "attack"] > 0.95
    assert abs(areas["maps, fitted on attack", "output"] - 0.5) < 0.3 and abs(areas["entropy", "attack"] - 0.5) < 0.3
    assert sum(told["images"]) == 40 == sum(1 for n in range(40) if in_first_half(f"i{n}")) + told["images"][1]
    assert told["roc"]["attack"][0] == [0, 0] and told["roc"]["attack"][-1] == [1, 1]


def test_one_half_without_images_says_nothing():
    few = [row for row in rows(6.0) if row["image"] == "i0"]
    assert detectors(few)["results"] == [] and sorted(detectors(few)["images"]) == [0, 1]


def test_jpeg_and_its_stand_in_derivative():
    colours = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    packed = through_jpeg(colours)
    assert torch.allclose(packed, as_jpeg(colours), atol=1e-6) and not torch.allclose(packed, colours, atol=0.05)
    (found,) = torch.autograd.grad(packed.sum(), colours)
    assert torch.equal(found, torch.ones_like(colours))
