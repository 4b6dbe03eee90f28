"""Ensembles of maps: the maps of several recipes put together, pixel by pixel.

Members are read at full size (``MapStore.full``: relative maps each over their own maximum, absolute ones as they are),
so that cells of different strides lie where they belong; means over 4 x 4 pixels are put together, and one map per
class is stored at that stride. The ensemble is relative if all its members are: a tag vouches for its class, however
little the members agree on where it is, so readers divide the map by its maximum again, as they do with the sum over
scales. As soon as one member is absolute, so is the ensemble.
"""

from __future__ import annotations

import numpy as np

from wsss.store.views import LOW_STRIDE

READ_AT = 0.3
"""Background score at which the members' maps become masks, to say how far they agree."""


def reduced(full: np.ndarray) -> np.ndarray:
    """Means over blocks of 4 x 4 pixels, smaller at the right and lower border: float32 (n, H, W) to
    (n, (H-1)//4+1, (W-1)//4+1).

    Examples:
        >>> reduced(np.arange(24, dtype=np.float32).reshape(1, 4, 6))  # 4 x 4 pixels, and the 4 x 2 that are left
        array([[[10.5, 13.5]]], dtype=float32)
    """
    starts = [np.arange(0, side, LOW_STRIDE) for side in full.shape[1:]]
    sums = np.add.reduceat(np.add.reduceat(full, starts[0], axis=1), starts[1], axis=2)
    high, wide = (np.diff(np.append(first, side)) for first, side in zip(starts, full.shape[1:], strict=True))
    return sums / np.outer(high, wide).astype(np.float32)


def combine(maps: np.ndarray, rule: str, weights: np.ndarray | None = None) -> np.ndarray:
    """Put maps together: float32 (M, ...) of M members, in [0, 1], to float32 (...), in [0, 1].

    ``mean``; ``max``; ``geometric``: prod(a)^(1/M), 0 where any member is; ``noisy-or``: 1 - prod(1 - a);
    ``calibrated``: sum(w a) / sum(w) with ``weights`` w (M,), not negative, not all 0.

    Examples:
        >>> maps = np.float32([[0.2, 0.8], [0.8, 0.8]])  # two members, two pixels
        >>> for rule in ("mean", "max", "geometric", "noisy-or"):
        ...     print(rule, combine(maps, rule).round(2))
        mean [0.5 0.8]
        max [0.8 0.8]
        geometric [0.4 0.8]
        noisy-or [0.84 0.96]
    """
    found: np.ndarray
    if rule == "mean":
        found = maps.mean(axis=0)
    elif rule == "max":
        found = maps.max(axis=0)
    elif rule == "geometric":
        found = (maps ** np.float32(1 / len(maps))).prod(axis=0)  # roots first: a product of many would underflow
    elif rule == "noisy-or":
        found = 1 - (1 - maps).prod(axis=0)
    elif rule == "calibrated":
        assert weights is not None  # this rule needs them
        share = (np.asarray(weights, np.float64) / np.sum(weights)).astype(np.float32)
        found = np.einsum("m,m...->...", share, maps).clip(max=1)
    else:
        raise ValueError(f"unknown rule {rule!r}")
    return found
