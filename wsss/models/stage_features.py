"""The features of several stages of a backbone on one grid, such that dot products are mean cosines."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import torch
from torch import nn
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.models.encoder import stages_of
from wsss.text import listed


def plain_strides(strides: Sequence[int]) -> list[int]:
    """The strides that stages would have if none of them were dilated, by which settings name them.

    The grids of a transformer's blocks, all of one stride, are what they are.

    Examples:
        >>> plain_strides([2, 4, 8, 16, 16]), plain_strides([4, 8, 8, 8]), plain_strides([16, 16, 16])
        ([2, 4, 8, 16, 32], [4, 8, 16, 32], [16, 16, 16])
    """
    if len(set(strides)) == 1:
        return list(strides)
    found = [strides[0]]
    for stride in strides[1:]:
        found.append(max(stride, 2 * found[-1]))
    return found


class StageFeatures(nn.Module):
    """A backbone read at some of its stages.

    Each stage's map, without its mean over the image, is brought onto a grid of ``grid_stride`` pixels a cell (finer
    ones by the mean of their cells, coarser ones bilinearly) and divided by its norm in each cell; all of them stand
    side by side, over the root of their number. A cell whose features are the mean has zeros.

    Args:
        encoder: As ``wsss.models.encoder.create_encoder`` makes it.
        stages: Strides of the stages that are read, as in ``plain_strides``.
        grid_stride: Input pixels a cell of the grid.

    Attributes:
        round_to: The same, as in ``wsss.store.views.decode_full``: the last cells may reach over the image's edge.

    Raises:
        WsssError: The backbone has no stage of a stride.
    """

    def __init__(self, encoder: nn.Module, stages: Sequence[int], grid_stride: int) -> None:
        super().__init__()
        self.encoder, self.grid_stride, self.round_to = encoder.requires_grad_(False), grid_stride, grid_stride
        self.strides = stages_of(encoder).strides
        known = plain_strides(self.strides)
        if unknown := [str(stride) for stride in stages if stride not in known]:
            allowed = listed(dict.fromkeys(map(str, known)))
            raise WsssError(f"stages: this backbone has none of stride {listed(unknown)}; allowed: {allowed}")
        self.read = [number for number, stride in enumerate(known) if stride in stages]
        self.multiple = lcm(grid_stride, *self.strides)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (B, D, ceil(H / grid_stride), ceil(W / grid_stride)) of normalised images (B, 3, H, W), D the sum of
        the stages' channels. Images are padded with 0 (the mean colour) to the right and below."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        size = padded.shape[-2] // self.grid_stride, padded.shape[-1] // self.grid_stride
        rows, columns = (-(-side // self.grid_stride) for side in (height, width))
        maps, found = self.encoder(padded), []
        for number in self.read:
            stride = self.strides[number]
            inside = maps[number].float()[..., : -(-height // stride), : -(-width // stride)]
            centred = maps[number].float() - inside.mean((2, 3), keepdim=True)
            if stride < self.grid_stride:
                fine = centred[..., : inside.shape[-2], : inside.shape[-1]]  # cells of the padding take no part
                centred = F.avg_pool2d(fine, self.grid_stride // stride, ceil_mode=True, count_include_pad=False)
            elif stride > self.grid_stride:
                centred = F.interpolate(centred, size=size, mode="bilinear", align_corners=False)
            found.append(F.normalize(centred[..., :rows, :columns], dim=1))
        scale: float = len(found) ** -0.5
        return torch.cat(found, 1) * scale
