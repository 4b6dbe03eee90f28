"""The cut of a graph of patches, against the eigenvectors of its definition; which side is the object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss.models.token_cut import UNLIKE, TokenCut, as_map, cut_weights, second_eigenvector


def by_definition(weights):
    """(D - A) y = lambda D y as the ordinary problem D^-1 (D - A) y = lambda y, all of it; the second smallest."""
    sums = np.diag(weights.sum(1))
    values, vectors = np.linalg.eig(np.linalg.inv(sums) @ (sums - weights))
    assert np.abs(values.imag).max() < 1e-9
    order = np.argsort(values.real)
    return values.real[order[1]], vectors[:, order[1]].real


def graph(count, seed, threshold=0.2):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 6)) + np.where(np.arange(count) % 3 == 0, 2.0, -0.5)[:, None]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return np.where(features @ features.T > threshold, 1.0, UNLIKE)


@pytest.mark.parametrize(("count", "seed"), [(2, 0), (9, 1), (40, 2), (120, 3), (200, 4)])
def test_the_second_eigenvector_against_its_definition(count, seed):
    weights = graph(count, seed)
    value, expected = by_definition(weights)
    found = second_eigenvector(weights)
    sums = weights.sum(1)
    np.testing.assert_allclose(sums * found - weights @ found, value * sums * found, atol=1e-8 * np.abs(sums).max())
    found, expected = found / np.linalg.norm(found), expected / np.linalg.norm(expected)
    assert abs(found @ expected) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("large", [False, True])
def test_two_groups_are_told_apart_and_the_small_one_is_the_object(large):
    inside = np.zeros((6, 7), bool)
    inside[1:4, 2:5] = True
    flat = inside.ravel() ^ large  # which of the two is marked makes no difference
    weights = np.where(flat[:, None] == flat[None], 1.0, UNLIKE)
    np.testing.assert_allclose(as_map(second_eigenvector(weights)), inside.ravel().astype(float), atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_object_is_where_the_largest_absolute_value_is(sign):
    vector = sign * np.array([0.5, -0.1, -0.2, -0.2, 0.4])
    np.testing.assert_allclose(as_map(vector), [1, 1 / 7, 0, 0, 6 / 7])
    # all of one sign: the side of the mean counts, not that of zero
    vector = sign * np.array([0.9, 1.0, 0.9, 0.2, 0.9])
    np.testing.assert_allclose(as_map(vector), [7 / 8, 1, 7 / 8, 0, 7 / 8])


def test_where_there_is_nothing_to_cut():
    assert second_eigenvector(np.ones((1, 1))).tolist() == [0.0] and as_map(np.zeros(1)).tolist() == [0.0]
    assert as_map(np.full(5, 0.3)).tolist() == [0.0] * 5
    assert np.isfinite(as_map(second_eigenvector(np.ones((5, 5))))).all()


class Colours(nn.Module):
    """Features of 8 x 8 pixels: their mean colour, of length 1."""

    grid_stride = round_to = 8

    def forward(self, images):
        return F.normalize(F.avg_pool2d(images, 8), dim=1)


def test_maps_of_a_network_image_by_image():
    images = torch.zeros(2, 3, 40, 48)
    images[:, 0], images[0, :, 8:24, 16:40] = 1, torch.tensor([0.0, 1, 1])[:, None, None]
    images[1, :, 32:, :8] = torch.tensor([0.0, 1, 0])[:, None, None]
    found = TokenCut(Colours(), 0.2)(images)
    assert found.shape == (2, 1, 5, 6) and found.dtype == torch.float32
    for n, box in enumerate([(slice(1, 3), slice(2, 5)), (slice(4, 5), slice(0, 1))]):
        expected = torch.zeros(5, 6)
        expected[box] = 1
        torch.testing.assert_close(found[n, 0], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(TokenCut(Colours(), 0.2)(images[n : n + 1])[0], found[n])
    assert cut_weights(torch.tensor([0.2, 0.21]), 0.2).tolist() == pytest.approx([UNLIKE, 1.0])
