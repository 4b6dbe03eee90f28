"""Bytes of images to what networks take, on the device: a byte is a quarter of a number on its way there."""

from __future__ import annotations

from functools import cache

import torch

from wsss.compute.devices import upload
from wsss.data.transforms import MEAN, STD


@cache
def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What is taken away from bytes, and what the rest is multiplied by, float32 (3, 1, 1)."""
    with torch.inference_mode(False):  # trainings use them, too
        offset, scale = (upload(torch.from_numpy(v), device)[:, None, None] for v in (255 * MEAN, 1 / (255 * STD)))
    return offset, scale


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """RGB uint8 (..., 3, H, W) to float32 of the same layout, ``(x / 255 - mean) / std`` with ImageNet's statistics, to
    the bit as ``wsss.data.transforms.normalise`` has it.

    Examples:
        >>> normalised(torch.tensor([[[0]], [[128]], [[255]]], dtype=torch.uint8)).flatten()
        tensor([-2.1179,  0.2052,  2.6400])
    """
    offset, scale = _statistics(pixels.device)
    return pixels.float().sub_(offset).mul_(scale)


def normalised_views(views: torch.Tensor) -> torch.Tensor:
    """Training views uint8 (..., S, S, 4) to float32 (..., 3, S, S), channels last; 0, the mean colour, where the
    fourth byte says that no image is.

    Examples:
        >>> normalised_views(torch.tensor([[[0, 128, 255, 255], [9, 9, 9, 0]]], dtype=torch.uint8)).flatten(1)
        tensor([[-2.1179,  0.0000],
                [ 0.2052,  0.0000],
                [ 2.6400,  0.0000]])
    """
    planes = views.movedim(-1, -3)
    colours = views[..., :3].contiguous().movedim(-1, -3)
    return normalised(colours).masked_fill_(planes[..., 3:, :, :] == 0, 0.0)
