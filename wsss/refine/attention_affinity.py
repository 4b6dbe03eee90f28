"""Seeds of a vision transformer spread by its own attention: the class-aware affinity of CLIP-ES (Lin et al. 2023).

Written from the paper's equations. With W the mean attention of the last blocks between patches, (N, N):

    D = (S + S^T) / 2,  S = W after three rounds of: columns / their sums, then rows / their sums
    P = D D
    R = P (B * M)

M is a class's seed, scaled to [0, 1], and B the union of the bounding boxes of the connected parts of M > 0.4 max M:
only cells in a box send to others. Cells touch also at their corners.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

VERSION = 1
ROUNDS = 3
EPSILON = 1e-7
_TOUCHING = np.ones((3, 3), int)


def attention_affinity(weights: torch.Tensor) -> torch.Tensor:
    """P of the mean attention.

    Args:
        weights: W, (N, N), positive; row i holds what cell i attends to.

    Returns:
        float32 (N, N), symmetric but for rounding; rows sum to about 1, the closer the more even W is.

    Examples:
        >>> attention_affinity(torch.full((3, 3), 1 / 3))
        tensor([[0.3333, 0.3333, 0.3333],
                [0.3333, 0.3333, 0.3333],
                [0.3333, 0.3333, 0.3333]])
    """
    balanced = weights.float()
    for _ in range(ROUNDS):
        balanced = balanced / balanced.sum(0, keepdim=True)
        balanced = balanced / balanced.sum(1, keepdim=True)
    even = (balanced + balanced.T) / 2
    return even @ even


def box_mask(seed: np.ndarray, threshold: float) -> np.ndarray:
    """B: bool (h, w), the union of the bounding boxes of the parts of a seed (h, w) above ``threshold`` times its
    maximum; nowhere true where the seed is zero everywhere.

    Examples:
        >>> box_mask(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.1]]), 0.4).astype(int)
        array([[1, 1, 0],
               [1, 1, 0],
               [0, 0, 0]])
    """
    parts, _ = ndimage.label(seed > threshold * seed.max(), _TOUCHING)
    inside = np.zeros(seed.shape, bool)
    for box in ndimage.find_objects(parts):
        inside[box] = True
    return inside


def scaled(maps: torch.Tensor) -> torch.Tensor:
    """Each map of (n, ...) brought to [0, 1]: its minimum is taken away, then it is divided by its maximum + 1e-7."""
    flat = maps.flatten(1)
    flat = flat - flat.amin(1, keepdim=True)
    return (flat / (flat.amax(1, keepdim=True) + EPSILON)).view_as(maps)


def spread(seeds: torch.Tensor, affinity: torch.Tensor, threshold: float) -> torch.Tensor:
    """R of each class, scaled to [0, 1].

    Args:
        seeds: M, float32 (n, h, w) in [0, 1].
        affinity: P, (h w, h w), as ``attention_affinity`` makes it.
        threshold: Of the boxes, a share of a seed's maximum.

    Returns:
        float32 (n, h, w).
    """
    boxes = np.stack([box_mask(seed, threshold) for seed in seeds.cpu().numpy()])
    sources = seeds * torch.from_numpy(boxes).to(seeds)
    return scaled((affinity @ sources.flatten(1).T).T.reshape(seeds.shape))
