"""The walk over features: stencil and Chebyshev expansion against powers of the dense matrix in double."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import wsss.refine.random_walk as walking
from wsss.refine.feature_walk import feature_stencil, feature_walk


@pytest.fixture(autouse=True, params=["native", "torch"])
def backend(request, monkeypatch):
    """Everything holds for both."""
    monkeypatch.setattr(walking, "usual_backend", lambda device: request.param)


def scene(size, seed, stages=(3, 5)):
    """Maps, and features of two stages of unit length, over the root of their number."""
    generator = torch.Generator().manual_seed(seed)
    parts = [F.normalize(torch.randn(count, *size, generator=generator), dim=0) for count in stages]
    return torch.rand(2, *size, generator=generator), torch.cat(parts) / math.sqrt(len(parts)), parts


def dense(parts, radius, temperature):
    """T of one image (N, N), from the definition: rows sum to 1, a map is a column."""
    height, width = parts[0].shape[1:]
    weights = np.zeros((height * width, height * width))
    cells = [part.double().numpy().reshape(len(part), -1) for part in parts]
    for i in range(height * width):
        for j in range(height * width):
            (y0, x0), (y1, x1) = divmod(i, width), divmod(j, width)
            if (y1 - y0) ** 2 + (x1 - x0) ** 2 < radius**2:
                cosine = sum(float(cell[:, i] @ cell[:, j]) for cell in cells) / len(cells)
                weights[i, j] = math.exp((cosine - 1) / temperature)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("size", "radius", "steps"), [((9, 12), 5, 64), ((12, 7), 3, 32), ((6, 6), 9, 5), ((3, 14), 4, 1), ((1, 1), 5, 8)]
)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_walk_against_the_dense_power(size, radius, steps, temperature):
    maps, features, parts = scene(size, 0)
    matrix = dense(parts, radius, temperature)
    expected = np.linalg.matrix_power(matrix, steps) @ maps.double().numpy().reshape(2, -1).T
    found = feature_walk(maps, features, radius=radius, temperature=temperature, steps=steps)
    assert found.dtype == torch.float32 and found.shape == maps.shape
    assert np.abs(found.numpy().reshape(2, -1).T - expected).max() <= 1e-4 * expected.max()


def test_pairs_stand_once_and_none_reaches_around_the_border():
    _, features, _ = scene((5, 7), 1)
    found = {offset: weights[0, 0] for offset, weights in feature_stencil(features, 3, 0.5)}
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
        after = feature_walk(maps, features, steps=steps)
        torch.testing.assert_close(after[0], maps[0], atol=1e-5, rtol=0)
        assert (after.amax((1, 2)) <= before.amax((1, 2)) + 1e-5).all()
        before = after


def test_cells_that_are_all_alike_blur_and_cells_without_features_stand_still():
    maps, features, _ = scene((6, 8), 3)
    blurred = feature_walk(maps, features[:, :1, :1].expand_as(features), steps=64)
    assert (blurred.amax((1, 2)) - blurred.amin((1, 2))).max() < 0.05
    torch.testing.assert_close(feature_walk(maps, torch.zeros_like(features), steps=8), maps, atol=0.02, rtol=0)


def test_what_is_unlike_is_not_crossed():
    maps, features = torch.zeros(1, 8, 10), torch.ones(1, 8, 10)
    features[..., 5:] = -1
    maps[..., :3] = 1
    after = feature_walk(maps, features, temperature=0.01, steps=256)
    assert not after[..., 5:].any() and (after[..., :5] > 0.3).all()
