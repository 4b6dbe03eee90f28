"""Pairs of neighbouring cells, and how much belongs between them: affinities from edges by shifts.

Two cells i, j of the stride-4 grid that are closer than a radius R are a pair. Their affinity is

    W_ij = 1 - max over the cells k of the path from i to j of e_k,    e in [0, 1] the probability of an edge

(AffinityNet, Ahn and Kwak 2018; IRN, Ahn et al. 2019). Pairs are counted once, so their directions fill half a disc. A
path looks the same wherever it starts, so the maximum over it is one of shifted views of the edge map: no table of cell
numbers, no gathering. The cells of a path that lie in one row, or in one column, are neighbours, so views of a few
running maxima cover it: 532 views in place of 2134 at radius 10.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch

VERSION = 1


class Direction(NamedTuple):
    """From a cell to its partner.

    Attributes:
        dy, dx: Rows down (0 or more) and columns to the right (negative: to the left).
        path: (rows, columns) from the cell to every cell between it and its partner, both ends included, run by run.
        runs: The same cells as (row, column, length) of runs of neighbours that begin there.
        across: Whether the runs go to the right; else down.
    """

    dy: int
    dx: int
    path: tuple[tuple[int, int], ...]
    runs: tuple[tuple[int, int, int], ...]
    across: bool


@cache
def directions(radius: int) -> tuple[Direction, ...]:
    """All directions closer than ``radius`` cells: (0, x) with x > 0, and (y, x) with y > 0 and x^2 + y^2 < radius^2.

    A path has the cells of the box around the segment whose distance to its line is below 1. Radius 10 gives 152
    directions with 2134 path cells, radius 5 gives 34 with 242.

    Examples:
        >>> [(d.dy, d.dx) for d in directions(2)]
        [(0, 1), (1, -1), (1, 0), (1, 1)]
        >>> len(directions(5)), len(directions(10))
        (34, 152)
        >>> directions(3)[1].path  # two cells to the right: itself, the one between, its partner
        ((0, 0), (0, 1), (0, 2))
    """
    ends = [(0, x) for x in range(1, radius)]
    ends += [(y, x) for y in range(1, radius) for x in range(1 - radius, radius) if x * x + y * y < radius * radius]
    return tuple(_direction(y, x) for y, x in ends)


def _path(dy: int, dx: int) -> tuple[tuple[int, int], ...]:
    # the distance of (y, x) to the line through 0 and (dy, dx) is |y dx - x dy| / |(dy, dx)|: whole numbers suffice
    return tuple(
        (y, x)
        for y in range(dy + 1)
        for x in range(min(0, dx), max(0, dx) + 1)
        if (y * dx - x * dy) ** 2 < dy * dy + dx * dx
    )


def _direction(dy: int, dx: int) -> Direction:
    """Runs along the rows or along the columns, whichever are fewer; a path has no gaps in either."""
    path = _path(dy, dx)
    rows: dict[int, list[int]] = {y: [] for y, _ in sorted(path)}
    columns: dict[int, list[int]] = {x: [] for _, x in sorted(path)}
    for y, x in path:
        rows[y].append(x)
        columns[x].append(y)
    if len(rows) <= len(columns):
        return Direction(dy, dx, path, tuple((y, min(xs), len(xs)) for y, xs in rows.items()), True)
    runs = tuple((min(columns[x]), x, len(columns[x])) for x in sorted(columns))
    return Direction(dy, dx, tuple(sorted(path, key=lambda cell: cell[::-1])), runs, False)


class _Running:
    """Maxima of neighbouring cells of a grid (..., h, w), made when they are first asked for."""

    def __init__(self, grid: torch.Tensor) -> None:
        self._tables = {True: [grid], False: [grid]}

    def over(self, length: int, across: bool) -> torch.Tensor:
        """Each cell's maximum with the ``length`` - 1 cells to its right, or below it. Cells without so many are left
        out."""
        tables = self._tables[across]
        axis = -1 if across else -2
        grid = tables[0]
        while len(tables) < length:
            count = len(tables)
            kept = grid.shape[axis] - count
            tables.append(torch.maximum(tables[-1].narrow(axis, 0, kept), grid.narrow(axis, count, kept)))
        return tables[length - 1]

    def back(self, shares: dict[tuple[int, bool], torch.Tensor]) -> torch.Tensor:
        """What belongs to the grid's own cells of what belongs to maxima (by length and direction): each passes it on
        to the first of its cells that has it."""
        grid = self._tables[True][0]
        result = torch.zeros_like(grid)
        for across, axis in ((True, -1), (False, -2)):
            longest = len(self._tables[across])
            share = None
            for length in range(longest, 1, -1):
                own = shares.get((length, across))
                share = own if share is None else share if own is None else share + own
                if share is None:
                    continue
                kept, table = share.shape[axis], self._tables[across][length - 1]
                first = self._tables[across][length - 2].narrow(axis, 0, kept) == table
                shorter = torch.zeros_like(self._tables[across][length - 2])
                shorter.narrow(axis, 0, kept).copy_(share * first)
                result.narrow(axis, length - 1, kept).add_(share * ~first)
                share = shorter
            if share is not None:
                result.add_(share)
        single = shares.get((1, False))
        return result if single is None else result.add_(single)

    def along(self, direction: Direction, left: int, out: torch.Tensor) -> None:
        """The maximum over the paths that begin in the window of ``out``'s size whose first column is ``left``."""
        views = [window(self.over(n, direction.across), y, left + x, out) for y, x, n in direction.runs]
        if len(views) == 1:
            out.copy_(views[0])
            return
        torch.maximum(views[0], views[1], out=out)
        for view in views[2:]:
            torch.maximum(out, view, out=out)


