"""Heatmaps of the image, written out as the decoder that they are: each encoder layer has its mirror, with the same
weights (unrolled layer-wise relevance propagation, the TW-autoencoder of 2024).

Relevance R starts as the score z_c at class c and goes down through the mirrors, from output y to input x of a layer:

- convolution: R_x = x * W^T (R_y / y), a transposed convolution with the encoder's weight and without its bias;
- batch normalisation in evaluation mode: R_x = gamma / sigma * x / y * R_y;
- ReLU: R_x = R_y;
- maximum: each R_y is added where the maximum was (published: written there, which loses some where windows overlap);
- sum of two branches: each gets its share of the sum, and where they part their relevances are added;
- mean over the grid: each cell its share.

In fp64, for R / y divides by numbers near zero.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss.models.heatmaps import heatmap

Mirror = Callable[[torch.Tensor], torch.Tensor]


def over(relevance: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """R / y, and 0 where there is nothing to share out."""
    safe = torch.where(value == 0, 1.0, value)
    return torch.where(value == 0, 0.0, relevance / safe)


def convolution(x: torch.Tensor, layer: nn.Conv2d) -> tuple[torch.Tensor, Mirror]:
    y = layer(x)
    stride, padding = layer.stride[0], layer.padding[0]
    left = (x.shape[-1] + 2 * padding - layer.kernel_size[0]) % stride  # columns that no window reaches

    def mirror(relevance: torch.Tensor) -> torch.Tensor:
        return x * F.conv_transpose2d(over(relevance, y), layer.weight, None, stride, padding, left)

    return y, mirror


def normalisation(x: torch.Tensor, layer: nn.BatchNorm2d) -> tuple[torch.Tensor, Mirror]:
    y = layer(x)
    scale = (layer.weight / (layer.running_var + layer.eps).sqrt())[:, None, None]
    return y, lambda relevance: scale * x * over(relevance, y)


def rectifier(x: torch.Tensor) -> tuple[torch.Tensor, Mirror]:
    return x.relu(), lambda relevance: relevance


def maximum(x: torch.Tensor, size: int, stride: int, padding: int = 0) -> tuple[torch.Tensor, Mirror]:
    y, at = F.max_pool2d(x, size, stride, padding, return_indices=True)

    def mirror(relevance: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x).flatten(2).scatter_add(2, at.flatten(2), relevance.flatten(2)).view_as(x)

    return y, mirror


def chain(*steps: tuple[torch.Tensor, Mirror]) -> Mirror:
    def mirror(relevance: torch.Tensor) -> torch.Tensor:
        for _, one in reversed(steps):
            relevance = one(relevance)
        return relevance

    return mirror


class Vgg(nn.Module):
    """Convolutions with biases, ReLUs, two maxima; ``mirrored`` gives the features with the decoder that goes back."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 6), (6, 8), (8, 8)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mirrored(x)[0]

    def mirrored(self, x: torch.Tensor) -> tuple[torch.Tensor, Mirror]:
        steps = []
        for number, layer in enumerate(self.convolutions):
            steps.append(convolution(x, layer))
            steps.append(rectifier(steps[-1][0]))
            if number < 2:
                steps.append(maximum(steps[-1][0], 2, 2))
            x = steps[-1][0]
        return x, chain(*steps)


