"""HiResCAM (Draelos and Carin 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass

VERSION = 1


@dataclass(frozen=True)
class HiResCam(Explainer):
    """L_u = sum_k (dS_u / dA_k) * A_k, cell by cell.

    For a linear head on pooled features it is CAM / N and sums to S_u - b_u; where the head is another, it is the
    faithful choice.
    """

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.cut()
        return forward.layer_maps(lambda activations, gradients: (gradients * activations).sum(1), forward.scores())
