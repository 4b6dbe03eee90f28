"""How much a pseudo-label is to be doubted, without ground truth.

Four signs, each in 0..1:

- disagreement: one minus the IoU of the objects with those of another recipe, mean over the other recipes
- unsure: share of the pixels that the mask leaves out (255)
- faint: how far the weakest tag's CAM peaks below the median peak of its class
- lost: share of the tags that have no pixel; one with fewer than ``TINY`` of the image counts half

One sign is enough: doubt = 1 - (1 - disagreement)(1 - unsure)(1 - faint / 2)(1 - lost). A faint map counts half, for
the classifier may be right all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsss.data.palette import IGNORE

TINY = 0.005
"""Share of an image below which a tag's pixels are few."""


@dataclass(frozen=True)
class Signs:
    """The signs of one image, each in 0..1, and the mask values of tags without pixels and with few."""

    disagreement: float
    unsure: float
    faint: float
    absent: tuple[int, ...]
    tiny: tuple[int, ...]
    tags: int

    @property
    def lost(self) -> float:
        """Share of the tags without pixels; those with few count half."""
        return (len(self.absent) + len(self.tiny) / 2) / max(1, self.tags)

    @property
    def doubt(self) -> float:
        """All signs as one number in 0..1."""
        return 1 - (1 - self.disagreement) * (1 - self.unsure) * (1 - self.faint / 2) * (1 - self.lost)


def signs_of(
    mask: np.ndarray,
    tags: Sequence[int],
    others: Sequence[np.ndarray] = (),
    peaks: Mapping[int, float] | None = None,
    usual: Mapping[int, float] | None = None,
) -> Signs:
    """The signs of one image.

    Args:
        mask: uint8 (H, W), the pseudo-label; 255 left out.
        tags: Mask values of the image's tags, from 1.
        others: uint8 (H, W) each, the masks of other recipes.
        peaks: Mask value of a tag to the largest value of its raw CAM.
        usual: Mask value to the median of these over all images.
    """
    areas = {tag: int((mask == tag).sum()) for tag in tags}
    faint = [1 - peak / usual[tag] for tag, peak in (peaks or {}).items() if usual and usual.get(tag, 0) > 0]
    return Signs(
        disagreement=float(np.mean([_difference(mask, other) for other in others])) if len(others) else 0.0,
        unsure=float((mask == IGNORE).mean()),
        faint=min(1.0, max(0.0, *faint, 0.0)),
        absent=tuple(tag for tag, area in areas.items() if not area),
        tiny=tuple(tag for tag, area in areas.items() if 0 < area < TINY * mask.size),
        tags=len(tags),
    )


def _difference(mask: np.ndarray, other: np.ndarray) -> float:
    """One minus the share of the pixels with an object in either mask that have the same one in both."""
    objects, others = (mask > 0) & (mask < IGNORE), (other > 0) & (other < IGNORE)
    either = int((objects | others).sum())
    return 1 - int((objects & (mask == other)).sum()) / either if either else 0.0