class Block(nn.Module):
    """The two branches of a basic block, their sum, a ReLU."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inside, outside, 3, stride, 1), nn.Conv2d(outside, outside, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outside) for _ in range(3))
        self.aside = nn.Conv2d(inside, outside, 1, stride) if (inside, stride) != (outside, 1) else None

    def mirrored(self, x: torch.Tensor) -> tuple[torch.Tensor, Mirror]:
        one = [convolution(x, self.first)]
        one.append(normalisation(one[-1][0], self.norms[0]))
        one.append(rectifier(one[-1][0]))
        one.append(convolution(one[-1][0], self.second))
        one.append(normalisation(one[-1][0], self.norms[1]))
        other = []
        if self.aside is not None:
            other.append(convolution(x, self.aside))
            other.append(normalisation(other[-1][0], self.norms[2]))
        branch, shortcut = one[-1][0], other[-1][0] if other else x
        total = branch + shortcut

        def mirror(relevance: torch.Tensor) -> torch.Tensor:
            share = over(relevance, total)
            return chain(*one)(branch * share) + chain(*other)(shortcut * share)

        return total.relu(), mirror


class ResNet(nn.Module):
    """A stem with an overlapping maximum and two basic blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.blocks = nn.ModuleList([Block(6, 6, 1), Block(6, 10, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mirrored(x)[0]

    def mirrored(self, x: torch.Tensor) -> tuple[torch.Tensor, Mirror]:
        steps = [convolution(x, self.stem)]
        steps.append(normalisation(steps[-1][0], self.norm))
        steps.append(rectifier(steps[-1][0]))
        steps.append(maximum(steps[-1][0], 3, 2, 1))
        for block in self.blocks:
            steps.append(block.mirrored(steps[-1][0]))
        return steps[-1][0], chain(*steps)


def decoded(encoder: Vgg | ResNet, head: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """Heatmaps (B, C, H, W) by the decoder: relevance of every class, summed over the colours, times the pixels."""
    features, mirror = encoder.mirrored(images)
    means = features.mean((2, 3))
    cells = features[0, 0].numel()
    maps = []
    for weight in head.weight.flatten(1):
        of_means = weight * means  # of the score z_c = sum_k w_k mean_k, each channel its share
        relevance = features * over(of_means, means)[..., None, None] / cells
        maps.append(mirror(relevance).sum(1))
    return images[0, 0].numel() * torch.stack(maps, 1)


def by_gradient(encoder: nn.Module, head: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """The same as the objective makes them."""
    point = images.detach().requires_grad_()
    scores = head(encoder(point)).mean((2, 3))
    columns = [torch.full((len(images),), c) for c in range(scores.shape[1])]
    return torch.stack([heatmap(scores, point, c, True) for c in columns], 1)


@pytest.fixture(params=[Vgg, ResNet])
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Conv2d, torch.Tensor]:
    torch.manual_seed(0)
    encoder = request.param().double().eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    head = nn.Conv2d(encoder(torch.zeros(1, 3, 32, 32).double()).shape[1], 3, 1, bias=False).double()
    return encoder, head, torch.randn(2, 3, 32, 32).double()


def test_heatmaps_are_what_the_decoder_gives(network: tuple[nn.Module, nn.Conv2d, torch.Tensor]) -> None:
    ours, theirs = by_gradient(*network), decoded(*network)
    assert ours.shape == (2, 3, 32, 32) and float(ours.detach().std()) > 0
    torch.testing.assert_close(ours, theirs, atol=1e-9 * float(ours.detach().abs().max()), rtol=0)


def test_training_them_trains_the_decoder(network: tuple[nn.Module, nn.Conv2d, torch.Tensor]) -> None:
    """The gradient of a pixel loss by double backward is that of the decoder, added over both places of a weight."""
    encoder, head, images = network
    masks = torch.randint(0, 3, (2, 32, 32), generator=torch.Generator().manual_seed(1))
    found = []
    for make in (by_gradient, decoded):
        encoder.zero_grad()
        head.zero_grad()
        F.cross_entropy(make(encoder, head, images) / 100, masks).backward()
        found.append(
            {n: p.grad.clone() for m in (encoder, head) for n, p in m.named_parameters() if p.grad is not None}
        )
    ours, theirs = found
    for name, gradient in theirs.items():
        most = max(float(gradient.abs().max()), 1e-12)
        if name.endswith("bias") and name not in ours:  # biases move heatmaps by no gradient
            assert most < 1e-6
            continue
        torch.testing.assert_close(ours[name], gradient, atol=1e-6 * most + 1e-9, rtol=0)


def test_a_maximum_that_writes_and_does_not_add_loses_relevance() -> None:
    """Published: the windows of 3 x 3 with stride 2 overlap, so a pixel can be the maximum of several."""
    torch.manual_seed(0)
    x = torch.rand(1, 2, 9, 9).double()
    y, mirror = maximum(x, 3, 2, 1)
    added = mirror(y)
    _, at = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    written = torch.zeros_like(x).flatten(2).scatter(2, at.flatten(2), y.flatten(2)).view_as(x)
    torch.testing.assert_close(added.sum(), y.sum())
    assert float(written.sum()) < 0.9 * float(y.sum())
