"""D-MinMax-CAM (David, Pedrini and Dias 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsss.explain.base import Explainer
from wsss.explain.contrast import count, others
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.linear import pooled, weighted

VERSION = 1


@dataclass(frozen=True)
class DMinMaxCam(Explainer):
    """L_u = sum_k w_uk A_k with
    w_uk = l_pos ReLU(W_uk) - l_neg ReLU(sum of W_nk over N_u) / |N_u| + l_bg min(0, sum of W_nk over C_i) / |C_i|,
    where C_i are the present classes and N_u those without u. ReLU and min act on the sums over classes.
    """

    l_pos: float = 1.0
    l_neg: float = 1.0
    l_bg: float = 1.0
    all_classes: bool = False
    """Take every class for present."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        _, weight = pooled(forward)
        apart, present = others(forward, self.all_classes)
        own = weight[forward.rows.class_idx].relu()
        rest = (apart @ weight).relu() / count(apart)
        shared = (present @ weight).clamp(max=0) / count(present)
        return weighted(forward, self.l_pos * own - self.l_neg * rest + self.l_bg * shared)
