"""Random walk of maps over how alike the features of cells are: nothing is trained for it.

With c_ij the cosine of the features of two cells (for several stages of a network its mean over them), their weight
A_ij is one of

    temperature:  exp((c_ij - 1) / tau)
    proxy:        exp(gamma (c_ij - 1)) where c_ij >= beta mean(c), else 0 (ProxyCLIP, Lan et al. 2024)
    ncut:         1 where c_ij > threshold, else 0.00001 (TokenCut, Wang et al. 2022)

and 1 on the diagonal. A map x takes t steps x <- T x with T = A / its row sums. For ``proxy`` that is the softmax of
gamma (c - beta mean(c)) over what is not negative, as published. A is symmetric, so between cells closer than a radius
this is the walk of ``wsss.refine.random_walk`` with other weights, and the same kernel; between all cells T is a dense
matrix.

Similar features in place of a trained affinity are usual with transformers trained without labels. The mean over the
stages of an ordinary ImageNet network, fine ones included, is this project's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from wsss.models.token_cut import cut_weights
from wsss.refine.affinities import directions, window
from wsss.refine.random_walk import TOLERANCE, Stencil, SymmetricWalk

VERSION = 1
MOST_CELLS = 4096
"""Cells up to which a step may lead to any: T has 64 MiB then."""
FAR_RADIUS, FAR_FACTOR = 8, 8
"""With more cells a step leads to those closer than this radius, and there are so many times as many steps."""

Weighting = Callable[[torch.Tensor], torch.Tensor]
"""Cosines, of any shape -> weights A in [0, 1], of the same shape."""


def by_temperature(temperature: float) -> Weighting:
    """exp((c - 1) / tau), for tau above 0."""
    return lambda cosines: ((cosines - 1) / temperature).exp_()


def by_proxy(features: torch.Tensor, beta: float, gamma: float) -> Weighting:
    """exp(gamma (c - 1)) where c is at least beta times its mean over all pairs of cells, each with itself included.

    Args:
        features: (D, h, w), of which the dot product of two cells is their cosine c.
        beta, gamma: As above.

    Examples:
        >>> features = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])  # the mean cosine is 5 / 9
        >>> by_proxy(features, beta=1.2, gamma=3.0)(torch.tensor([1.0, 0.7, 0.6]))
        tensor([1.0000, 0.4066, 0.0000])
    """
    mean = features.float().flatten(1).mean(1).square().sum()
    return lambda cosines: ((cosines - 1) * gamma).exp_().masked_fill_(cosines < beta * mean, 0)


def by_threshold(threshold: float) -> Weighting:
    """1 where c is above the threshold, else 0.00001."""
    return lambda cosines: cut_weights(cosines, threshold)


def feature_stencil(features: torch.Tensor, radius: int, weighting: Weighting) -> Stencil:
    """A of all pairs of cells closer than a radius. Takes time and memory in proportion to cells times channels,
    direction by direction.

    Args:
        features: (D, h, w), of which the dot product of two cells is their mean cosine c in [-1, 1].
        radius: R, in cells: neighbours closer than R.
        weighting: As above.

    Examples:
        >>> features = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])  # two like cells, and an unlike one
        >>> feature_stencil(features, radius=2, weighting=by_temperature(0.5))  # exp(-1 / 0.5)
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
        inner.copy_(weighting(cosines))
        offset = dy * width + dx
        found.append((offset, whole.view(1, 1, -1)[..., : height * width - offset]))
    return found


def feature_affinity(features: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """A of all pairs of cells, float32 (h w, h w), symmetric, of features as for ``feature_stencil``.

    Examples:
        >>> features = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
        >>> feature_affinity(features, by_temperature(0.5))[0]
        tensor([1.0000, 1.0000, 0.1353])
    """
    flat = features.float().flatten(1)
    return weighting(flat.T @ flat).fill_diagonal_(1)


@torch.inference_mode()
def feature_walk(
    maps: torch.Tensor,
    features: torch.Tensor,
    weighting: Weighting,
    *,
    radius: int = 5,
    steps: int = 64,
    tolerance: float = TOLERANCE,
) -> torch.Tensor:
    """Spread the maps of an image over near cells with like features: T^t x.

    Args:
        maps: (n, h, w), non-negative.
        features: (D, h, w) as for ``feature_stencil``, on the same grid and device.
        weighting, radius: As for ``feature_stencil``.
        steps: Length t of the walk.
        tolerance: Of the Chebyshev expansion, relative to the largest value.

    Returns:
        float32 (n, h, w), non-negative. No value exceeds the largest of its map (but for the tolerance).

    Examples:
        >>> features = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])  # two halves that are opposites
        >>> maps = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
        >>> feature_walk(maps, features, by_temperature(0.01), radius=2)  # the map fills one of them
        tensor([[[0.5000, 0.5000, 0.0000, 0.0000]]])
    """
    count, height, width = maps.shape
    walk = SymmetricWalk(feature_stencil(features, radius, weighting), torch.Size((1, height, width)), maps.device)
    result = walk.power(maps.float().reshape(1, count, height * width).contiguous(), steps, tolerance)
    return result.clamp_(min=0).view(count, height, width)


@torch.inference_mode()
def walk_among_all(
    maps: torch.Tensor, features: torch.Tensor, weighting: Weighting, *, steps: int = 2, most: int = MOST_CELLS
) -> torch.Tensor:
    """The same between all cells; with more than ``most`` between those closer than 8, eight times as many steps.

    Examples:
        >>> features = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])  # like cells need not be neighbours
        >>> maps = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
        >>> walk_among_all(maps, features, by_threshold(0.2), steps=2).round(decimals=3)
        tensor([[[0.5000, 0.0000, 0.5000, 0.0000]]])
    """
    if maps[0].numel() > most:
        return feature_walk(maps, features, weighting, radius=FAR_RADIUS, steps=FAR_FACTOR * steps)
    transition = feature_affinity(features, weighting)
    transition /= transition.sum(1, keepdim=True)
    walked = maps.float().flatten(1)
    for _ in range(steps):
        walked = walked @ transition.T
    return walked.view(maps.shape)
