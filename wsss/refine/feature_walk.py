"""Random walk of maps over how alike the features of neighbouring cells are: nothing is trained for it.

Two cells i, j closer than a radius R are a pair, with the weight

    A_ij = exp((c_ij - 1) / tau),    c_ij the mean over a network's stages of the cosine of their features

(1 on the diagonal). A map x takes t steps x <- T x with T = A / its row sums. A is symmetric, so this is the walk of
``wsss.refine.random_walk`` with other weights, and the same kernel.

Similar features in place of a trained affinity are usual with transformers trained without labels (the graph of
TokenCut, Wang et al. 2022; ProxyCLIP, Lan et al. 2024). The mean over the stages of an ordinary ImageNet network, fine
ones included, is this project's own.
"""

from __future__ import annotations

import torch

from wsss.refine.affinities import directions, window
from wsss.refine.random_walk import TOLERANCE, Stencil, SymmetricWalk

VERSION = 1


def feature_stencil(features: torch.Tensor, radius: int, temperature: float) -> Stencil:
    """A of all pairs inside the grid. Takes time and memory in proportion to cells times channels, direction by
    direction.

    Args:
        features: (D, h, w), of which the dot product of two cells is their mean cosine c in [-1, 1].
        radius: R, in cells: neighbours closer than R.
        temperature: tau, above 0.

    Examples:
        >>> features = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])  # two like cells, and an unlike one
        >>> feature_stencil(features, radius=2, temperature=0.5)  # exp(-1 / 0.5)
        [(1, tensor([[[1.0000, 0.1353]]]))]
    """
    _, height, width = features.shape
    features = features.float()
    found: Stencil = []
    for direction in directions(radius):
        dy, dx = direction.dy, direction.dx
        if dy >= height or abs(dx) >= width:
            continue
        left = max(0, -dx)
        whole = features.new_zeros((height, width))
        inner = window(whole, 0, left, features[0, dy:, abs(dx) :])
        cosines = (window(features, 0, left, inner) * window(features, dy, left + dx, inner)).sum(0)
        inner.copy_(((cosines - 1) / temperature).exp_())
        offset = dy * width + dx
        found.append((offset, whole.view(1, 1, -1)[..., : height * width - offset]))
    return found


@torch.inference_mode()
def feature_walk(
    maps: torch.Tensor,
    features: torch.Tensor,
    *,
    radius: int = 5,
    temperature: float = 0.1,
    steps: int = 64,
    tolerance: float = TOLERANCE,
) -> torch.Tensor:
    """Spread the maps of an image over cells with like features: T^t x.

    Args:
        maps: (n, h, w), non-negative.
        features: (D, h, w) as for ``feature_stencil``, on the same grid and device.
        radius, temperature: As for ``feature_stencil``.
        steps: Length t of the walk.
        tolerance: Of the Chebyshev expansion, relative to the largest value.

    Returns:
        float32 (n, h, w), non-negative. No value exceeds the largest of its map (but for the tolerance).

    Examples:
        >>> features = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])  # two halves that are opposites
        >>> maps = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
        >>> feature_walk(maps, features, radius=2, temperature=0.01)  # the map fills one of them
        tensor([[[0.5000, 0.5000, 0.0000, 0.0000]]])
    """
    count, height, width = maps.shape
    walk = SymmetricWalk(feature_stencil(features, radius, temperature), torch.Size((1, height, width)), maps.device)
    result = walk.power(maps.float().reshape(1, count, height * width).contiguous(), steps, tolerance)
    return result.clamp_(min=0).view(count, height, width)
