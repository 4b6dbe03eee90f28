"""How much of a change of an image can be seen."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

SIDE, SIGMA = 11, 1.5
"""The window of SSIM (Wang et al. 2004, section III)."""


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of colours in [0, 1] of any equal shape; infinite for equal ones."""
    error = float((a.double() - b.double()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13) of colours (C, H, W) in [0, 1], mean over channels and windows.

    Gaussian windows of 11 pixels with sigma 1.5 that lie wholly in the image; of a smaller image, windows of its size.
    """
    x, y = a.double()[:, None], b.double()[:, None]
    kernels = [_window(min(SIDE, n)) for n in a.shape[1:]]
    weights = (kernels[0][:, None] * kernels[1][None]).to(x)[None, None]

    def mean(values: torch.Tensor) -> torch.Tensor:
        return F.conv2d(values, weights)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = ((2 * mx * my + c1) * (2 * both + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(value.mean())


def _window(side: int) -> torch.Tensor:
    at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    weights = torch.exp(-at.square() / (2 * SIGMA**2))
    return weights / weights.sum()
