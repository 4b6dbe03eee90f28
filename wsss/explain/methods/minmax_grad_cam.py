"""MinMax-Grad-CAM (David, Pedrini and Dias 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from wsss.explain.base import Explainer
from wsss.explain.contrast import count, others
from wsss.explain.forward_pass import Look
from wsss.explain.methods.grad_cam import Method as GradCam

VERSION = 1


@dataclass(frozen=True)
class Method(Explainer):
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

    def explain(self, look: Look) -> torch.Tensor:
        look.cut()
        own = look.scores()
        apart, present = others(look, self.all_classes)
        divisor = (present.sum(1, keepdim=True) - 1).clamp(min=1) if self.reference_divisor else count(apart)
        rest = (apart * look.output[look.rows.image_idx].float()).sum(1) / divisor[:, 0]
        return look.layer_maps(GradCam(self.reduction).map_of, self.l_pos * own - self.l_neg * rest)
