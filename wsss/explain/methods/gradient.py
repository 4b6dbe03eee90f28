"""Gradient saliency (Simonyan, Vedaldi and Zisserman 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass, in_order

VERSION = 1


@dataclass(frozen=True)
class Gradient(Explainer):
    """G = dS_u / dx, signed, (R, 3, H, W) at the input's size; usually reduced by ``max_abs``."""

    channels: ClassVar[str | None] = "max_abs"

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.warn_of_flat_gradients()
        images = forward.from_images()
        pieces = ((rows, gradient) for rows, (gradient,) in forward.gradients(forward.scores()))
        return in_order(pieces, len(forward.rows), images.new_zeros(0, *images.shape[1:]))
