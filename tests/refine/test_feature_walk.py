"""The walk over features: stencil, Chebyshev expansion and dense form against powers of a matrix in double, entry by
entry from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import wsss.refine.random_walk as walking
from wsss.inference.text_cams import proxy_weights
from wsss.refine.feature_walk import (
    by_proxy,
    by_temperature,
    by_threshold,
    feature_affinity,
    feature_stencil,
    feature_walk,
    walk_among_all,
)


@pytest.fixture(autouse=True, params=["native", "torch"])
def backend(request, monkeypatch):
    """Everything holds for both."""
    monkeypatch.setattr(walking, "usual_backend", lambda device: request.param)


def scene(size, seed, stages=(3, 5)):
    """Maps, and features of two stages of unit length, over the root of their number."""
    generator = torch.Generator().manual_seed(seed)
    parts = [F.normalize(torch.randn(count, *size, generator=generator), dim=0) for count in stages]
    return torch.rand(2, *size, generator=generator), torch.cat(parts) / math.sqrt(len(parts)), parts


def temperature(value):
    """Its weighting, and the same by hand, which is given a cosine and the mean of all."""
    return lambda _: by_temperature(value), lambda c, mean: math.exp((c - 1) / value)


def proxy(beta=1.2, gamma=3.0):
    return lambda f: by_proxy(f, beta, gamma), lambda c, mean: math.exp(gamma * (c - 1)) if c >= beta * mean else 0.0


def ncut(threshold=0.2):
    return lambda _: by_threshold(threshold), lambda c, mean: 1.0 if c > threshold else 1e-5


WAYS = {"0.1": temperature(0.1), "1": temperature(1.0), "proxy": proxy(), "ncut": ncut()}


def dense(parts, radius, by_hand):
    """T of one image (N, N), from the definition: rows sum to 1, a map is a column."""
    height, width = parts[0].shape[1:]
    count = height * width
    cells = [part.double().numpy().reshape(len(part), -1) for part in parts]
    cosines = sum(cell.T @ cell for cell in cells) / len(cells)
    mean, weights = cosines.mean(), np.eye(count)
    for i in range(count):
        for j in set(range(count)) - {i}:
            (y0, x0), (y1, x1) = divmod(i, width), divmod(j, width)
            if (y1 - y0) ** 2 + (x1 - x0) ** 2 < radius**2:
                weights[i, j] = by_hand(cosines[i, j], mean)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("size", "radius", "steps"), [((9, 12), 5, 64), ((12, 7), 3, 32), ((6, 6), 9, 5), ((3, 14), 4, 1), ((1, 1), 5, 8)]
)
@pytest.mark.parametrize("way", WAYS)
def test_walk_against_the_dense_power(size, radius, steps, way):
    maps, features, parts = scene(size, 0)
    weighting, by_hand = WAYS[way]
    matrix = dense(parts, radius, by_hand)
    expected = np.linalg.matrix_power(matrix, steps) @ maps.double().numpy().reshape(2, -1).T
    found = feature_walk(maps, features, weighting(features), radius=radius, steps=steps)
    assert found.dtype == torch.float32 and found.shape == maps.shape
    assert np.abs(found.numpy().reshape(2, -1).T - expected).max() <= 1e-4 * expected.max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_walk_among_all_against_the_dense_power(way, steps):
    maps, features, parts = scene((7, 9), 4)
    weighting, by_hand = WAYS[way]
    expected = np.linalg.matrix_power(dense(parts, 99, by_hand), steps) @ maps.double().numpy().reshape(2, -1).T
    found = walk_among_all(maps, features, weighting(features), steps=steps)
    assert found.dtype == torch.float32 and found.shape == maps.shape
    np.testing.assert_allclose(found.numpy().reshape(2, -1).T, expected, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_dense_and_stencil_agree_where_every_pair_is_near(way):
    maps, features, _ = scene((12, 12), 5)
    weighting = WAYS[way][0](features)
    near = feature_walk(maps, features, weighting, radius=18, steps=4)
    torch.testing.assert_close(walk_among_all(maps, features, weighting, steps=4), near, atol=5e-5, rtol=0)


def test_too_many_cells_take_more_steps_to_near_cells():
    maps, features, _ = scene((12, 12), 6)
    weighting = by_temperature(0.5)
    assert torch.equal(
        walk_among_all(maps, features, weighting, steps=2, most=143),
        feature_walk(maps, features, weighting, radius=8, steps=16),
    )
    far = walk_among_all(maps, features, weighting, steps=2, most=144)
    assert not torch.allclose(far, feature_walk(maps, features, weighting, radius=8, steps=16), atol=1e-3)


def test_proxy_is_the_published_softmax():
    """Which ``wsss.inference.text_cams`` writes with minus infinity and a softmax; rows sum to 1."""
    _, features, _ = scene((8, 10), 7, stages=(6,))
    weights = feature_affinity(features, by_proxy(features, 1.2, 3.0))
    assert torch.equal(weights, weights.T) and 0.1 < (weights == 0).float().mean() < 0.9
    found = weights / weights.sum(1, keepdim=True)
    torch.testing.assert_close(found, proxy_weights(features, 1.2, 3.0), atol=1e-6, rtol=0)


def test_halves_that_are_unlike_hardly_mix_by_the_threshold():
    features, maps = torch.ones(1, 6, 8), torch.zeros(1, 6, 8)
    features[..., 4:] = -1
    maps[..., :4] = 1
    for steps in (1, 2, 64):
        after = walk_among_all(maps, features, by_threshold(0.2), steps=steps)
        assert after[..., 4:].max() < 1e-5 * steps * 1.01 and after[..., :4].min() > 1 - 1e-5 * steps * 1.01


def test_pairs_stand_once_and_none_reaches_around_the_border():
    _, features, _ = scene((5, 7), 1)
    found = {offset: weights[0, 0] for offset, weights in feature_stencil(features, 3, by_temperature(0.5))}
    flat = features.reshape(len(features), -1)
    for offset, weights in found.items():
        for i in range(35 - offset):
            (y0, x0), (y1, x1) = divmod(i, 7), divmod(i + offset, 7)
            wanted = 0.0
            if (y1 - y0) ** 2 + (x1 - x0) ** 2 < 9:
                wanted = math.exp((float(flat[:, i] @ flat[:, i + offset]) - 1) / 0.5)
            assert float(weights[i]) == pytest.approx(wanted, rel=1e-4), (i, offset)


def test_constants_stay_and_maxima_never_rise():
    maps, features, _ = scene((11, 13), 2)
    maps[0] = 0.7
    before = maps
    for steps in (1, 8, 64):
        after = feature_walk(maps, features, by_temperature(0.1), steps=steps)
        torch.testing.assert_close(after[0], maps[0], atol=1e-5, rtol=0)
        assert (after.amax((1, 2)) <= before.amax((1, 2)) + 1e-5).all()
        before = after


def test_cells_that_are_all_alike_blur_and_cells_without_features_stand_still():
    maps, features, _ = scene((6, 8), 3)
    blurred = feature_walk(maps, features[:, :1, :1].expand_as(features), by_temperature(0.1), steps=64)
    assert (blurred.amax((1, 2)) - blurred.amin((1, 2))).max() < 0.05
    still = feature_walk(maps, torch.zeros_like(features), by_temperature(0.1), steps=8)
    torch.testing.assert_close(still, maps, atol=0.02, rtol=0)


def test_what_is_unlike_is_not_crossed():
    maps, features = torch.zeros(1, 8, 10), torch.ones(1, 8, 10)
    features[..., 5:] = -1
    maps[..., :3] = 1
    after = feature_walk(maps, features, by_temperature(0.01), steps=256)
    assert not after[..., 5:].any() and (after[..., :5] > 0.3).all()
