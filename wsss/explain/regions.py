"""What is asked of a segmentation network: which classes, and which pixels stand for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.explain.targets import Rows, Target, of_every
from wsss.settings.explaining import REGIONS

SCORES = ("logit", "probability", "iou", "f1")


@dataclass(frozen=True, eq=False)
class Regions(Target):
    """T_c(M) = sum over the pixels M of the scores Y_c, before softmax.

    M is fixed from the unperturbed prediction and never asked for again while a method perturbs. A class without pixels
    has T = 0 and a zero map; ``predicted`` classes always have some.

    Args:
        classes: Output channels that are explained: ``predicted`` for those that the prediction of the image has,
            ``inside`` for those that it has within the region (with masks of classes: those that the masks have), or
            numbers, the same for all images and in this order.
        where: M. ``predicted``: argmax is c; ``confident``: and its probability is at least 0.5; ``given``: ``masks``;
            ``largest``, ``smallest``: that 8-connected component of the prediction; ``pixel``: the pixel ``at``;
            ``box``: the box ``at``; ``image``: every pixel.
        masks: For ``given``, of any size (resized by nearest): int (B, H, W) of class numbers, 255 standing for unknown
            (ground truth or pseudo-labels), or bool (B, H, W), the same pixels for every class.
        at: (y, x), or (top, left, bottom, right) with the last two outside the box, in pixels of the output.
        reduction: ``mean`` divides T by the number of pixels: for comparisons between images.
        background: Whether ``predicted`` and ``inside`` classes include channel 0.
    """

    classes: Sequence[int] | Literal["predicted", "inside"] = "predicted"
    where: REGIONS = "predicted"
    masks: torch.Tensor | None = None
    at: tuple[int, ...] | None = None
    reduction: Literal["sum", "mean"] = "sum"
    background: bool = False
    perturbed = "iou"

    def __post_init__(self) -> None:
        if self.where not in get_args(REGIONS):
            raise WsssError(f"region {self.where!r}: there are {', '.join(get_args(REGIONS))}")
        if self.where == "given" and self.masks is None:
            raise WsssError("the region 'given' needs masks")
        wanted = {"pixel": 2, "box": 4}.get(self.where)
        if wanted is not None and len(self.at or ()) != wanted:
            raise WsssError(f"the region {self.where!r} needs 'at' with {wanted} numbers, in pixels")

    def rows(self, output: torch.Tensor, single_label: bool = False) -> Rows:
        self._check(output)
        labels = output.argmax(1)
        if isinstance(self.classes, str):
            there = labels if self.classes == "predicted" else self._inside(output, labels)
            wanted = torch.stack([(there == c).flatten(1).any(1) for c in range(output.shape[1])], 1)
            wanted[:, 0] &= self.background
            image_idx, class_idx = wanted.nonzero(as_tuple=True)
        else:
            outside = [c for c in self.classes if not 0 <= c < output.shape[1]]
            if outside:
                raise WsssError(f"class {outside[0]} is asked for, the network has classes 0 to {output.shape[1] - 1}")
            image_idx, class_idx = of_every(len(output), self.classes, output.device)
        masks, valid = self._regions(output, labels, image_idx, class_idx)
        return Rows(image_idx, class_idx, None, masks, valid)

    def _regions(
        self, output: torch.Tensor, labels: torch.Tensor, image_idx: torch.Tensor, class_idx: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        region = labels[image_idx] == class_idx[:, None, None]
        if self.where == "given":
            masks = self._given(output)[image_idx]
            if masks.dtype == torch.bool:
                return masks, None
            return masks == class_idx[:, None, None], masks != 255
        if self.where == "confident":
            region &= output.float().softmax(1)[image_idx, class_idx] >= 0.5
        elif self.where in ("largest", "smallest"):
            region = torch.stack([component(each, self.where) for each in region]) if len(region) else region
        elif self.where == "image":
            region = torch.ones_like(region)
        elif self.where in ("pixel", "box"):
            region = torch.zeros_like(region)
            region[(slice(None), *self._window(output))] = True
        return region, None

    def _inside(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What is looked through for classes (B, n, m): class numbers within the region, 255 for none."""
        if self.where in ("pixel", "box"):
            return labels[(slice(None), *self._window(output))]
        if self.where != "given":
            return labels
        masks = self._given(output)
        return labels.masked_fill(~masks, 255) if masks.dtype == torch.bool else masks

    def _given(self, output: torch.Tensor) -> torch.Tensor:
        """``masks`` at the size of the output, bool or fp32 (B, H', W')."""
        assert self.masks is not None  # __post_init__ refuses it
        masks = self.masks.to(output.device)
        if masks.ndim != 3 or len(masks) != len(output):
            raise WsssError(f"masks are (images, height, width), these are {tuple(masks.shape)}")
        resized = F.interpolate(masks[:, None].float(), size=output.shape[2:], mode="nearest")[:, 0]
        return resized > 0 if masks.dtype == torch.bool else resized

    def _window(self, output: torch.Tensor) -> tuple[slice, slice]:
        """Rows and columns of ``at``."""
        assert self.at is not None  # __post_init__ refuses it
        top, left, *end = self.at
        bottom, right = end or (top + 1, left + 1)
        height, width = output.shape[2:]
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise WsssError(f"{self.where} {self.at} is outside the output of {(height, width)} pixels")
        return slice(top, bottom), slice(left, right)

    def score(self, output: torch.Tensor, rows: Rows, kind: str = "logit", single_label: bool = False) -> torch.Tensor:
        """``logit``: T (sum or mean); ``probability``: mean softmax probability over M; ``iou`` and ``f1``: of the
        class's predicted pixels with M, 0 where both are empty."""
        self._check(output)
        if kind not in SCORES:
            raise WsssError(f"score {kind!r}: for regions there are {', '.join(SCORES)}")
        masks = rows.masks
        assert masks is not None  # rows of this target have them
        if output.shape[2:] != masks.shape[1:]:
            raise WsssError(f"the output is {tuple(output.shape[2:])} pixels, its regions {tuple(masks.shape[1:])}")
        pixels = masks.sum((1, 2)).clamp(min=1)
        if kind in ("logit", "probability"):
            values = output.float() if kind == "logit" else output.float().softmax(1)
            total = (values[rows.image_idx, rows.class_idx] * masks).sum((1, 2))
            return total if kind == "logit" and self.reduction == "sum" else total / pixels
        found = output.argmax(1)[rows.image_idx] == rows.class_idx[:, None, None]
        if rows.valid is not None:
            found = found & rows.valid
        both, either = ((each).sum((1, 2)).float() for each in (found & masks, found | masks))
        return both / either.clamp(min=1) if kind == "iou" else 2 * both / (both + either).clamp(min=1)

    def about(self) -> dict[str, Any]:
        return {
            "target": "regions",
            "policy": self.classes if isinstance(self.classes, str) else list(self.classes),
            "region": self.where,
            "at": self.at,
            "reduction": self.reduction,
            "background": self.background,
        }

    @staticmethod
    def _check(output: torch.Tensor) -> None:
        if output.ndim != 4:
            raise WsssError(
                f"pixel scores are (images, classes, height, width), the network gives {tuple(output.shape)}; ask for "
                "Classes if it is a classifier"
            )


def component(region: torch.Tensor, which: Literal["largest", "smallest"]) -> torch.Tensor:
    """The largest or smallest 8-connected component of a region, bool (H, W); the first one of equals."""
    parts, count = ndimage.label(region.cpu().numpy(), np.ones((3, 3)))
    if count == 0:
        return region
    sizes = np.bincount(parts.ravel())[1:]
    number = (sizes.argmax() if which == "largest" else sizes.argmin()) + 1
    return torch.from_numpy(parts == number).to(region.device)
