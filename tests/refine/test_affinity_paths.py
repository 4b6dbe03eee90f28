"""Pairs, paths and affinities: against paths listed cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wsss.refine.affinities import affinities, directions, neighbour_affinities, pairs, sources


def slow_path(y0, x0, y1, x1):
    """Cells of the box around two cells that are less than 1 away from the line through both."""
    length = math.hypot(y1 - y0, x1 - x0)
    cells = []
    for y in range(min(y0, y1), max(y0, y1) + 1):
        for x in range(min(x0, x1), max(x0, x1) + 1):
            distance = abs((y - y0) * (x1 - x0) - (x - x0) * (y1 - y0)) / length
            if distance < 1 - 1e-9:
                cells.append((y, x))
    return cells


def slow_affinity(edges, start, end):
    return 1 - max(edges[cell] for cell in slow_path(*start, *end))


@pytest.mark.parametrize(("radius", "count", "groups", "cells"), [(10, 152, 20, 2134), (5, 34, 9, 242)])
def test_counts_of_the_publication(radius, count, groups, cells):
    lengths = [len(d.path) for d in directions(radius)]
    assert (len(lengths), len(set(lengths)), sum(lengths)) == (count, groups, cells)


@pytest.mark.parametrize(("side", "number"), [(128, 13090), (160, 21442)])
def test_inner_cells_of_the_publication(side, number):
    assert sources(torch.zeros(side, side), 10).numel() == number


def test_directions_fill_half_a_disc():
    ends = {(d.dy, d.dx) for d in directions(6)}
    whole = ends | {(-y, -x) for y, x in ends}
    disc = {(y, x) for y in range(-6, 7) for x in range(-6, 7) if 0 < y * y + x * x < 36}
    assert len(whole) == 2 * len(ends) and whole == disc
    for d in directions(6):
        assert sorted(d.path) == slow_path(0, 0, d.dy, d.dx)
        assert (0, 0) in d.path and (d.dy, d.dx) in d.path


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_affinities_against_listed_paths(radius):
    edges = torch.rand(2, 8, 13, generator=torch.Generator().manual_seed(radius))
    found = affinities(edges, radius)
    assert found.shape == (2, len(directions(radius)), 8 - radius + 1, 13 - 2 * radius + 2)
    for b, grid in enumerate(edges.numpy()):
        for n, d in enumerate(directions(radius)):
            for y in range(found.shape[2]):
                for x in range(found.shape[3]):
                    start = (y, x + radius - 1)
                    expected = slow_affinity(grid, start, (start[0] + d.dy, start[1] + d.dx))
                    assert found[b, n, y, x].item() == pytest.approx(expected, abs=1e-7)


def test_the_way_back_is_that_of_the_plain_maximum():
    def plain(edges):
        rows = [torch.stack([sources(edges, 3, y, x) for y, x in d.path]).amax(0) for d in directions(3)]
        return 1 - torch.stack(rows, 1)

    edges = torch.rand(2, 6, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: affinities(e, 3), edges)
    weights = torch.randn(plain(edges).shape, dtype=torch.float64)
    (ours,) = torch.autograd.grad((affinities(edges, 3) * weights).sum(), edges)
    (theirs,) = torch.autograd.grad((plain(edges) * weights).sum(), edges)
    torch.testing.assert_close(ours, theirs)


def test_where_cells_tie_the_first_one_takes_the_gradient():
    edges = torch.zeros(1, 3, 5, requires_grad=True)
    affinities(edges, 3).sum().backward()
    assert edges.grad.sum().item() == -len(directions(3))
    # the one inner cell is at row 0, column 2; a path is listed row by row, from the left
    assert set(map(tuple, edges.grad.nonzero()[:, 1:].tolist())) == {(0, 0), (0, 1), (0, 2)}


def test_without_edges_all_belongs_together_and_nothing_across_a_wall():
    assert torch.equal(affinities(torch.zeros(1, 12, 24), 5), torch.ones(1, 34, 8, 16))
    walls = torch.zeros(1, 20, 30)
    walls[:, 10] = 1
    for offset, weights in neighbour_affinities(walls, 5):
        start = torch.arange(20 * 30 - offset)
        first, last = start // 30, (start + offset) // 30
        touches = (first <= 10) & (last >= 10)
        assert not weights[0, 0][touches].any()
        assert set(weights[0, 0][~touches].tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(("size", "radius"), [((6, 7), 3), ((5, 5), 5), ((2, 9), 4), ((9, 2), 4), ((1, 1), 3)])
def test_neighbours_reach_the_border_and_no_further(size, radius):
    height, width = size
    edges = torch.rand(1, *size)
    found = np.zeros((height * width, height * width))
    for offset, weights in neighbour_affinities(edges, radius):
        assert weights.shape == (1, 1, height * width - offset)
        for start, value in enumerate(weights[0, 0].tolist()):
            if value:
                assert found[start, start + offset] == 0
                found[start, start + offset] = value
    expected = np.zeros_like(found)
    for i in range(height * width):
        for j in range(i + 1, height * width):
            a, b = divmod(i, width), divmod(j, width)
            if (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 < radius**2:
                expected[i, j] = slow_affinity(edges[0].numpy(), a, b)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_labels_of_pairs_one_by_one():
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 1, 2, 255])[torch.randint(0, 4, (2, 5, 9), generator=generator)]
    found = pairs(labels, 3, 2)
    for b in range(2):
        for n, d in enumerate(directions(3)):
            for y in range(found.different.shape[2]):
                for x in range(found.different.shape[3]):
                    i, j = labels[b, y, x + 2].item(), labels[b, y + d.dy, x + 2 + d.dx].item()
                    recorded = [part[b, n, y, x].item() for part in found]
                    sure = i != 255 and j != 255
                    assert recorded == [i == j == 0, sure and i == j > 0, sure and i != j]


def test_a_grid_without_inner_cells_is_refused():
    with pytest.raises(ValueError, match="8 x 8 cells has no inner cell for radius 5"):
        affinities(torch.zeros(1, 8, 8), 5)
