"""Saliency without training: the normalised cut of a graph of patches (TokenCut, Wang et al. 2022; Shi and Malik 2000).

With f_i the features of cell i, each of length 1, the graph has the weights

    A_ij = 1 where f_i . f_j > threshold, else 0.00001;    D = diag(sum over j of A_ij)

and y is the eigenvector of (D - A) y = lambda D y of the second smallest eigenvalue: what cuts the graph in two so that
few edges are lost, relative to those that either side has. Of the sides of its mean the object is the one that holds
the largest |y|: it is the smaller and more compact one.

Only the connected part of the object around that cell is kept by the authors, and a bilateral solver refines it; here
all of y is kept, as a map from 0 to 1, for thresholds and the dense CRF to be applied to.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import eigh
from torch import nn

from wsss.models.frozen_features import FrozenFeatures

VERSION = 1
UNLIKE = 1e-5
"""Weight of cells that are not alike."""


def cut_weights(cosines: torch.Tensor, threshold: float) -> torch.Tensor:
    """A of cosines, of the same shape."""
    return torch.where(cosines > threshold, 1.0, UNLIKE)


def second_eigenvector(weights: np.ndarray) -> np.ndarray:
    """y of the graph: float64 (N,), of a sign that the solver chose, and constant for less than two cells.

    With z = D^(1/2) y it is the eigenvector of the second largest eigenvalue of D^(-1/2) A D^(-1/2), a symmetric
    matrix: found densely in double precision, in time that grows with N^3.

    Args:
        weights: A, (N, N), symmetric, above 0.

    Examples:
        >>> y = second_eigenvector(np.array([[1, 1, 1e-5], [1, 1, 1e-5], [1e-5, 1e-5, 1]]))
        >>> bool(np.sign(y[0]) == np.sign(y[1]) != np.sign(y[2]))
        True
    """
    count = len(weights)
    if count < 2:
        return np.zeros(count)
    roots = np.sqrt(weights.sum(1, dtype=np.float64))
    even = weights / roots[:, None] / roots
    _, found = eigh(even, subset_by_index=[count - 2, count - 2])
    vector: np.ndarray = found[:, 0] / roots
    return vector


def as_map(vector: np.ndarray) -> np.ndarray:
    """y as saliency: turned so that the largest absolute value lies above the mean, then brought to [0, 1]; zeros where
    it is constant.

    Examples:
        >>> as_map(np.array([0.1, -0.4, 0.2]))  # the largest absolute value is at -0.4, below the mean
        array([0.16666667, 1.        , 0.        ])
    """
    if vector[np.abs(vector).argmax()] < vector.mean():
        vector = -vector
    low, high = vector.min(), vector.max()
    return (vector - low) / (high - low) if high > low else np.zeros_like(vector)


class TokenCut(nn.Module):
    """A frozen network whose features are cut in two.

    Args:
        features: Of unit length in each cell.
        threshold: Cosines above it count as alike.
    """

    def __init__(self, features: FrozenFeatures, threshold: float) -> None:
        super().__init__()
        self.features, self.threshold = features, threshold

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Saliency float32 (B, 1, h, w) in [0, 1] of normalised images (B, 3, H, W)."""
        found = self.features(images).float()
        maps = []
        for each in found:
            flat = each.flatten(1)
            weights = cut_weights(flat.T @ flat, self.threshold)
            maps.append(as_map(second_eigenvector(weights.double().cpu().numpy())))
        stacked = torch.from_numpy(np.stack(maps)).to(found)
        return stacked.view(len(found), 1, *found.shape[2:])
