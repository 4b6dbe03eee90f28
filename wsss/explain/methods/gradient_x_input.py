"""Gradient x input (Shrikumar et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.methods.gradient import Gradient

VERSION = 1


@dataclass(frozen=True)
class GradientXInput(Explainer):
    """G * x, signed, (R, 3, H, W); usually reduced by ``sum``. For a network of ReLUs without biases it adds up to
    S_u."""

    channels: ClassVar[str | None] = "sum"

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        gradients = Gradient().explain(forward)
        return gradients * forward.images[forward.rows.image_idx]
