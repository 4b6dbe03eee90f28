"""Grad-CAM++ (Chattopadhay et al. 2018, eq. 19 and 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass

VERSION = 1
VANISHING = 1e-12


@dataclass(frozen=True)
class GradCamPlusPlus(Explainer):
    """L_u = sum_k w_k A_k with w_k = sum_ij alpha_kij ReLU(g_kij), g = dS_u / dA and
    alpha = g^2 / (2 g^2 + (sum_ab A_kab) g^3).

    The published factor exp(S_u) is one constant a map and overflows: it is left out. Negative evidence is discarded,
    so maps tell classes apart less well. alpha is 0 where g is, or where the denominator vanishes.
    """

    alpha_norm: bool = False
    """Divide alpha by its sum over the cells with a positive gradient, as the authors' code does."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.cut()
        return forward.layer_maps(self.map_of, forward.scores())

    def map_of(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Maps (n, h, w) of A and gradients (n, K, h, w)."""
        # g^2 is cancelled: gradients of 1e-6 are usual, and their third powers lose to any guard
        below = 2 + activations.sum((2, 3), keepdim=True) * gradients
        sound = (gradients != 0) & (below.abs() >= VANISHING)
        alpha = torch.where(sound, 1 / torch.where(sound, below, 1), 0)
        if self.alpha_norm:
            total = (alpha * (gradients > 0)).sum((2, 3), keepdim=True)
            alpha = alpha / torch.where(total.abs() < VANISHING, 1, total)
        weights = (alpha * gradients.relu()).sum((2, 3))
        return torch.einsum("nk,nkhw->nhw", weights, activations)
