"""What stands in for pixels that are taken away: colours in [0, 1] before normalisation."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.explain.forward_pass import ForwardPass

Fill = Literal["black", "white", "gray", "mean", "image_mean", "window_mean", "noise", "blur"]
FLAT = {"black": 0.0, "white": 1.0, "gray": 0.5}
KERNEL, SIGMA = 11, 5.0
"""Of the blur, in pixels, after Petsiuk et al. (2018), whose code has another kernel of this size (a Gaussian filter
reflected at the border of the kernel) and zeros beyond the border: 0.05 apart on noise of standard deviation 1."""


def filled(forward: ForwardPass, image: int, fill: Fill) -> torch.Tensor:
    """What an image of the batch looks like where it is taken away, normalised fp32 (3, H, W).

    ``black`` 0, ``white`` 1, ``gray`` 0.5, ``mean``: the mean that images were normalised with (zero in normalised
    numbers), ``image_mean``: the image's own colour, ``noise``: N(mean, standard deviation of the image's channels),
    cut to [0, 1], that follows from the seed and the image's name, ``blur``: the image blurred. ``window_mean`` depends
    on the window: here it is the image itself.

    Raises:
        WsssError: Unknown fill.
    """
    if fill not in get_args(Fill):
        raise WsssError(f"fill {fill!r}: there are {', '.join(get_args(Fill))}")
    normalised = forward.images[image].detach().float()
    mean, std = (
        torch.tensor(v, device=normalised.device).view(-1, 1, 1) for v in (forward.subject.mean, forward.subject.std)
    )
    if fill in FLAT:
        return ((FLAT[fill] - mean) / std).expand_as(normalised)
    if fill == "mean":
        return torch.zeros_like(normalised)
    if fill == "image_mean":
        return normalised.mean((1, 2), keepdim=True).expand_as(normalised)
    if fill == "noise":
        raw = normalised * std + mean
        drawn = torch.randn(raw.shape, generator=forward.generator(image)).to(raw)
        centre, width = raw.mean((1, 2), keepdim=True), raw.std((1, 2), correction=0, keepdim=True)
        return ((centre + width * drawn).clamp(0, 1) - mean) / std
    return blurred(normalised) if fill == "blur" else normalised


def blurred(image: torch.Tensor) -> torch.Tensor:
    """An image (C, H, W) under a Gaussian of ``KERNEL`` x ``KERNEL`` pixels; beyond the border its edge goes on."""
    at = torch.arange(KERNEL, device=image.device) - KERNEL // 2
    line = torch.exp(-(at.float() ** 2) / (2 * SIGMA**2))
    line = line / line.sum()
    padded = F.pad(image[:, None], [KERNEL // 2] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[:, 0]
