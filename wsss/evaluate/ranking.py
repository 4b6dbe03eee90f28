"""Whether two figures order things alike: Kendall's tau, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

DRAWS = 2000
"""Resamples of a bootstrap."""


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b of two figures of the same n things: (pairs in the same order - pairs in the other order) /
    sqrt(pairs not tied in a x pairs not tied in b), in [-1, 1]; 0 where all of one are equal, which orders nothing.

    Examples:
        >>> kendall([3, 1, 2], [0.6, 0.4, 0.5])
        1.0
        >>> round(kendall([3, 1, 2], [0.4, 0.5, 0.6]), 3)
        -0.333
    """
    upper = np.triu_indices(len(a), 1)
    x, y = (np.sign(np.subtract.outer(np.asarray(v, np.float64), np.asarray(v, np.float64)))[upper] for v in (a, b))
    length = float(np.sqrt(np.count_nonzero(x) * np.count_nonzero(y)))
    return float(x @ y) / length if length else 0.0


def bootstrap(
    figure: Callable[[np.ndarray], float], count: int, share: float = 0.9, draws: int = DRAWS
) -> tuple[float, float]:
    """The interval that holds a share of what a figure comes to when the things it is of are drawn again, with
    repetition (percentiles; always the same draws).

    Args:
        figure: Called with positions int64 (count,).
        count: Number of things.
        share: Of the interval, in (0, 1).
        draws: Number of resamples.
    """
    rng = np.random.default_rng(0)
    found = [figure(rng.integers(0, count, count)) for _ in range(draws)]
    low, high = np.quantile(found, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
