"""PoolNet (Liu et al. 2019): saliency from a pyramid of features, guided by the coarsest and smoothed by pooling.

The coarsest map is read twice: by the *global guidance module*, a pyramid of pools that tells every level what the
whole image shows, and by the decoder, which goes from coarse to fine: a *feature aggregation module* (sums of pooled
copies) smooths the map, it grows to the next level's size, and that level's own (lateral) features and guidance join.

The recipe's defaults train it with AdamW, whose weight decay stands apart from the gradient; published is Adam with the
decay inside the gradient, which pulls harder at this small rate.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from wsss.models.backbone import Trainable
from wsss.models.encoder import create_encoder, stages_of
from wsss.models.pooling import average_pool

VERSION = 1
GUIDANCE_POOLS = (1, 3, 5)  # cells a side
AGGREGATION_POOLS = (2, 4, 8)  # cells pooled together
FULL_WIDTH = 2048  # channels of the deepest map of the published encoder, ResNet-50
CHANNELS = {2: 128, 4: 256, 8: 256}  # of the published decoder by stride; 512 at the coarser ones


def grown(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Maps resized to the grid of ``like`` (bilinear, corners aligned as published)."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=True)


def convolution(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    """A convolution without bias that keeps the size and, at first, the variance.

    The published N(0, 0.01) keeps it at 512 channels only; a decoder a fourth as wide would start out dead.
    """
    layer = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return layer


class GlobalGuidance(nn.Module):
    """What the whole image shows, for every level but the coarsest.

    Args:
        features: Channels of the coarsest map.
        width: Channels inside.
        widths: Channels of the branches.
    """

    def __init__(self, features: int, width: int, widths: list[int]) -> None:
        super().__init__()
        self.reduce = convolution(features, width, 1)
        self.pools = nn.ModuleList(convolution(width, width, 1) for _ in GUIDANCE_POOLS)
        self.join = convolution(width * (1 + len(GUIDANCE_POOLS)), width, 3)
        self.branches = nn.ModuleList(convolution(width, w, 3) for w in widths)

    def forward(self, coarsest: torch.Tensor, laterals: list[torch.Tensor]) -> list[torch.Tensor]:
        """A map for each lateral map, on its grid: grown first, then convolved."""
        x = self.reduce(coarsest)
        views = [x]
        for side, layer in zip(GUIDANCE_POOLS, self.pools, strict=True):
            views.append(grown(F.relu(layer(average_pool(x, (side, side)))), x))
        x = F.relu(self.join(torch.cat(views, 1)))
        return [F.relu(branch(grown(x, like))) for branch, like in zip(self.branches, laterals, strict=True)]


class DeepPool(nn.Module):
    """A feature aggregation module, growth to the next level, and that level's features.

    y = conv(up(ReLU(x + sum_k up(conv(pool_k(x)))))); with a lateral map l and guidance g: conv(y + l + g).
    """

    def __init__(self, inputs: int, outputs: int, joins: bool) -> None:
        super().__init__()
        self.pools = nn.ModuleList(convolution(inputs, inputs, 3) for _ in AGGREGATION_POOLS)
        self.out = convolution(inputs, outputs, 3)
        self.join = convolution(outputs, outputs, 3) if joins else None

    def forward(
        self, x: torch.Tensor, lateral: torch.Tensor | None = None, guidance: torch.Tensor | None = None
    ) -> torch.Tensor:
        height, width = x.shape[-2:]
        total = x
        for factor, layer in zip(AGGREGATION_POOLS, self.pools, strict=True):
            # at least one cell, so that small images pass
            cells = (max(1, height // factor), max(1, width // factor))
            total = total + grown(layer(average_pool(x, cells)), x)
        total = F.relu(total)
        if self.join is None or lateral is None or guidance is None:
            y: torch.Tensor = self.out(total)
        else:
            y = self.join(self.out(grown(total, lateral)) + lateral + guidance)
        return y


class PoolNet(Trainable):
    """PoolNet on a timm encoder.

    Args:
        backbone: timm name.
        output_stride: Input pixels a cell of the coarsest map (16 as published).
        pretrained: As in ``NetworkSettings``.
        width: Factor of the decoder's channels; null: the deepest map's channels over those of ResNet-50, between 1/8
            and 1, so that the decoder stays in proportion to the encoder.
    """

    def __init__(
        self, backbone: str, output_stride: int = 16, pretrained: bool | str = False, width: float | None = None
    ) -> None:
        super().__init__()
        self.encoder = create_encoder(backbone, output_stride, pretrained)
        channels, strides = stages_of(self.encoder)
        factor = min(1.0, max(0.125, channels[-1] / FULL_WIDTH)) if width is None else width
        widths = [max(8, round(CHANNELS.get(stride, 512) * factor / 8) * 8) for stride in strides]
        self.laterals = nn.ModuleList(convolution(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.guidance = GlobalGuidance(channels[-1], widths[-1], widths[:-1])
        self.layers = nn.ModuleList(
            DeepPool(widths[k], widths[max(0, k - 1)], joins=k > 0) for k in range(len(widths) - 1, -1, -1)
        )
        self.score = nn.Conv2d(widths[0], 1, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.get_parameter("bias"))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) of normalised images (B, 3, H, W)."""
        maps = self.encoder(images)
        laterals = [F.relu(layer(m)) for layer, m in zip(self.laterals, maps, strict=True)]
        guidance = self.guidance(maps[-1], laterals[:-1])
        x = laterals[-1]
        for layer, lateral, guide in zip(self.layers, laterals[-2::-1], guidance[::-1], strict=False):
            x = layer(x, lateral, guide)
        return grown(self.score(self.layers[-1](x)), images)

    def is_new(self, name: str) -> bool:
        return not name.startswith("encoder.")
