"""All thresholds of one image in one pass, beside a loop over thresholds and classes."""

from __future__ import annotations

import numpy as np

from benchmarks.crf import size_of
from benchmarks.frame import Case, Kernel
from benchmarks.pictures import probabilities
from wsss.evaluate.thresholds import ThresholdCounts, threshold_grid

CLASSES, TAGGED = 20, (3, 11)


def sweep(amount: float) -> Case:
    size = size_of(amount)
    maps = probabilities(size, 3, 3, 0)[1:]
    maps = maps / (maps.max((1, 2), keepdims=True) + 1e-5)
    guess = probabilities(size, 3, 3, 1).argmax(0)
    truth = np.array([0, *(c + 1 for c in TAGGED)], np.uint8)[guess]
    truth[::50] = 255
    thresholds = threshold_grid(60)

    def baseline() -> np.ndarray:
        """(T, C + 1, 3): predicted, true and right pixels."""
        valid, keys = truth != 255, np.array([0, *(c + 1 for c in TAGGED)])
        found = np.zeros((len(thresholds), CLASSES + 1, 3), np.int64)
        for number, threshold in enumerate(thresholds):
            padded = np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
            predicted = keys[padded.argmax(0)]
            right = (predicted == truth) * valid
            for c in range(CLASSES + 1):
                found[number, c] = (
                    np.sum((predicted == c) * valid),
                    np.sum((truth == c) * valid),
                    np.sum((truth == c) * right),
                )
        return found

    def ours() -> np.ndarray:
        counts = ThresholdCounts(thresholds, CLASSES)
        counts.add(maps, np.array(TAGGED), truth)
        matrices = counts.confusions()
        return np.stack([matrices.sum(1), matrices.sum(2), matrices.diagonal(axis1=1, axis2=2)], axis=-1)

    return Case(baseline, ours, lambda a, b: np.abs(a - b).max())


KERNELS = (
    Kernel(
        "threshold-sweep",
        "a loop over thresholds and classes",
        "counts of an image at 60 thresholds",
        "counts differ by at most {:.0f}",
        sweep,
    ),
)
