"""The puzzle of Puzzle-CAM (Jo and Yu 2021): tiles, their maps put together, and the difference to the image's maps."""

from __future__ import annotations

import torch


def split_tiles(images: torch.Tensor, tiles: int) -> torch.Tensor:
    """Cut images (B, C, H, W) into tiles x tiles pieces, stacked piece-major: (tiles^2 B, C, H/tiles, W/tiles).

    All top-left pieces come first, then those to their right, row by row. H and W must be multiples of ``tiles``.
    """
    b, c, h, w = images.shape
    pieces = images.reshape(b, c, tiles, h // tiles, tiles, w // tiles)
    return pieces.permute(2, 4, 0, 1, 3, 5).reshape(tiles * tiles * b, c, h // tiles, w // tiles)


def merge_tiles(maps: torch.Tensor, tiles: int) -> torch.Tensor:
    """Put the maps of tiles together: the inverse of ``split_tiles``."""
    n, c, h, w = maps.shape
    b = n // (tiles * tiles)
    pieces = maps.reshape(tiles, tiles, b, c, h, w)
    return pieces.permute(2, 3, 0, 4, 1, 5).reshape(b, c, tiles * h, tiles * w)


def reconstruction_loss(whole: torch.Tensor, merged: torch.Tensor, labels: torch.Tensor, over: str) -> torch.Tensor:
    """L1 between raw maps (B, C, h, w) of the image and of its tiles, on the maps of present classes.

    Args:
        whole, merged: Maps of the image, and of its tiles after merging. Both get gradients.
        labels: Raw labels (B, C) in {0, 1}.
        over: ``all``: mean over all B C h w entries, absent classes counting as 0 (published; Puzzle-CAM eq. 5).
            ``present``: mean over the maps of present classes, so that its pull does not depend on the number of
            classes.
    """
    difference = (whole.float() - merged.float()).abs().mean((2, 3)) * labels
    return difference.mean() if over == "all" else difference.sum() / labels.sum().clamp(min=1)
