"""Whether maps lie on the objects: energy pointing game, and mean IoU as seeds of masks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.evaluate.confusion import class_scores, plain
from wsss.evaluate.thresholds import ThresholdCounts, best_threshold
from wsss.explain import postprocess

THRESHOLDS = np.arange(0.05, 0.801, 0.05).round(2)
"""Background scores that seeds are read at (P-NOC)."""


def energy(masks: torch.Tensor, regions: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Energy pointing game (Wang et al. 2020, Score-CAM, section 4.3): the share of a map's sum inside the object.

    Args:
        masks: Maps (R, H, W), not negative.
        regions: Pixels of the object, bool (R, H, W).
        valid: Pixels that count, bool (R, H, W); None: all.

    Returns:
        fp64 (R,) in [0, 1]: 0 for a map that is zero everywhere, NaN where there is no pixel of the object.
    """
    valid = torch.ones_like(regions) if valid is None else valid
    masks = torch.where(valid, masks.double(), 0)
    regions = regions & valid
    whole = masks.sum((1, 2))
    share = torch.where(regions, masks, 0).sum((1, 2)) / torch.where(whole > 0, whole, 1)
    return torch.where(regions.flatten(1).any(1), share, torch.nan)


def seed_maps(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Raw maps (R, h, w) as seeds fp32 (R, H, W) in [0, 1): ReLU, resized, over the maximum (P-NOC)."""
    return postprocess.relu_max(postprocess.resize(maps.float().relu(), size))


def count_seeds(counts: ThresholdCounts, maps: torch.Tensor, classes: torch.Tensor, truth: np.ndarray) -> None:
    """Add an image: its raw maps (n, h, w), their classes int64 (n,) from 0, and its ground-truth mask (H, W), where 0
    is background, c + 1 class c and 255 is left out."""
    size = truth.shape
    made = seed_maps(maps, size) if len(maps) else torch.zeros(0, *size)
    counts.add(made.cpu().numpy(), classes.cpu().numpy(), truth)


def seed_scores(
    calibration: ThresholdCounts, scored: ThresholdCounts, absent: Literal["skip", "zero"] = "skip"
) -> dict[str, Any]:
    """Mean IoU of seeds at the threshold that is best on other images, and at the one that is best on these.

    Args:
        calibration: Counts of the images that the threshold is chosen on (some of the training set).
        scored: Counts of the images that are reported, for the same thresholds.
        absent: Classes that are neither true nor predicted are left out of the mean, or count as 0 (P-NOC).

    Returns:
        ``seed_threshold``, ``seed_miou`` (background included), ``seed_miou_fg`` (without), ``seed_calibration_images``
        and ``seed_images``; ``seed_oracle_threshold`` and ``seed_oracle_miou``: chosen on the scored images themselves,
        an upper bound and no result. Fractions; None where nothing can be said.

    Raises:
        WsssError: Counts for different thresholds or classes, or nothing to calibrate on.
    """
    if not np.array_equal(calibration.thresholds, scored.thresholds) or calibration.counts.shape != scored.counts.shape:
        raise WsssError("seeds are counted for different thresholds or classes; count both alike")
    chosen = best_threshold(_means(calibration, absent)[0])
    both, objects = _means(scored, absent)
    oracle = None if np.isnan(both).all() else best_threshold(both)
    return {
        "seed_threshold": plain(scored.thresholds[chosen]),
        "seed_miou": plain(both[chosen]),
        "seed_miou_fg": plain(objects[chosen]),
        "seed_oracle_threshold": None if oracle is None else plain(scored.thresholds[oracle]),
        "seed_oracle_miou": None if oracle is None else plain(both[oracle]),
        "seed_calibration_images": calibration.images,
        "seed_images": scored.images,
    }


def region_of(truth: np.ndarray, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels of classes (n,) and pixels that count, both bool (n, H, W), in a ground-truth mask (H, W)."""
    at = torch.as_tensor(np.asarray(truth).astype(np.int64), device=classes.device)[None]
    return at == classes[:, None, None] + 1, (at != IGNORE).expand(len(classes), -1, -1)


def _means(counts: ThresholdCounts, absent: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean IoU with and without background for every threshold, float64 (T,)."""
    if absent not in ("skip", "zero"):
        raise WsssError(f"absent {absent!r}: there are skip and zero")
    iou = class_scores(counts.confusions())["iou"]
    if absent == "zero":
        iou = np.nan_to_num(iou)
    return _mean(iou), _mean(iou[:, 1:])


def _mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(1)
    return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)