def window(grid: torch.Tensor, top: int, left: int, like: torch.Tensor) -> torch.Tensor:
    """The part of ``grid`` of the size of ``like`` that begins at a row and a column: a view.

    Examples:
        >>> window(torch.arange(9).reshape(3, 3), top=1, left=1, like=torch.empty(2, 2))
        tensor([[4, 5],
                [7, 8]])
    """
    return grid[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def sources(grid: torch.Tensor, radius: int, dy: int = 0, dx: int = 0) -> torch.Tensor:
    """The cells that have a partner in every direction, shifted by (dy, dx): a view of ``grid`` (..., h, w).

    A margin of radius - 1 is left out below, left and right (directions never point up). Shape
    (..., h - radius + 1, w - 2 radius + 2).

    Examples:
        >>> sources(torch.arange(15).reshape(3, 5), radius=2)  # the lowest row and the outer columns are left out
        tensor([[1, 2, 3],
                [6, 7, 8]])
    """
    margin = radius - 1
    height, width = grid.shape[-2] - margin, grid.shape[-1] - 2 * margin
    return grid[..., dy : dy + height, margin + dx : margin + dx + width]


class _PathMaximum(torch.autograd.Function):
    """The maximum over every path; the gradient goes to the first cell of the path that has it.

    Only the edges and the maxima are kept for the way back: autograd over the running maximum would keep every step of
    it, 2134 maps at radius 10.
    """

    @staticmethod
    def forward(ctx: Any, edges: torch.Tensor, radius: int) -> torch.Tensor:
        among = directions(radius)
        maxima = edges.new_empty((len(edges), len(among), *sources(edges, radius).shape[-2:]))
        running = _Running(edges)
        for number, direction in enumerate(among):
            running.along(direction, radius - 1, maxima[:, number])
        ctx.radius = radius
        ctx.save_for_backward(edges, maxima)
        return maxima

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        edges, maxima = ctx.saved_tensors
        running, margin = _Running(edges), ctx.radius - 1
        shares: dict[tuple[int, bool], torch.Tensor] = {}
        for number, direction in enumerate(directions(ctx.radius)):
            best, left = maxima[:, number], gradient[:, number].clone()
            for y, x, length in direction.runs:
                table = running.over(length, direction.across)
                key = (length, direction.across and length > 1)
                if key not in shares:
                    shares[key] = torch.zeros_like(table)
                hit = window(table, y, margin + x, best) == best
                window(shares[key], y, margin + x, best).add_(left * hit)
                left.masked_fill_(hit, 0)
        return running.back(shares), None


def affinities(edges: torch.Tensor, radius: int) -> torch.Tensor:
    """W of the pairs of all inner cells; differentiable.

    Args:
        edges: (B, h, w) in [0, 1].
        radius: R, in cells; the grid must be at least R high and 2 R - 1 wide.

    Returns:
        (B, D, h - R + 1, w - 2 R + 2) in [0, 1], directions in the order of ``directions``.

    Raises:
        ValueError: The grid is too small to have an inner cell.

    Examples:
        >>> edges = torch.zeros(1, 2, 3)
        >>> edges[0, 0, 2] = 0.9  # an edge in the upper right corner
        >>> affinities(edges, radius=2).flatten()  # of the upper middle cell: to the right, and to the three below
        tensor([0.1000, 1.0000, 1.0000, 0.1000])
    """
    height, width = edges.shape[-2:]
    if height < radius or width < 2 * radius - 1:
        raise ValueError(f"a grid of {height} x {width} cells has no inner cell for radius {radius}")
    highest: torch.Tensor = _PathMaximum.apply(edges, radius)
    return 1 - highest


class Pairs(NamedTuple):
    """What labels say of the pairs of all inner cells, each bool (B, D, h - R + 1, w - 2 R + 2)."""

    background: torch.Tensor
    """Both are background."""
    foreground: torch.Tensor
    """Both are the same class."""
    different: torch.Tensor
    """They are of different classes, or one is background."""


def pairs(labels: torch.Tensor, radius: int, classes: int) -> Pairs:
    """Compare the labels of all pairs; a pair with a value above ``classes`` (255, not sure) is none of the three.

    Args:
        labels: Integers (B, h, w): 0 background, 1 to ``classes`` object classes, 255.
        radius: As in ``affinities``, whose order of pairs this has.
        classes: Number of object classes.

    Examples:
        >>> labels = torch.tensor([[[1, 1, 2], [0, 0, 255]]])
        >>> found = pairs(labels, radius=2, classes=2)
        >>> found.foreground.flatten(), found.different.flatten()  # of the upper middle cell
        (tensor([False, False, False, False]), tensor([ True,  True,  True, False]))
    """
    here = sources(labels, radius)
    there = torch.stack([sources(labels, radius, d.dy, d.dx) for d in directions(radius)], 1)
    here = here[:, None]
    sure, same = (here <= classes) & (there <= classes), here == there
    return Pairs(same & (here == 0), sure & same & (here > 0), sure & ~same)


def neighbour_affinities(edges: torch.Tensor, radius: int) -> list[tuple[int, torch.Tensor]]:
    """W of all pairs inside the grid, for walking: border cells too, and without gradients.

    Args:
        edges: (B, h, w) in [0, 1].
        radius: R, in cells.

    Returns:
        For every direction that fits into the grid: the distance o of partners in a map that is laid out as h w values,
        and W as (B, 1, h w - o), where entry i belongs to the pair of cells i and i + o and is 0 if there is none.

    Examples:
        >>> edges = torch.tensor([[[0.0, 0.0, 0.8]]])  # one row of three cells
        >>> neighbour_affinities(edges, radius=2)  # cells 0 and 1 belong together, 1 and 2 hardly
        [(1, tensor([[[1.0000, 0.2000]]]))]
    """
    batch, height, width = edges.shape
    found, running = [], _Running(edges)
    for direction in directions(radius):
        dy, dx = direction.dy, direction.dx
        if dy >= height or abs(dx) >= width:
            continue
        rows, columns, left = height - dy, width - abs(dx), max(0, -dx)
        best = torch.empty((batch, rows, columns), dtype=edges.dtype, device=edges.device)
        running.along(direction, left, best)
        whole = torch.zeros_like(edges)
        torch.sub(1, best, out=whole[:, :rows, left : left + columns])
        offset = dy * width + dx
        found.append((offset, whole.view(batch, 1, -1)[..., : height * width - offset]))
    return found
