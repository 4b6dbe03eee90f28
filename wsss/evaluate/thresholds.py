"""All thresholds in one pass: the confusion matrix of every background score from one histogram.

A pixel is foreground at threshold t iff its largest score exceeds t. So it is enough to count, for every pixel, by how
many thresholds its score is above (b), which class scores best, and what is true: H[b, class, truth]. Sums of H over b
are the confusion matrices of all thresholds; the result equals thresholding, argmax and counting for each of them.
The counts by size of the objects (see ``wsss.evaluate.breakdown``) come from the same histograms.
"""

from __future__ import annotations

import numpy as np

from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.evaluate.breakdown import SIZES, size_of
from wsss.evaluate.confusion import by, class_scores


def threshold_grid(count: int) -> np.ndarray:
    """float32 (count,): 0, 1/count, ..., (count-1)/count."""
    return (np.arange(count) / count).astype(np.float32)


class ThresholdCounts:
    """Counts over images for all thresholds at once.

    ``thresholds``: (T,), strictly ascending as float32; ``classes``: number of object classes C. Memory:
    8 (T+1) C (C+7) bytes.
    """

    def __init__(self, thresholds: np.ndarray, classes: int) -> None:
        self.thresholds = np.asarray(thresholds, np.float32)
        if self.thresholds.ndim != 1 or not (np.diff(self.thresholds) > 0).all():
            raise ValueError("thresholds must ascend strictly, also when rounded to float32")
        self.counts = np.zeros((len(self.thresholds) + 1, classes, classes + 1), np.int64)
        self.predicted = np.zeros((len(self.thresholds) + 1, len(SIZES), classes, 2), np.int64)
        self.true = np.zeros((len(SIZES), classes), np.int64)
        self.images = 0

    def add(self, maps: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        ``maps``: float32 (n, H, W), n may be 0; ``classes``: int (n,), 0-based; ``truth``: integers (H, W), 255
        is left out. Raises :class:`WsssError` for shapes that differ and true values out of range.
        """
        levels, objects, side = self.counts.shape
        if maps.shape[1:] != truth.shape:
            raise WsssError(f"the true mask is {by(truth.shape)} pixels, the maps {by(maps.shape[1:])}")
        valid, pixels = truth != IGNORE, truth.size
        truth = truth[valid].astype(np.int64)
        if truth.size and not 0 <= truth.min() <= truth.max() <= objects:
            wrong = sorted(set(np.unique(truth).tolist()) - set(range(side)))
            raise WsssError(f"the true mask holds the values {wrong}; allowed are 0 to {objects} and 255")
        self.images += 1
        true = np.bincount(truth, minlength=side)[1:]
        size = size_of(true / max(1, pixels))
        there = np.flatnonzero(true)
        self.true[size[there], there] += true[there]
        if len(maps) == 0:  # above no threshold: background for all of them, whichever class row it is counted in
            self.counts[0, 0] += np.bincount(truth, minlength=side)
            return
        scores = maps[:, valid]
        best = scores.argmax(axis=0)
        above = np.searchsorted(self.thresholds, scores.max(axis=0), side="left")
        flat = (above * len(maps) + best) * side + truth
        local = np.bincount(flat, minlength=levels * len(maps) * side).reshape(levels, len(maps), side)
        classes = np.asarray(classes, np.int64)
        self.counts[:, classes] += local
        for k, c in enumerate(classes):
            if true[c]:
                self.predicted[:, size[c], c, 0] += local[:, k, c + 1]
                self.predicted[:, size[c], c, 1] += local[:, k].sum(axis=1)

    def merge(self, other: ThresholdCounts) -> ThresholdCounts:
        """Add the counts of other images."""
        self.counts += other.counts
        self.predicted += other.predicted
        self.true += other.true
        self.images += other.images
        return self

    def confusions(self) -> np.ndarray:
        """Confusion matrices int64 (T, C+1, C+1), rows the truth, columns the prediction."""
        above = self.counts[::-1].cumsum(axis=0)[::-1]  # above[k]: pixels above at least k thresholds
        foreground = above[1:]
        background = above[0].sum(axis=0) - foreground.sum(axis=1)
        return np.concatenate([background[:, None], foreground], axis=1).transpose(0, 2, 1)

    def sizes(self) -> np.ndarray:
        """Intersection and union by size and class, int64 (T, 3, C, 2), as ``breakdown.count_sizes`` counts them."""
        above = self.predicted[::-1].cumsum(axis=0)[::-1][1:]
        both = above[..., 0]
        return np.stack([both, self.true + above[..., 1] - both], axis=-1)


def best_threshold(scores: np.ndarray) -> int:
    """Position of the best score, NaN aside; the lowest threshold among equals.

    Raises :class:`WsssError` if all are NaN.
    """
    if np.isnan(scores).all():
        raise WsssError("no threshold can be chosen: every pixel of the true masks is 255 (ignore)")
    return int(np.nanargmax(scores))


def best_per_class(confusions: np.ndarray, otherwise: int) -> np.ndarray:
    """Position of the threshold at which each object class has its best IoU, int64 (C,).

    ``confusions``: (T, C+1, C+1), a matrix a threshold; every class is looked at on its own (its pixels against all
    others). The lowest threshold wins among equals; ``otherwise`` stands for a class that has no IoU above 0 anywhere
    (it does not occur in these images, say).
    """
    iou = np.nan_to_num(class_scores(confusions)["iou"][:, 1:])
    return np.where(iou.max(axis=0) > 0, iou.argmax(axis=0), otherwise)
