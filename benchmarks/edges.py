"""Affinities of all pairs closer than 10 cells, beside a table of the cells on their paths."""

from __future__ import annotations

import torch

from benchmarks.frame import Case, Kernel
from wsss.refine.affinities import affinities, directions, sources

RADIUS = 10


def case(amount: float) -> Case:
    """Edges of images at the size of a training, 512 pixels a side."""
    side = 128
    edges = torch.rand(max(1, round(amount)), side, side, generator=torch.Generator().manual_seed(0))
    cells = sources(torch.arange(side * side).view(side, side), RADIUS).flatten()
    lengths: dict[int, list[int]] = {}
    for number, direction in enumerate(directions(RADIUS)):
        lengths.setdefault(len(direction.path), []).append(number)
    tables = {}
    for length, numbers in lengths.items():
        steps = [[y * side + x for y, x in directions(RADIUS)[number].path] for number in numbers]
        tables[length] = (torch.tensor(steps)[:, :, None] + cells).flatten()

    def baseline() -> torch.Tensor:
        flat = edges.flatten(1)
        found = flat.new_empty(len(edges), len(directions(RADIUS)), len(cells))
        for length, numbers in lengths.items():
            gathered = flat.index_select(1, tables[length]).view(len(edges), len(numbers), length, -1)
            found[:, numbers] = gathered.amax(2)
        return 1 - found

    def difference(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b.flatten(2)).abs().max())

    return Case(baseline, lambda: affinities(edges, RADIUS), difference)


KERNELS = (
    Kernel(
        "edge-affinity",
        "gathering by a table of path cells",
        "affinities of an image at training size, radius 10",
        "differ by at most {:.1e}",
        case,
    ),
)
