"""Features that are compared by their direction alone, seen from the mean of the training images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

SMALLEST = 1e-6
"""A norm below it counts as this."""


class CentredFeatures(nn.Module):
    """Features f of an image divided by the norm of their mean over the grid, less a centre m, divided again.

        u = f / |GAP(f)|,    v = (u - m) / |GAP(u) - m|

    so that GAP(v) has norm 1. Two images then differ in what they show and not in how strongly the backbone responds;
    what all images have in common is gone. Mean subtraction and L2 normalisation are from Wang et al. (SimpleShot,
    2019), who have pooled features; here each image's cells get the same factor and shift, so pooling and the 1x1
    convolution that follows still commute.

    Args:
        channels: D of the features.

    Attributes:
        centre: m, float32 (D,); a buffer, which is stored with the weights and never trained. 0 until it is known.
    """

    centre: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Features (B, D, h, w) of the same type; norms are computed in fp32."""
        with torch.autocast(maps.device.type, enabled=False):
            pooled = maps.float().mean((2, 3))
            length = pooled.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
            rest = (pooled / length - self.centre).norm(dim=1, keepdim=True).clamp_min(SMALLEST)
            scale, shift = 1 / (length * rest), self.centre / rest
            seen: torch.Tensor = maps.float() * scale[:, :, None, None] - shift[:, :, None, None]
            return seen.to(maps.dtype)


def centred(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ``CentredFeatures`` makes of pooled features, (N, D) of any float type, whose own centre is taken: float64
    (N, D) of norm 1, and the centre, float64 (D,).

    Examples:
        >>> made, centre = centred(np.array([[3.0, 0.0], [0.0, 2.0]]))
        >>> centre.tolist(), made.round(3).tolist()
        ([0.5, 0.5], [[0.707, -0.707], [-0.707, 0.707]])
    """

    def unit(rows: np.ndarray) -> np.ndarray:
        result: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(SMALLEST)
        return result

    directions = unit(pooled.astype(np.float64))
    centre = directions.mean(0)
    return unit(directions - centre), centre
