"""Uneven data: scores by how often a class is tagged (head, middle, tail) and by how large an object is.

*Head, middle, tail*: the object classes by number of tagged training images, most first (ties in the order of the
classes), cut into thirds; where three does not divide their number, the first thirds have one more. ``miou_head`` and
so on: mean IoU over the classes of that third that occur in the truth or in the prediction.

*Size*: of every (image, class) pair of the truth, by the share of the image's pixels that the class takes there:
small below 5 %, medium below 20 %, else large. Pixels are counted within those images alone: for a class and a size,
intersection and union are summed over the images in which the class has that size, so false positives in such an image
count and those in images without the class do not. ``iou_size_small`` and so on: mean over the classes that occur in
that size of intersection over union.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wsss.data.index import Index
from wsss.evaluate.confusion import class_scores, plain

THIRDS = ("head", "middle", "tail")
SIZES = ("small", "medium", "large")
BOUNDS = (0.05, 0.20)
"""Shares of an image at which the next size begins."""


def thirds(index: Index) -> tuple[tuple[int, ...], ...]:
    """The classes, from 0, of head, middle and tail; empty for fewer than three classes."""
    if len(index.classes) < len(THIRDS):
        return ()
    tagged = np.bincount([c for item in index.split("train") for c in item.labels], minlength=len(index.classes))
    order = np.argsort(-tagged, kind="stable")
    return tuple(tuple(part.tolist()) for part in np.array_split(order, len(THIRDS)))


def size_of(share: np.ndarray | float) -> np.ndarray:
    """0 small, 1 medium, 2 large for shares of an image.

    Examples:
        >>> size_of(np.array([0.01, 0.1, 0.5]))
        array([0, 1, 2])
    """
    return np.searchsorted(BOUNDS, share, side="right")


def no_sizes(classes: int) -> np.ndarray:
    """An empty count: int64 (3, C, 2), intersection and union in pixels by size and class."""
    return np.zeros((len(SIZES), classes, 2), np.int64)


def count_sizes(sizes: np.ndarray, matrix: np.ndarray, pixels: int, unlabelled: np.ndarray | int = 0) -> None:
    """Add one image to ``sizes``: its confusion matrix (C+1, C+1), and the number of its pixels, ignored ones too;
    ``unlabelled`` (C+1,): true pixels of each class that the prediction leaves out.

    Examples:
        >>> sizes = no_sizes(classes=1)
        >>> count_sizes(sizes, np.array([[90, 2], [3, 5]]), pixels=100)  # 8 % of the image: medium
        >>> sizes[1, 0]  # intersection and union
        array([ 5, 10])
    """
    true = (matrix.sum(axis=1) + unlabelled)[1:]
    classes = np.flatnonzero(true)
    both = np.diagonal(matrix)[1:]
    union = true + matrix.sum(axis=0)[1:] - both
    sizes[size_of(true[classes] / pixels), classes] += np.stack([both, union], axis=1)[classes]


def breakdown(
    index: Index, matrix: np.ndarray, sizes: np.ndarray, unlabelled: np.ndarray | int = 0
) -> dict[str, float | None]:
    """The metrics above as fractions.

    ``matrix`` (C+1, C+1) and ``unlabelled`` (C+1,) over a split, ``sizes`` as :func:`count_sizes` leaves them. None
    where nothing of a third or size occurs; the thirds are left out for fewer than three classes.
    """
    iou = class_scores(matrix, unlabelled)["iou"][1:]
    found: dict[str, Any] = {}
    for name, classes in zip(THIRDS, thirds(index), strict=False):
        found[f"miou_{name}"] = _mean(iou[list(classes)])
    with np.errstate(invalid="ignore"):
        shares = sizes[..., 0] / sizes[..., 1]
    return found | {f"iou_size_{name}": _mean(row) for name, row in zip(SIZES, shares, strict=True)}


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return plain(known.mean()) if len(known) else None
