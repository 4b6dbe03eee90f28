"""Tiny networks and subjects for the tests of explainers."""

from __future__ import annotations

import torch
from torch import nn

from wsss.explain import Subject


class Pooled(nn.Module):
    """A body of two convolutions, global average pooling, one linear layer: all that CAM asks for."""

    def __init__(self, classes: int = 4, width: int = 6, bias: bool = True, act: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=bias),
            nn.BatchNorm2d(width) if bias else nn.Identity(),
            nn.ReLU(inplace=True) if act is None else act,
            nn.Conv2d(width, width, 3, 1, 1, bias=bias),
            nn.ReLU(inplace=True) if act is None else act,
        )
        self.fc = nn.Linear(width, classes, bias=bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(images).mean((2, 3)))


class Deep(Pooled):
    """The same with a head that is not linear, which begins in place."""

    def __init__(self, classes: int = 4, width: int = 6) -> None:
        super().__init__(classes, width)
        self.neck = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.neck(self.body(images)).mean((2, 3)))


class Pixels(nn.Module):
    """A segmentation network: the body of ``Pooled``, a head, and the output at the body's size or the input's."""

    def __init__(self, classes: int = 3, width: int = 6, kernel: int = 1, resize: bool = False) -> None:
        super().__init__()
        self.body = Pooled(classes, width).body
        self.head = nn.Conv2d(width, classes, kernel, padding=kernel // 2)
        self.resize = resize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores = self.head(self.body(images))
        return nn.functional.interpolate(scores, images.shape[2:], mode="bilinear") if self.resize else scores


class Affine(nn.Module):
    """Scores that are linear in the pixels: W x + b."""

    def __init__(self, classes: int = 3, pixels: int = 3 * 8 * 8, bias: bool = True) -> None:
        super().__init__()
        self.fc = nn.Linear(pixels, classes, bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(images.flatten(1))


def seeded(make, *args, seed: int = 0, **options):
    """A network with weights and statistics that are nobody's defaults, in training mode as networks come."""
    torch.manual_seed(seed)
    network = make(*args, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network


def pooled(**options) -> Subject:
    return Subject(seeded(Pooled, **options), layer="body", head="fc")


def images(count: int = 3, side: int = 16, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
