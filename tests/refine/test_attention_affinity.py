"""CLIP-ES's affinity beside loops over cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.refine.attention_affinity import attention_affinity, box_mask, scaled, spread


def attention(cells, seed, sharp=1.0):
    logits = np.random.default_rng(seed).normal(size=(cells, cells)) * sharp
    weights = np.exp(logits)
    return weights / weights.sum(1, keepdims=True)


def slow_affinity(weights):
    weights = [list(row) for row in weights]
    n = len(weights)
    for _ in range(3):
        for j in range(n):
            total = sum(weights[i][j] for i in range(n))
            for i in range(n):
                weights[i][j] /= total
        for i in range(n):
            total = sum(weights[i])
            weights[i] = [value / total for value in weights[i]]
    even = [[(weights[i][j] + weights[j][i]) / 2 for j in range(n)] for i in range(n)]
    return np.array([[sum(even[i][k] * even[k][j] for k in range(n)) for j in range(n)] for i in range(n)])


def slow_boxes(seed, threshold):
    """Parts by flood fill, cells that touch at corners included, and their bounding boxes."""
    height, width = seed.shape
    strong = {(y, x) for y in range(height) for x in range(width) if seed[y, x] > threshold * seed.max()}
    inside = np.zeros(seed.shape, bool)
    while strong:
        part, todo = set(), [strong.pop()]
        while todo:
            y, x = todo.pop()
            part.add((y, x))
            for cell in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if cell in strong:
                    strong.remove(cell)
                    todo.append(cell)
        rows, columns = zip(*part, strict=True)
        inside[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] = True
    return inside


@pytest.mark.parametrize(("cells", "sharp"), [(4, 1.0), (9, 3.0), (15, 0.2)])
def test_affinity_against_loops(cells, sharp):
    weights = attention(cells, cells, sharp)
    found = attention_affinity(torch.from_numpy(weights))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), slow_affinity(weights), atol=1e-6)


def test_rows_sum_to_one_and_constants_stay():
    weights = torch.from_numpy(attention(30, 0, 0.3))
    affinity = attention_affinity(weights)
    torch.testing.assert_close(affinity.sum(1), torch.ones(30), atol=1e-4, rtol=0)
    constant = torch.full((30, 1), 0.7)
    torch.testing.assert_close(affinity @ constant, constant, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(12))
def test_boxes_against_flood_fill(seed):
    values = np.random.default_rng(seed).random((5, 8)) ** (1 + seed % 4)
    for threshold in (0.2, 0.4, 0.9):
        np.testing.assert_array_equal(box_mask(values, threshold), slow_boxes(values, threshold))


def test_boxes_reach_the_last_row_and_column_and_an_empty_seed_has_none():
    seed = np.zeros((3, 4))
    assert not box_mask(seed, 0.4).any()
    seed[2, 3] = 1
    assert box_mask(seed, 0.4)[2, 3] and box_mask(seed, 0.4).sum() == 1


def test_spread_against_loops():
    rng = np.random.default_rng(5)
    seeds, weights = rng.random((2, 3, 4)).astype(np.float32), attention(12, 1, 2.0)
    found = spread(torch.from_numpy(seeds), attention_affinity(torch.from_numpy(weights)), 0.5).numpy()
    affinity = slow_affinity(weights)
    for one, seed in zip(found, seeds, strict=True):
        sources = np.where(slow_boxes(seed, 0.5), seed, 0).ravel()
        expected = np.array([sum(affinity[i, j] * sources[j] for j in range(12)) for i in range(12)])
        expected = (expected - expected.min()) / (expected.max() - expected.min() + 1e-7)
        np.testing.assert_allclose(one.ravel(), expected, atol=1e-5)


def test_a_class_that_nothing_speaks_for_stays_zero():
    seeds = torch.zeros(1, 3, 4)
    assert not spread(seeds, attention_affinity(torch.full((12, 12), 1 / 12)), 0.4).any()
    assert not scaled(torch.full((1, 3), 0.5)).any()
