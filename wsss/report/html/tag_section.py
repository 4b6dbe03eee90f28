"""The section on the classifier's tags: precision against recall, and whether its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wsss.data.index import Index
from wsss.evaluate.classification import average_precision
from wsss.report.html.charts import SERIES, Line, Mark, line_chart
from wsss.report.html.render import Content
from wsss.report.tables import Table

BINS = 10
"""Of equal width, from probability 0 to 1."""


def tags(index: Index, classifier: str, probabilities: Mapping[str, np.ndarray]) -> Content | None:
    """``charts``: precision against recall of each class (of more than seven, the worst), and reliability;
    ``classes``: a table; ``name``: the classifier; ``error``: its expected calibration error in percent. None without
    predictions of tagged images.

    ``probabilities``: id to float (C,).
    """
    items = [item for item in index.items if item.id in probabilities and item.labels]
    if not items:
        return None
    truth = np.array([[c in item.labels for c in range(len(index.classes))] for item in items])
    said = np.stack([probabilities[item.id] for item in items])
    found = {c: average_precision(truth[:, c], said[:, c]) for c in np.flatnonzero(truth.any(axis=0)).tolist()}
    worst = sorted(found, key=lambda c: found[c])
    lines = []
    for series, c in enumerate(sorted(worst[:SERIES])):
        recall, precision = precision_recall(truth[:, c], said[:, c])
        lines.append(Line(f"{index.classes[c]}, AP {100 * found[c]:.1f}", recall, precision, series))
    middle, share, count = reliability(truth.ravel(), said.ravel())
    marks = [
        Mark(x, y, "dot", f"{n} pairs of image and class with {100 * x:.0f} %: {100 * y:.0f} % have the tag")
        for x, y, n in zip(middle, share, count, strict=True)
    ]
    ideal = Line("as it should be", [0.0, 1.0], [0.0, 1.0], 6, thin=True)
    charts = [
        line_chart(lines, "Precision against recall", "recall", "precision, %", percent=True, beside=[ideal]),
        line_chart(
            [Line(classifier, middle.tolist(), share.tolist(), 0, marks), ideal],
            "Reliability", "mean probability of a bin", "share with the tag, %", percent=True,
        ),
    ]  # fmt: skip
    rows = [[index.classes[c], f"{100 * found[c]:.1f}", int(truth[:, c].sum())] for c in worst]
    return {
        "name": classifier,
        "images": len(items),
        "charts": [chart for chart in charts if chart is not None],
        "error": f"{100 * float((count * np.abs(middle - share)).sum() / count.sum()):.1f}",
        "left_out": max(0, len(worst) - SERIES),
        "classes": Table(["class", "AP", "images with the tag"], rows),
    }


def precision_recall(truth: np.ndarray, score: np.ndarray) -> tuple[list[float], list[float]]:
    """Recall and precision above each distinct score, the highest first; what precision is at recall 0 is not defined
    and is left out.

    ``truth``: bool (N,) with a positive; ``score``: (N,).

    Examples:
        >>> precision_recall(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
        ([0.5, 0.5, 1.0], [1.0, 0.5, 0.6666666666666666])
    """
    order = np.argsort(-score, kind="stable")
    truth, score = truth[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = truth.cumsum()[last]
    return (hits / truth.sum()).tolist(), (hits / (last + 1)).tolist()


def reliability(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share of positives and number of values of every bin that has any (Guo et al. 2017, for each
    class by itself: probabilities here are of tags that do not exclude each other).

    ``truth``: bool (N,); ``probability``: (N,) in [0, 1].

    Examples:
        >>> reliability(np.array([False, True, True]), np.array([0.02, 0.04, 1.0]))
        (array([0.03, 1.  ]), array([0.5, 1. ]), array([2, 1]))
    """
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    used = count > 0
    sums = np.bincount(place, probability, BINS), np.bincount(place, truth.astype(np.float64), BINS)
    middle, share = (total[used] / count[used] for total in sums)
    return middle, share, count[used]
