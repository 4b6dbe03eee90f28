"""The random walk of two maps, 256 steps, beside the dense matrix that is squared 8 times."""

from __future__ import annotations

import time

import torch

from benchmarks.frame import Case, Estimate, Kernel
from benchmarks.random_walk import chebyshev, csr, dense, scene, transition

AGREEMENT = "at most {:.1e} of the maximum from the walk in double precision"
SQUARINGS = 8


def case(amount: float, size: tuple[int, int], whole: bool) -> Case:
    maps, edges = scene(tuple(max(12, round(side * amount**0.5)) for side in size))

    def one_squaring() -> Estimate:
        start = time.perf_counter(), time.process_time()
        matrix = transition(edges)
        built = time.perf_counter(), time.process_time()
        matrix = matrix @ matrix
        end = time.perf_counter(), time.process_time()
        seconds = [b - a + SQUARINGS * (c - b) for a, b, c in zip(start, built, end, strict=True)]
        return Estimate(None, *seconds)

    def difference(_: object, ours: torch.Tensor) -> float:
        exact = csr(maps, edges, torch.float64)
        return float((ours - exact).abs().max() / exact.max())

    return Case(
        (lambda: dense(maps, edges, SQUARINGS)) if whole else one_squaring, lambda: chebyshev(maps, edges), difference
    )


KERNELS = (
    Kernel(
        "walk-47x63",
        "dense matrix, 8 squarings",
        "walk of 256 steps on a 47x63 grid",
        AGREEMENT,
        lambda amount: case(amount, (47, 63), True),
        once=True,
    ),
    Kernel(
        "walk-94x125",
        "dense matrix, one squaring timed, times 8",
        "walk of 256 steps on a 94x125 grid",
        AGREEMENT,
        lambda amount: case(amount, (94, 125), False),
        once=True,
    ),
)
