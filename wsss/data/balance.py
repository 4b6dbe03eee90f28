"""How often each class occurs among the training images, and draws that make up for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsss.data.index import Item


def class_counts(items: list[Item], classes: int) -> npt.NDArray[np.int64]:
    """Number of items that have each class, int64 (C,)."""
    counts = np.zeros(classes, np.int64)
    for item in items:
        counts[list(item.labels)] += 1
    return counts


def balanced_chances(items: list[Item], classes: int) -> npt.NDArray[np.float64]:
    """Chance of each item, float64 (N,), sum 1, when a class is drawn first and then one of its items, each alike.

    P(i) = (1 / C') sum over the classes c of i of 1 / n_c, with C' the number of classes that occur. Every item must
    have a label: one without would never be drawn.
    """
    counts = class_counts(items, classes)
    chances: npt.NDArray[np.float64] = np.array([(1 / counts[list(item.labels)]).sum() for item in items])
    normalised: npt.NDArray[np.float64] = chances / chances.sum()
    return normalised
