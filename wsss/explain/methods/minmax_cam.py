"""MinMax-CAM (David, Pedrini and Dias 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsss.explain.base import Explainer
from wsss.explain.contrast import count, others
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.linear import pooled, weighted

VERSION = 1


@dataclass(frozen=True)
class MinMaxCam(Explainer):
    """L_u = sum_k (l_pos W_uk - l_neg mean of W_nk over the other present classes n) A_k: one forward pass.

    With one present class it is CAM; over the present classes of an image the maps add up to zero. A cue of what is
    specific to a class, for parts that classes share are lost: a class can vanish once the map is rectified.
    """

    l_pos: float = 1.0
    l_neg: float = 1.0
    all_classes: bool = False
    """Contrast with every other class, present or not (the notebooks' plain min-max)."""
    reference_divisor: bool = False
    """Divide by max(number of present classes - 1, 1) for every class, present or not, as the authors' code does."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        _, weight = pooled(forward)
        return weighted(forward, self.contrasted(forward, weight[forward.rows.class_idx], weight))

    def contrasted(self, forward: ForwardPass, own: torch.Tensor, every: torch.Tensor) -> torch.Tensor:
        """(R, n) of values (R, n) of each row's own class and values (C, n) of every class."""
        apart, present = others(forward, self.all_classes)
        divisor = (present.sum(1, keepdim=True) - 1).clamp(min=1) if self.reference_divisor else count(apart)
        return self.l_pos * own - self.l_neg * (apart @ every) / divisor
