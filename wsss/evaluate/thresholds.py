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

FINE = 1 << 12


def threshold_grid(count: int) -> np.ndarray:
    """float32 (count,): 0, 1/count, ..., (count-1)/count.

    Examples:
        >>> threshold_grid(4)
        array([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    return (np.arange(count) / count).astype(np.float32)


def _fine_steps(thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """How many thresholds lie below each step of 1/FINE, and the first of those that do not (infinity after the last);
    None where the steps are too coarse, or a threshold is not within [0, 1]."""
    step = np.clip(thresholds * np.float32(FINE), 0, FINE).astype(np.int32)
    if len(np.unique(step)) < len(step) or (thresholds < 0).any() or (thresholds > 1).any():
        return None
    return np.searchsorted(step, np.arange(FINE + 1)), np.append(thresholds, np.float32(np.inf))


def _values(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a mask, and how many pixels have each."""
    if truth.dtype != np.uint8:
        return np.unique(truth, return_counts=True)
    amounts = np.bincount(truth.ravel(), minlength=256)
    values = np.flatnonzero(amounts)
    return values, amounts[values]


def _best(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the largest map of every pixel, the first among equals, and its value. ``maps``: (n, pixels)."""
    best, most = np.zeros(maps.shape[1], np.int64), maps[0]
    for number, each in enumerate(maps[1:], start=1):
        best[each > most] = number
        most = np.maximum(most, each)
    return best, most


class ThresholdCounts:
    """Counts over images for all thresholds at once.

    ``thresholds``: (T,), strictly ascending as float32; ``classes``: number of object classes C. Memory:
    8 (T+1) C (C+7) bytes.

    Examples:
        >>> counts = ThresholdCounts(np.array([0.2, 0.5]), classes=1)
        >>> counts.add(np.float32([[[0.9, 0.3, 0.1]]]), np.array([0]), truth=np.array([[1, 0, 0]]))
        >>> counts.confusions().tolist()  # at 0.2 one false positive, at 0.5 none
        [[[1, 1], [0, 1]], [[2, 0], [0, 1]]]
    """

    def __init__(self, thresholds: np.ndarray, classes: int) -> None:
        self.thresholds = np.asarray(thresholds, np.float32)
        if self.thresholds.ndim != 1 or not (np.diff(self.thresholds) > 0).all():
            raise ValueError("thresholds must ascend strictly, also when rounded to float32")
        self._steps = _fine_steps(self.thresholds)
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
            raise WsssError(f"the ground-truth mask is {by(truth.shape)} pixels, the maps {by(maps.shape[1:])}")
        values, amounts = _values(truth)
        wrong = [value for value in values.tolist() if not (0 <= value <= objects or value == IGNORE)]
        if wrong:
            raise WsssError(f"the ground-truth mask holds the values {wrong}; allowed are 0 to {objects} and 255")
        kept = values != IGNORE
        histogram = np.zeros(side, np.int64)
        histogram[values[kept]] = amounts[kept]
        self.images += 1
        true = histogram[1:]
        size = size_of(true / max(1, truth.size))
        there = np.flatnonzero(true)
        self.true[size[there], there] += true[there]
        if len(maps) == 0:  # above no threshold: background for all of them, whichever class row it is counted in
            self.counts[0, 0] += histogram
            return
        best, most = _best(maps.reshape(len(maps), -1))
        # ignored pixels are counted too, in a column of their own: cheaper than to leave them out beforehand
        column = np.minimum(np.arange(256), side)[truth.ravel()]
        flat = (self._above(most) * len(maps) + best) * (side + 1) + column
        local = np.bincount(flat, minlength=levels * len(maps) * (side + 1))
        local = local.reshape(levels, len(maps), side + 1)[..., :side]
        classes = np.asarray(classes, np.int64)
        self.counts[:, classes] += local
        for k, c in enumerate(classes):
            if true[c]:
                self.predicted[:, size[c], c, 0] += local[:, k, c + 1]
                self.predicted[:, size[c], c, 1] += local[:, k].sum(axis=1)

    def _above(self, scores: np.ndarray) -> np.ndarray:
        """How many thresholds each score exceeds: a table of fine steps, in each of which at most one threshold lies;
        where two lie closer than that, by bisection."""
        if self._steps is None:
            return np.searchsorted(self.thresholds, scores, side="left")
        below, following = self._steps
        step = np.clip(scores * np.float32(FINE), 0, FINE).astype(np.int32)
        found = below[step]
        above: np.ndarray = found + (scores > following[found])
        return above

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

    Examples:
        >>> best_threshold(np.array([0.4, 0.6, 0.6, np.nan]))
        1
    """
    if np.isnan(scores).all():
        raise WsssError("no threshold can be chosen: every pixel of the ground-truth masks is 255 (ignore)")
    return int(np.nanargmax(scores))


def best_per_class(confusions: np.ndarray, otherwise: int) -> np.ndarray:
    """Position of the threshold at which each object class has its best IoU, int64 (C,).

    ``confusions``: (T, C+1, C+1), a matrix a threshold; every class is looked at on its own (its pixels against all
    others). The lowest threshold wins among equals; ``otherwise`` stands for a class that has no IoU above 0 anywhere
    (it does not occur in these images, say).

    Examples:
        >>> at_low, at_high = [[4, 4, 0], [0, 2, 0], [0, 0, 0]], [[8, 0, 0], [1, 1, 0], [0, 0, 0]]
        >>> best_per_class(np.array([at_low, at_high]), otherwise=0)  # the second class never occurs
        array([1, 0])
    """
    iou = np.nan_to_num(class_scores(confusions)["iou"][:, 1:])
    return np.where(iou.max(axis=0) > 0, iou.argmax(axis=0), otherwise)
