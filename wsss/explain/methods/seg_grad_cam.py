"""Seg-Grad-CAM (Vinogradova, Dibrov and Myers 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass

VERSION = 1


@dataclass(frozen=True)
class SegGradCam(Explainer):
    """L = sum_k a_k A_k with a_k the mean over the grid of dT_c(M) / dA_k, for ``Regions`` of a segmentation network.

    Each weight is one number for the whole map, so the map is no local explanation: with a 1x1 convolution after A it
    is |M| / N (Y_c - b_c) wherever M lies. ``seg-hires-grad-cam`` is local. Published maps are resized, then rectified
    (``postprocess.sgc``).
    """

    weights: Literal["signed", "abs", "relu"] = "signed"
    """What is made of each a_k before it is used."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.cut()
        return forward.layer_maps(self.map_of, forward.scores())

    def map_of(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Maps (n, h, w) of A and gradients (n, K, h, w)."""
        weights = gradients.mean((2, 3))
        weights = {"signed": weights, "abs": weights.abs(), "relu": weights.relu()}[self.weights]
        return torch.einsum("nk,nkhw->nhw", weights, activations)
