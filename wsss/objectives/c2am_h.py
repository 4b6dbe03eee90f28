"""C2AM-H (David et al. 2024): C2AM with hints. L = L_C2AM + w_h L_h.

Where class activation maps are sure of an object, the disentangler is told that it is foreground; that also settles
which of its two sides is which. Only the foreground is hinted at: what the maps leave out may well be an object.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from wsss.compute.collectives import batch_mean
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.models.backbone import input_size
from wsss.models.disentangler import Disentangled
from wsss.objectives import c2am
from wsss.settings import C2amHSettings

VERSION = 1
STRONGEST = 254
"""Strength of a hint that stands for 1."""


def hinted(strengths: torch.Tensor, size: tuple[int, int], threshold: float) -> torch.Tensor:
    """The hinted set: bool (B, 1, h, w), where a hint map resized to the grid (bicubic, as published) reaches the
    threshold.

    Args:
        strengths: (B, H, W), q times 254, or 255 outside the image; cells that reach outside are never hinted.
        size: (h, w).
        threshold: In [0, 1].
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
        sure = hinted(batch.targets, input_size(seen.logits), s.hint_threshold)
        return {"hints": s.hint_weight * hint_loss(seen.logits, sure, s.label_smoothing)}
