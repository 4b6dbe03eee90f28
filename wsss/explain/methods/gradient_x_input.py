"""Gradient x input (Shrikumar et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import Look
from wsss.explain.methods.gradient import Method as Gradient

VERSION = 1


@dataclass(frozen=True)
class Method(Explainer):
    """G * x, signed, (R, 3, H, W); usually reduced by ``sum``. For a network of ReLUs without biases it adds up to
    S_u."""

    channels: ClassVar[str | None] = "sum"

    def explain(self, look: Look) -> torch.Tensor:
        gradients = Gradient().explain(look)
        return gradients * look.images[look.rows.image_idx]
