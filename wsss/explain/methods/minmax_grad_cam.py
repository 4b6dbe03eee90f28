"""MinMax-Grad-CAM (David, Pedrini and Dias 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from wsss.explain.base import Explainer
from wsss.explain.contrast import count, others
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.methods.grad_cam import GradCam

VERSION = 1


@dataclass(frozen=True)
class MinMaxGradCam(Explainer):
    """Grad-CAM of J_u = l_pos S_u - l_neg mean of S_n over the other present classes n.

    J_u is one number, so a row costs one backward pass through the head, however many classes it is contrasted with.
    """

    l_pos: float = 1.0
    l_neg: float = 1.0
    all_classes: bool = False
    """Contrast with every other class, present or not."""
    reference_divisor: bool = False
    """As for ``minmax-cam``."""
    reduction: Literal["mean", "sum"] = "sum"
    """As for ``grad-cam``; the sum is published, and equals ``minmax-cam`` on a linear head."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.cut()
        own = forward.scores()
        apart, present = others(forward, self.all_classes)
        divisor = (present.sum(1, keepdim=True) - 1).clamp(min=1) if self.reference_divisor else count(apart)
        rest = (apart * forward.output[forward.rows.image_idx].float()).sum(1) / divisor[:, 0]
        return forward.layer_maps(GradCam(self.reduction).map_of, self.l_pos * own - self.l_neg * rest)
