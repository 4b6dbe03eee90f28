"""Audits of many images put together: means, rates, and what attacked maps do to the seeds of pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

import numpy as np

from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain.metrics.localisation import THRESHOLDS, seed_scores

MEASURED = (
    "agreement", "region_iou", "miou_change", "linf", "rms", "psnr", "ssim", "cosine_clean", "cosine_target",
    "spearman", "top_kept", "shift", "shift_px", "mass_target",
)  # fmt: skip
COLUMNS = ("image", "class", "eps", "goal", "condition", *MEASURED, "zero_map", "success", "steerable")
"""Of ``audit.csv``."""
CONDITIONS = ("attack", "noise", "shuffled")


def summary(rows: Sequence[dict[str, Any]], sizes: Iterable[float]) -> list[dict[str, Any]]:
    """For each eps: ``eps``, ``fragility`` (1 - rank correlation under noise), and by condition the means of
    ``MEASURED``, ``success`` and ``zero_map_rate``, means over images; None where nothing can be said. Beside them
    ``clean``: the same of the clean images."""
    clean = _means([row for row in rows if row["condition"] == "clean"])
    found = []
    for size in sizes:
        by = {
            condition: _means([row for row in rows if row["condition"] == condition and row["eps"] == size])
            for condition in CONDITIONS
        }
        noise = by["noise"]["spearman"]
        found.append({"eps": size, "fragility": None if noise is None else 1 - noise, "clean": clean, **by})
    return found


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    found = {name: _mean([row[name] for row in rows]) for name in (*MEASURED, "success")}
    return {**found, "zero_map_rate": _mean([row["zero_map"] for row in rows])}


def _mean(values: Iterable[float | bool | None]) -> float | None:
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return mean(known) if known else None


def seeds_by_size(
    counted: Sequence[dict[str, list[list[int]]]], sizes: Iterable[float], classes: int
) -> dict[str, Any] | None:
    """Mean IoU of seeds made of the maps of each condition, at the ``threshold`` that is best for the clean maps of the
    same images: ``miou``, condition and eps -> a fraction; None where nothing was counted.

    Args:
        counted: Of each image, condition and eps -> positions and numbers in the counts.
        sizes: Eps.
        classes: Number of object classes.
    """
    keys = ["clean 0", *(f"{condition} {size:g}" for size in sizes for condition in CONDITIONS)]
    if not any(counted):
        return None
    added = {key: _added([each[key] for each in counted if key in each], classes) for key in keys}
    scores = {key: seed_scores(added["clean 0"], one) for key, one in added.items()}
    miou = {key.removesuffix(" 0"): one["seed_miou"] for key, one in scores.items()}
    return {"threshold": scores["clean 0"]["seed_threshold"], "images": added["clean 0"].images, "miou": miou}


def _added(counted: Iterable[list[list[int]]], classes: int) -> ThresholdCounts:
    counts = ThresholdCounts(THRESHOLDS, classes)
    flat = counts.counts.reshape(-1)
    for at, numbers in counted:
        flat[at] += np.asarray(numbers, np.int64)
        counts.images += 1
    return counts
