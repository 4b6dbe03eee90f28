"""The puzzle of Puzzle-CAM (Jo and Yu 2021): tiles, their maps put together, and the difference to the image's maps."""

from __future__ import annotations

import torch

from wsss.compute.collectives import batch_mean

EPSILON = 1e-5
FLAT = 0.01
"""Under ``contrast``: share of a map's mean absolute value that is added to its standard deviation. A map without any
contrast then costs at most about 1 / FLAT for each part in one that its tiles differ by, and its gradient is finite."""
LEAST = -1e30
"""Stands for minus infinity: its softmax is 0 and its gradient is no NaN."""


def split_tiles(images: torch.Tensor, tiles: int) -> torch.Tensor:
    """Cut images (B, C, H, W) into tiles x tiles pieces, stacked piece-major: (tiles^2 B, C, H/tiles, W/tiles).

    All top-left pieces come first, then those to their right, row by row. H and W must be multiples of ``tiles``.

    Examples:
        >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> tiles = split_tiles(image, 2)
        >>> tiles.shape
        torch.Size([4, 1, 2, 2])
        >>> tiles[1, 0]  # the tile at the top right
        tensor([[2., 3.],
                [6., 7.]])
    """
    b, c, h, w = images.shape
    pieces = images.reshape(b, c, tiles, h // tiles, tiles, w // tiles)
    return pieces.permute(2, 4, 0, 1, 3, 5).reshape(tiles * tiles * b, c, h // tiles, w // tiles)


def merge_tiles(maps: torch.Tensor, tiles: int) -> torch.Tensor:
    """Put the maps of tiles together: the inverse of ``split_tiles``.

    Examples:
        >>> image = torch.rand(2, 3, 8, 8)
        >>> torch.equal(merge_tiles(split_tiles(image, 2), 2), image)
        True
    """
    n, c, h, w = maps.shape
    b = n // (tiles * tiles)
    pieces = maps.reshape(tiles, tiles, b, c, h, w)
    return pieces.permute(2, 3, 0, 4, 1, 5).reshape(b, c, tiles * h, tiles * w)


def reconstruction_loss(
    whole: torch.Tensor, merged: torch.Tensor, labels: torch.Tensor, over: str, norm: str = "none"
) -> torch.Tensor:
    """L1 between raw maps (B, C, h, w) of the image and of its tiles, on the maps of present classes, in fp32.

    Args:
        whole, merged: Maps of the image, and of its tiles after merging. Both get gradients.
        labels: Raw labels (B, C) in {0, 1}.
        over: ``all``: mean over all B C h w entries, absent classes counting as 0 (published; Puzzle-CAM eq. 5).
            ``present``: mean over the maps of present classes (of the batch on all devices), so that its pull does not
            depend on the number of classes.
        norm: ``none``: published. ``scale``, ``relative``: each image's difference is divided by the mean absolute
            value of the present maps of ``whole``, which gets no gradient (``scale``) or its own (``relative``).
            ``contrast``: each map's difference is divided by s + 0.01 m with s and m the standard deviation and the
            mean absolute value over the cells of ``whole``; s has its gradient, m, which bounds the value on flat maps,
            has none.

    The published loss can be lowered without any agreement, by shrinking all maps; with many classes and long
    trainings the classification loss holds against that, with few and short ones the maps go flat. Neither norm lets
    the value fall so. Under ``scale`` the gradient still points that way; under ``relative`` it has no part along the
    maps themselves, but maps that are constant over an image still agree at no cost; under ``contrast`` they do not.

    Examples:
        >>> whole, merged = torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
        >>> labels = torch.tensor([[1.0, 0.0]])  # the second class is absent
        >>> [reconstruction_loss(whole, merged, labels, over=over).item() for over in ("present", "all")]
        [1.0, 0.5]
    """
    whole, merged = whole.float(), merged.float()
    difference = (whole - merged).abs().mean((2, 3))
    if norm == "contrast":
        floor = FLAT * whole.detach().abs().mean((2, 3)) + EPSILON
        difference = difference / (whole.std((2, 3), correction=0) + floor)
    difference = difference * labels
    if norm in ("scale", "relative"):
        scale = (whole.abs().mean((2, 3)) * labels).sum(1) / labels.sum(1).clamp(min=1)
        difference = difference / ((scale.detach() if norm == "scale" else scale)[:, None] + EPSILON)
    return difference.mean() if over == "all" else batch_mean(difference.sum(), labels.sum())


def present_entropy(maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of each cell's distribution over the present classes, mean over cells and images, in nats, fp32.

    H = -sum_c q_c log q_c with q the softmax over the present classes of the raw maps; 0 where one class is present.

    Args:
        maps: Raw maps (B, C, h, w).
        labels: Raw labels (B, C) in {0, 1}; an image without any counts as 0.

    Examples:
        >>> maps = torch.zeros(1, 3, 2, 2)
        >>> present_entropy(maps, torch.tensor([[1, 1, 0]]))  # log 2: two classes, equally likely
        tensor(0.6931)
    """
    absent = labels[:, :, None, None] == 0
    chances = maps.float().masked_fill(absent, LEAST).softmax(1)
    surprise = -(chances * chances.clamp(min=torch.finfo(torch.float32).tiny).log())
    return surprise.masked_fill(absent, 0.0).sum(1).mean()
