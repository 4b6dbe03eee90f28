"""C2AM (Xie et al. 2022): foreground and background told apart by contrast, without labels.

L = SimMax(v_f) + SimMin(v_b, v_f) + SimMax(v_b): the foregrounds of different images are alike, their backgrounds are
alike, and a foreground is unlike any background. Nothing says which of the two is which; ``wsss.stages.saliency``
decides that when the training is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import torch
from torch.nn import functional as F

from wsss.compute.collectives import gathered
from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.models.disentangler import Disentangled, build_disentangler
from wsss.objectives.base import Objective
from wsss.settings import ContrastSettings

VERSION = 1
LOWEST, HIGHEST = 0.0005, 0.9995
"""Similarities are kept in this range, so that their logarithms are finite (published values)."""


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine of every row of ``a`` (A, D) with every row of ``b`` (B, D): float32 (A, B), not clamped."""
    return F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T


def sim_min(background: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
    """(1/B^2) sum_ij -log(1 - s(b_i, f_j)) over all pairs, i = j among them (C2AM, eq. 4).

    Args:
        background, foreground: (B, D).
    """
    return -torch.log(1 - cosines(background, foreground).clamp(LOWEST, HIGHEST)).mean()


def rank_weights(similarities: torch.Tensor, alpha: float) -> torch.Tensor:
    """exp(-alpha (rank_ij - 1)) (B, B), where j is the rank_ij-th most similar to i: itself 0, its nearest 1.

    Carries no gradient. Each image counts itself with exp(alpha), but on the smallest value there is.
    """
    similarities = similarities.detach().clone()
    similarities.fill_diagonal_(torch.inf)
    order = similarities.argsort(dim=1, descending=True, stable=True)
    return torch.exp(-alpha * (order.argsort(dim=1).float() - 1))


def sim_max(vectors: torch.Tensor, alpha: float) -> torch.Tensor:
    """(1/B^2) sum_ij w_ij (-log s(v_i, v_j)), w of ``rank_weights`` (C2AM, eq. 5 and 6).

    Args:
        vectors: (B, D).
        alpha: Decay of the weight with the rank.
    """
    similarities = cosines(vectors, vectors)
    return -(rank_weights(similarities, alpha) * torch.log(similarities.clamp(LOWEST, HIGHEST))).mean()


def contrast(seen: Disentangled, alpha: float) -> dict[str, torch.Tensor]:
    """The three terms of a batch over all devices: ``foreground``, ``negative``, ``background``."""
    with torch.autocast(seen.foreground.device.type, enabled=False):
        foreground, background = gathered(seen.foreground), gathered(seen.background)
        return {
            "foreground": sim_max(foreground, alpha),
            "negative": sim_min(background, foreground),
            "background": sim_max(background, alpha),
        }


class C2am(Objective):
    """See the module's text."""

    product = "disentangler"

    def __init__(self, settings: ContrastSettings, warm_start: Path | None = None) -> None:
        self.settings = settings
        self.networks = {"disentangler": build_disentangler(settings, warm_start)}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        seen = self.networks["disentangler"](batch.images)
        parts = contrast(seen, self.settings.alpha) | self.further(seen, batch)
        total = reduce(torch.add, parts.values())
        yield Loss("disentangler", total, {"loss": total.detach(), **{k: v.detach() for k, v in parts.items()}})

    def further(self, seen: Disentangled, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms that a variant adds, weighted."""
        return {}
