"""D-MinMax-Grad-CAM (David, Pedrini and Dias 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wsss.explain.base import Explainer
from wsss.explain.contrast import count, others, present_of
from wsss.explain.forward_pass import ForwardPass, in_order

VERSION = 1


@dataclass(frozen=True)
class DMinMaxGradCam(Explainer):
    """L_u = sum_k a_k A_k with a_k = sum_ij of
    l_pos ReLU(dS_u / dA) - l_neg ReLU(d mean over N_u of S / dA) + l_bg min(0, d mean over C_i of S / dA).

    ReLU and min act cell by cell, before the sum over the grid. The gradients over N_u follow from those over C_i and
    of u, so an image costs one backward pass through the head more than it has rows.
    """

    l_pos: float = 1.0
    l_neg: float = 1.0
    l_bg: float = 1.0
    all_classes: bool = False
    """Take every class for present."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        activations = forward.cut()
        rows = forward.rows
        apart, present = others(forward, self.all_classes)
        among = present.gather(1, rows.class_idx[:, None])  # 1 where u itself is among C_i
        together = self._together(forward)
        values = forward.scores()

        def pieces() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for some, (gradient,) in forward.gradients(values):
                own, every = forward.gridded(gradient), together[rows.image_idx[some]]
                sizes = [count(each)[some, :, None, None] for each in (apart, present)]
                rest = (every - own * among[some, :, None, None]) / sizes[0]
                cells = self.l_pos * own.relu() - self.l_neg * rest.relu()
                cells = cells + self.l_bg * (every / sizes[1]).clamp(max=0)
                yield some, torch.einsum("nk,nkhw->nhw", cells.sum((2, 3)), activations[rows.image_idx[some]])

        return in_order(pieces(), len(rows), activations.new_zeros(0, *activations.shape[2:]))

    def _together(self, forward: ForwardPass) -> torch.Tensor:
        """d (sum over C_i of S) / dA, fp32 (B, K, h, w)."""
        present = present_of(forward)
        if self.all_classes:
            present = torch.ones_like(present)
        every = torch.arange(len(present), device=present.device)
        sums = (forward.output.float() * present).sum(1)
        found = list(forward.gradients(sums, image_idx=every, keep=True))
        return forward.gridded(found[0][1][0])
