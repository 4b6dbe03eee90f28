"""CAM (Zhou et al. 2016, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.linear import pooled, weighted

VERSION = 1


@dataclass(frozen=True)
class PlainCam(Explainer):
    """L_u = sum_k W_uk A_k: one forward pass for all classes, no gradient.

    The mean of a map is the class's logit without its bias. Needs global average pooling and one linear head.
    """

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        _, weight = pooled(forward)
        return weighted(forward, weight[forward.rows.class_idx])
