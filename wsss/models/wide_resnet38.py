"""Wide ResNet-38, the network A1 of Wu, Shen and van den Hengel, "Wider or Deeper" (2019), at stride 8.

The backbone of AffinityNet (PSA) and OC-CSE. A 3x3 convolution, 17 residual blocks that normalise and rectify before
they convolve, and a last normalisation with ReLU. The last three stages keep stride 8 and dilate instead. The two
widest blocks drop whole channels.

Modules are called as in the PyTorch port of the published weights (``conv1a.weight``, ``b2.bn_branch2a.weight``,
``b2_1.conv_branch2b1.weight``, ``b7.conv_branch2b2.weight``, ``bn7.running_mean``, ...), so that such a file loads as
it is.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

STRIDE = 8


class Block(nn.Module):
    """Pre-activation residual block: x + conv(ReLU(BN(conv(ReLU(BN(x)))))), the shortcut projected where shapes change.

    Args:
        channels: In, between, and out.
        stride: Of the first convolution.
        dilations: Of the first and the second convolution, both 3x3.
    """

    def __init__(self, channels: tuple[int, int, int], stride: int = 1, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        into, middle, out = channels
        first, second = dilations
        self.bn_branch2a = nn.BatchNorm2d(into)
        self.conv_branch2a = nn.Conv2d(into, middle, 3, stride, padding=first, dilation=first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = nn.Conv2d(middle, out, 3, padding=second, dilation=second, bias=False)
        projects = into != out or stride != 1
        self.conv_branch1 = nn.Conv2d(into, out, 1, stride, bias=False) if projects else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        active = F.relu(self.bn_branch2a(x))
        shortcut: torch.Tensor = x if self.conv_branch1 is None else self.conv_branch1(active)
        inner = F.relu(self.bn_branch2b1(self.conv_branch2a(active)))
        changed: torch.Tensor = self.conv_branch2b1(inner)
        return shortcut + changed


class Bottleneck(nn.Module):
    """Pre-activation bottleneck, 1x1, 3x3 and 1x1 with ``out / 4`` and ``out / 2`` channels between, its shortcut
    projected.

    Args:
        into, out: Channels.
        dilation: Of the 3x3 convolution.
        dropout: Chance that a channel is dropped before the second and before the third convolution.
    """

    def __init__(self, into: int, out: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(into)
        self.conv_branch2a = nn.Conv2d(into, out // 4, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(out // 4)
        self.conv_branch2b1 = nn.Conv2d(out // 4, out // 2, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(out // 2)
        self.conv_branch2b2 = nn.Conv2d(out // 2, out, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(into, out, 1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        active = F.relu(self.bn_branch2a(x))
        inner = self.dropout(F.relu(self.bn_branch2b1(self.conv_branch2a(active))))
        inner = self.dropout(F.relu(self.bn_branch2b2(self.conv_branch2b1(inner))))
        shortcut: torch.Tensor = self.conv_branch1(active)
        changed: torch.Tensor = self.conv_branch2b2(inner)
        return shortcut + changed


class WideResNet38(nn.Module):
    """The network without its classification head.

    Its dropout is on wherever it is in training mode: as published, also while P-NOC trains it as the ordinary
    classifier, in step (b).

    Args:
        width: Channels of the first convolution; every other width is a multiple of it (published: 64).

    Attributes:
        num_features: Channels of ``forward_features``, 64 width: 4096 as published.
        surplus: Beginnings of the names of published weights that belong to heads.
    """

    surplus = ("fc8.", "linear1000.")

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.num_features = 64 * width
        self.conv1a = nn.Conv2d(3, width, 3, padding=1, bias=False)
        into = width
        # stage: (blocks, channels between, channels out, stride, dilation of all but its first convolution)
        stages = ((2, 3, 2, 2, 2, 1), (3, 3, 4, 4, 2, 1), (4, 6, 8, 8, 2, 1), (5, 3, 8, 16, 1, 2))
        for stage, blocks, middle, out, stride, dilation in stages:
            for number in range(blocks):
                first = number == 0
                channels = (into, middle * width, out * width)
                block = Block(channels, stride if first else 1, (1 if first else dilation, dilation))
                self.add_module(f"b{stage}" if first else f"b{stage}_{number}", block)
                into = out * width
        self.b6 = Bottleneck(into, 32 * width, dilation=4, dropout=0.3)
        self.b7 = Bottleneck(32 * width, 64 * width, dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(64 * width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 64 width, ceil(H / 8), ceil(W / 8))."""
        x = images
        for module in self.children():  # in the order they were made: conv1a, b2, ..., b7, bn7
            x = module(x)
        return F.relu(x)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_features(images)
