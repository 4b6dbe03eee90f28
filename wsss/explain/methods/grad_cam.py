"""Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass

VERSION = 1


@dataclass(frozen=True)
class GradCam(Explainer):
    """L_u = sum_k a_k A_k with a_k the mean over the grid of dS_u / dA_k.

    For a linear head on pooled features it is CAM / N with ``mean``, CAM with ``sum``. Published maps are rectified.
    """

    reduction: Literal["mean", "sum"] = "mean"
    """How a gradient's cells become one weight: a scale, no more."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.cut()
        return forward.layer_maps(self.map_of, forward.scores())

    def map_of(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Maps (n, h, w) of A and gradients (n, K, h, w)."""
        weights = gradients.mean((2, 3)) if self.reduction == "mean" else gradients.sum((2, 3))
        return torch.einsum("nk,nkhw->nhw", weights, activations)
