"""Occlusion sensitivity (Zeiler and Fergus 2014); for segmentation, of a class's metric (Gipiskis et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wsss.errors import WsssError
from wsss.explain.base import Explainer
from wsss.explain.fills import Fill, filled
from wsss.explain.forward_pass import ForwardPass

VERSION = 1


@dataclass(frozen=True)
class Occlusion(Explainer):
    """R(window) = f(x) - f(x with the window filled); a pixel's value is the mean over the windows that cover it.

    Signed maps (R, H, W) at the input's size. All classes share the passes: windows + 1 an image. What counts as f is
    the target's: the class's probability, or the IoU of its predicted pixels with its region.
    """

    differentiates: ClassVar[bool] = False
    window: tuple[int, int] | int = 64
    """Height and width in pixels."""
    stride: tuple[int, int] | int = 32
    """Step of the windows in pixels, at most their size; the last windows may reach beyond the border."""
    fill: Fill = "mean"
    """What a window is filled with: ``wsss.explain.fills``."""
    score: str | None = None
    """Kind of score, of those that the target has; None: what the target says."""
    chunk: int = 32
    """Windows in one pass; the result does not depend on it."""

    def __post_init__(self) -> None:
        for size, step in zip(_pair(self.window), _pair(self.stride), strict=True):
            if not 1 <= step <= size:
                raise WsssError(f"occlusion: stride ({step}) must be at least 1 and at most the window ({size})")

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.plain()
        kind = self.score or forward.target.perturbed
        base = forward.scores(kind)
        height, width = forward.images.shape[2:]
        (tall, wide), (down, across) = _pair(self.window), _pair(self.stride)
        corners = [(y, x) for y in _starts(height, tall, down) for x in _starts(width, wide, across)]
        maps = torch.zeros(len(base), height, width, device=forward.images.device)
        covered = maps.new_zeros(height, width)
        for y, x in corners:
            covered[y : y + tall, x : x + wide] += 1
        for image in range(len(forward.images)):
            mine = (forward.rows.image_idx == image).nonzero()[:, 0]
            if not len(mine):
                continue
            instead = filled(forward, image, self.fill).to(forward.images.dtype)
            for first in range(0, len(corners), self.chunk):
                some = corners[first : first + self.chunk]
                copies = forward.images[image].detach().repeat(len(some), 1, 1, 1)
                for copy, (y, x) in zip(copies, some, strict=True):
                    part = instead[:, y : y + tall, x : x + wide]
                    if self.fill == "window_mean":
                        part = part.mean((1, 2), keepdim=True)
                    copy[:, y : y + tall, x : x + wide] = part
                rows = forward.rows.of(image, len(some))
                left = forward.target.score(forward.run(copies), rows, kind, forward.subject.single_label).view(
                    len(some), -1
                )
                for drop, (y, x) in zip(base[mine] - left, some, strict=True):
                    maps[mine, y : y + tall, x : x + wide] += drop[:, None, None]
        return maps / covered


def _pair(value: tuple[int, int] | int) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin: as many as cover the length, ceil((length - window) / step) + 1."""
    return [step * number for number in range(max(0, -(-(length - window) // step)) + 1)]
