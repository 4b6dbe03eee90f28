"""C2AM-H (David et al. 2024): C2AM with hints. L = L_C2AM + w_h L_h.

Where class activation maps are sure of an object, the disentangler is told that it is foreground; that also settles
which of its two sides is which. Only the foreground is hinted at: what the maps leave out may well be an object.

How sure is a threshold, the published constant or Otsu's of each map (this project's choice): a map of an image is
above its own threshold there, whatever its values are elsewhere. A training sees only a part of an image, so the
thresholds are taken of whole maps, before it, and travel in the strengths.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from wsss.compute.collectives import batch_mean
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.models.backbone import input_size
from wsss.models.disentangler import Disentangled
from wsss.objectives import c2am
from wsss.refine.thresholds import otsu_of_each
from wsss.settings import C2amHSettings

VERSION = 1
STRONGEST = 254
"""Strength of a hint that stands for 1."""
HALF = STRONGEST // 2
"""Least strength of a pixel that exceeds Otsu's threshold of its map."""
MIDDLE = (HALF - 0.5) / STRONGEST
"""The threshold of strengths that were bent by Otsu's; half a step below 127, so that rounding parts no plane."""


def strengths(maps: np.ndarray, threshold: float | Literal["otsu"]) -> np.ndarray:
    """Strengths of an image's hints, uint8 (H, W): the largest of its maps, 0 to 254 for 0 to 1.

    With ``otsu``, every map v is first bent so that its own threshold t (Otsu 1979) comes to lie in the middle:

        b(v) = 126 v / t for v <= t,    b(v) = 127 + 127 (v - t) / (1 - t) for v > t.

    What is at or below its threshold is so at most 126, and what exceeds it at least 127: ``MIDDLE`` parts the pixels
    at which a map exceeds its threshold from the others. A map that cannot be parted hints at nothing.

    Args:
        maps: float32 (n, H, W), n may be 0; values outside [0, 1] count as 0 or 1.
        threshold: Of the settings; a number changes nothing here.

    Examples:
        >>> maps = np.float32([[[0.0, 0.25, 0.625, 1.0]], [[0.5, 0.0, 0.0, 0.0]]])
        >>> strengths(maps, 0.4)
        array([[127,  64, 159, 254]], dtype=uint8)
        >>> strengths(maps, "otsu")  # thresholds 1/4 and 1/64
        array([[189, 126, 190, 254]], dtype=uint8)
    """
    maps = np.clip(maps, 0, 1)
    if threshold != "otsu":
        whole: np.ndarray = (maps.max(axis=0, initial=0) * STRONGEST).round().astype(np.uint8)
        return whole
    limits = otsu_of_each(maps)[:, None, None]
    below = (HALF - 1) * (maps / limits)
    above = HALF + HALF * ((maps - limits) / np.maximum(1 - limits, np.finfo(np.float32).tiny))
    bent: np.ndarray = np.where(maps > limits, above, below).max(axis=0, initial=0).round().astype(np.uint8)
    return bent


def hinted(strengths: torch.Tensor, size: tuple[int, int], threshold: float) -> torch.Tensor:
    """The hinted set: bool (B, 1, h, w), where a hint map resized to the grid (bicubic, as published) reaches the
    threshold.

    Args:
        strengths: (B, H, W), q times 254, or 255 outside the image; cells that reach outside are never hinted.
        size: (h, w).
        threshold: In [0, 1]; ``MIDDLE`` where Otsu's bent the strengths.
    """
    strengths = strengths[:, None]
    outside = (strengths == IGNORE).float()
    q = F.interpolate(strengths * (1 - outside) / STRONGEST, size=size, mode="bicubic", align_corners=False)
    return (q >= threshold) & (F.adaptive_max_pool2d(outside, size) == 0)


def hint_loss(logits: torch.Tensor, hinted: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Mean over the hinted set of the whole batch (on all devices) of BCE-with-logits to 1 - a/2, in fp32; 0 where no
    cell is hinted.

    The thesis writes a sum, the published code takes the mean, and only the mean goes with a weight of 1.

    Args:
        logits: P (B, 1, h, w).
        hinted: bool (B, 1, h, w).
        label_smoothing: a.
    """
    target = torch.full_like(logits, 1 - label_smoothing / 2, dtype=torch.float32)
    each = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return batch_mean((each * hinted).sum(), hinted.sum())


class C2amH(c2am.C2am):
    """See the module's text. The batch's masks hold the strengths of the hints."""

    settings: C2amHSettings

    def further(self, seen: Disentangled, batch: Batch) -> dict[str, torch.Tensor]:
        s = self.settings
        threshold = MIDDLE if s.hint_threshold == "otsu" else s.hint_threshold
        sure = hinted(batch.targets, input_size(seen.logits), threshold)
        return {"hints": s.hint_weight * hint_loss(seen.logits, sure, s.label_smoothing)}
