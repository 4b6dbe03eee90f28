"""Confusion matrices and what is read from them.

A confusion matrix here is int64 (C+1, C+1), rows the truth, columns the prediction, index 0 the background, counted
in pixels over all images of a split together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wsss.data.palette import IGNORE
from wsss.errors import WsssError


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix of one image.

    ``truth``, ``prediction``: integers (H, W); pixels whose truth is 255 are left out; ``classes``: number of object
    classes C. Raises :class:`WsssError` for shapes that differ and values outside 0 to C (255 is no prediction).

    Examples:
        >>> truth, prediction = np.array([[0, 1, 1, 255]]), np.array([[0, 1, 0, 1]])
        >>> confusion(truth, prediction, classes=1)
        array([[1, 0],
               [1, 1]])
    """
    if truth.shape != prediction.shape:
        raise WsssError(f"the ground-truth mask is {by(truth.shape)} pixels, the prediction {by(prediction.shape)}")
    valid = truth != IGNORE
    truth, prediction = truth[valid].astype(np.int64), prediction[valid].astype(np.int64)
    for name, values in (("ground-truth mask", truth), ("prediction", prediction)):
        if values.size and not 0 <= values.min() <= values.max() <= classes:
            wrong = sorted(set(np.unique(values).tolist()) - set(range(classes + 1)))
            raise WsssError(
                f"the {name} holds the values {wrong}; allowed are 0 to {classes} (and 255 in a ground-truth mask)"
            )
    side = classes + 1
    return np.bincount(truth * side + prediction, minlength=side * side).reshape(side, side)


def mask_confusion(truth: np.ndarray, mask: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Confusion matrix of a mask that may leave pixels out, and what it left out.

    ``truth``, ``mask``: integers (H, W); in both 255 is no label, and pixels whose truth is 255 do not count;
    ``classes``: number of object classes C. Returns int64 (C+1, C+1) of the pixels with a label in both, and int64
    (C+1,): the pixels of each true label that the mask left out. Raises :class:`WsssError` as ``confusion`` does.

    Examples:
        >>> matrix, unlabelled = mask_confusion(np.array([[0, 1, 1, 255]]), np.array([[0, 1, 255, 1]]), classes=1)
        >>> matrix
        array([[1, 0],
               [0, 1]])
        >>> unlabelled
        array([0, 1])
    """
    left_out = mask == IGNORE
    matrix = confusion(truth, np.where(left_out, 0, mask), classes)
    unlabelled = np.bincount(truth[left_out & (truth != IGNORE)], minlength=classes + 1)
    matrix[:, 0] -= unlabelled
    return matrix, unlabelled


def class_scores(matrix: np.ndarray, unlabelled: np.ndarray | int = 0) -> dict[str, np.ndarray]:
    """Scores of every class from confusion matrices (..., C+1, C+1): float64 (..., C+1), fractions.

    With T true pixels, P predicted and TP both: ``iou`` TP/(T+P-TP), ``precision`` TP/P, ``recall`` TP/T,
    ``f1`` 2TP/(T+P), ``fp`` (P-TP)/(T+P-TP) and ``fn`` (T-TP)/(T+P-TP) (over- and under-activation as shares of the
    union). A class that occurs neither in the truth nor in the prediction has NaN throughout; precision is 0 where a
    class is never predicted but true somewhere, recall is 0 where it is predicted but nowhere true. ``unlabelled``
    (..., C+1): true pixels of each class that the prediction leaves out; they count as true and not predicted.

    Examples:
        >>> scores = class_scores(np.array([[6, 2], [1, 3]]))
        >>> scores["iou"], scores["recall"]  # background 6 of 9, object 3 of 6
        (array([0.66666667, 0.5       ]), array([0.75, 0.75]))
    """
    matrix = np.asarray(matrix, np.float64)
    both = np.diagonal(matrix, axis1=-2, axis2=-1)
    true, predicted = matrix.sum(axis=-1) + unlabelled, matrix.sum(axis=-2)
    union = true + predicted - both
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = {
            "iou": both / union,
            "precision": np.where(predicted > 0, both / predicted, 0.0),
            "recall": np.where(true > 0, both / true, 0.0),
            "f1": 2 * both / (true + predicted),
            "fp": (predicted - both) / union,
            "fn": (true - both) / union,
        }
    return {name: np.where(union > 0, values, np.nan) for name, values in scores.items()}


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Mean IoU, background included, over the classes that occur in truth or prediction; (..., C+1, C+1) to (...).

    Examples:
        >>> round(float(mean_iou(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]))), 3)  # an absent class does not count
        0.583
    """
    return _mean(class_scores(matrix)["iou"])


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        total: np.ndarray = np.where(known, values, 0).sum(axis=-1)
        return total / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)


def metrics(matrix: np.ndarray, classes: tuple[str, ...], unlabelled: np.ndarray | int = 0) -> dict[str, Any]:
    """All scores of one confusion matrix as fractions; NaN becomes None.

    ``miou`` (background included), ``miou_fg`` (without), ``precision``, ``recall``, ``f1`` (means over the same
    classes as ``miou``), ``pixel_accuracy``, ``fp_rate`` and ``fn_rate`` (means over object classes), and
    ``per_class``: name to iou, precision, recall, f1, with ``background`` first. Means run over the classes that occur
    in the truth or in the prediction. ``unlabelled`` (C+1,) as for :func:`class_scores`; where there is any,
    ``unlabelled`` is the share of the pixels that is left out, and ``miou_labelled`` the mean IoU on the others.

    Examples:
        >>> found = metrics(np.array([[6, 2], [0, 2]]), ("cat",))
        >>> found["miou"], found["pixel_accuracy"], found["per_class"]["cat"]["iou"]
        (0.625, 0.8, 0.5)
    """
    scores = class_scores(matrix, unlabelled)
    total = matrix.sum() + np.sum(unlabelled)
    result: dict[str, Any] = {
        "miou": _mean(scores["iou"]),
        "miou_fg": _mean(scores["iou"][1:]),
        "precision": _mean(scores["precision"]),
        "recall": _mean(scores["recall"]),
        "f1": _mean(scores["f1"]),
        "pixel_accuracy": np.trace(matrix) / total if total else np.nan,
        "fp_rate": _mean(scores["fp"][1:]),
        "fn_rate": _mean(scores["fn"][1:]),
    }
    if np.any(unlabelled):
        result |= {"unlabelled": np.sum(unlabelled) / total, "miou_labelled": mean_iou(matrix)}
    result = {name: plain(value) for name, value in result.items()}
    result["per_class"] = {
        name: {metric: plain(scores[metric][c]) for metric in ("iou", "precision", "recall", "f1")}
        for c, name in enumerate(("background", *classes))
    }
    return result


def by(shape: tuple[int, ...]) -> str:
    """``375 x 500``.

    Examples:
        >>> by((375, 500))
        '375 x 500'
    """
    return " x ".join(map(str, shape))


def plain(value: Any) -> float | None:
    """A float for JSON: NaN, which JSON does not know, becomes None.

    Examples:
        >>> plain(float("nan")), plain(0.5)
        (None, 0.5)
    """
    value = float(value)
    return None if np.isnan(value) else value
