"""The disentangler of C2AM (Xie et al. 2022): one map that splits the features of an image in two."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from wsss.models.backbone import Trainable, input_size
from wsss.models.encoder import create_encoder, stages_of, take_backbone
from wsss.models.pooling import average_pool
from wsss.settings import NetworkSettings


class Disentangled(NamedTuple):
    """What the network says of a batch.

    Attributes:
        foreground: v_f = mean over the grid of M X, float32 (B, D).
        background: v_b = mean over the grid of (1 - M) X, float32 (B, D); v_f + v_b is the mean feature.
        logits: P with M = sigmoid(P), (B, 1, h, w).
    """

    foreground: torch.Tensor
    background: torch.Tensor
    logits: torch.Tensor


class Disentangler(Trainable):
    """Features X of the backbone's last two stages, a 3x3 convolution to one channel, batch normalisation.

    Args:
        backbone: timm name.
        output_stride: Input pixels a cell; the second last stage is pooled to this grid where it is finer.
        pretrained: As in ``NetworkSettings``.
    """

    def __init__(self, backbone: str, output_stride: int = 16, pretrained: bool | str = False) -> None:
        super().__init__()
        self.encoder = create_encoder(backbone, output_stride, pretrained)
        features = sum(stages_of(self.encoder).channels[-2:])
        self.head = nn.Sequential(nn.Conv2d(features, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1))

    def forward(self, images: torch.Tensor) -> Disentangled:
        """``Disentangled`` of normalised images (B, 3, H, W)."""
        before, last = self.encoder(images)[-2:]
        if before.shape[-2:] != last.shape[-2:]:
            before = average_pool(before, input_size(last))
        features = torch.cat([last, before], 1)
        logits = self.head(features)
        with torch.autocast(images.device.type, enabled=False):  # sums over the grid, of which differences are taken
            features = features.float()
            foreground = (logits.float().sigmoid() * features).mean((2, 3))
            background = features.mean((2, 3)) - foreground
        return Disentangled(foreground, background, logits)

    def is_new(self, name: str) -> bool:
        return name.startswith("head.")


def build_disentangler(settings: NetworkSettings, warm_start: Path | None = None) -> Disentangler:
    """A disentangler with the weights that the settings say, or with the backbone of a classifier's folder."""
    if warm_start is None:
        return Disentangler(settings.backbone, settings.output_stride, settings.pretrained)
    network = Disentangler(settings.backbone, settings.output_stride)
    take_backbone(network.encoder, warm_start)
    return network
