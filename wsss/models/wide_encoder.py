"""Wide ResNet-38 as an encoder, in the manner of timm's: a list of maps, and what they are."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from wsss.models.wide_resnet38 import WideResNet38

STAGES = {"b2_2": 2, "b3_2": 4, "b4_5": 8, "b5_2": 8, "bn7": 8}
"""Module that ends a stage -> input pixels a cell. Published uses take the last two, 1024 and 4096 channels."""


class StageInfo:
    """What timm's ``FeatureInfo`` says: ``channels()`` and ``reduction()`` (strides) of the maps."""

    def __init__(self, channels: list[int], strides: list[int]) -> None:
        self._channels, self._strides = channels, strides

    def channels(self) -> list[int]:
        """Channels of every stage's map."""
        return self._channels

    def reduction(self) -> list[int]:
        """Input pixels a cell of every stage's map."""
        return self._strides


class WideEncoder(nn.Module):
    """The maps of five stages, the last one rectified: (B, w C, H / s, W / s) with C 2, 4, 8, 16, 64 times the width
    and s of ``STAGES``."""

    def __init__(self, model: WideResNet38) -> None:
        super().__init__()
        self.model = model
        width = model.num_features // 64
        self.feature_info = StageInfo([width * n for n in (2, 4, 8, 16, 64)], list(STAGES.values()))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x, maps = images, []
        for name, module in self.model.named_children():
            x = module(x)
            if name in STAGES:
                maps.append(x)
        return [*maps[:-1], F.relu(maps[-1])]
