"""Scores of a multi-label classifier from its probabilities, against the image tags."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from wsss.errors import WsssError
from wsss.evaluate.confusion import plain


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """Sum over distinct scores, from the highest, of (recall gained) x (precision there).

    ``truth``: bool (N,); ``score``: (N,). Images of equal score enter together, so their order cannot matter. No
    interpolation. NaN without a positive.

    Examples:
        >>> round(average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7])), 3)  # 1/2 x 1 + 1/2 x 2/3
        0.833
    """
    positives = int(truth.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    truth, score = truth[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = truth.cumsum()[last]
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / (last + 1)).sum() / positives)


def roc_auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counting one half (Mann-Whitney). NaN if one is missing.

    Examples:
        >>> roc_auc(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))  # one of two pairs in the right order
        0.5
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    _, where, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (count.cumsum() - (count - 1) / 2)[where]  # mean rank of those tied, from 1
    return float((rank[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def classification_metrics(truth: np.ndarray, probability: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """All scores as fractions; NaN becomes None.

    ``truth``: bool (N, C); ``probability``: (N, C). ``map`` mean over classes of the average precision, ``auc`` of the
    area under the ROC curve, both over the classes for which they are defined; ``precision``, ``recall``, ``f1``: means
    over classes at p > 0.5, over classes that are tagged or predicted somewhere (0 where a denominator is 0);
    ``per_class``: name to ap, auc, precision, recall, f1.

    Examples:
        >>> truth = np.array([[True, False], [False, True]])
        >>> found = classification_metrics(truth, np.array([[0.9, 0.6], [0.2, 0.7]]), ("cat", "dog"))
        >>> found["map"], found["per_class"]["dog"]["precision"]  # one of two is a dog
        (1.0, 0.5)
    """
    predicted = probability > 0.5
    both, tagged, called = (truth & predicted).sum(axis=0), truth.sum(axis=0), predicted.sum(axis=0)
    occurs = (tagged + called) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        table = {
            "ap": np.array([average_precision(truth[:, c], probability[:, c]) for c in range(len(classes))]),
            "auc": np.array([roc_auc(truth[:, c], probability[:, c]) for c in range(len(classes))]),
            "precision": np.where(occurs, np.where(called > 0, both / called, 0.0), np.nan),
            "recall": np.where(occurs, np.where(tagged > 0, both / tagged, 0.0), np.nan),
            "f1": np.where(occurs, 2 * both / (tagged + called), np.nan),
        }
    result: dict[str, Any] = {}
    for metric, name in (("ap", "map"), ("auc", "auc"), ("precision", "precision"), ("recall", "recall"), ("f1", "f1")):
        known = table[metric][~np.isnan(table[metric])]
        result[name] = plain(known.mean()) if len(known) else None
    result["per_class"] = {name: {m: plain(v[c]) for m, v in table.items()} for c, name in enumerate(classes)}
    return result


def read_predictions(path: Path, classes: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Read ``predictions.csv``: columns id, split, then one probability a class in the index's order.

    Returns split to id to float64 (C,). Raises :class:`WsssError` for other columns, a repeated id, or values outside
    [0, 1].
    """
    result: dict[str, dict[str, np.ndarray]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != ["id", "split", *classes]:
                raise WsssError(f"{path}: columns must be id,split,{','.join(classes)}; train the classifier again")
            for id, split, *values in rows:
                probability = np.array(values, np.float64)
                if probability.shape != (len(classes),) or not ((probability >= 0) & (probability <= 1)).all():
                    raise WsssError(
                        f"{path}: image {id!r} has no {len(classes)} probabilities; train the classifier again"
                    )
                if id in result.setdefault(split, {}):
                    raise WsssError(f"{path}: image {id!r} stands twice; train the classifier again")
                result[split][id] = probability
    except OSError as error:
        raise WsssError(f"{path} cannot be read ({error}); train the classifier first") from None
    except ValueError as error:
        raise WsssError(f"{path}: {error}; train the classifier again") from None
    return result
