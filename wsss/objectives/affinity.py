"""The affinity loss (AffinityNet, Ahn and Kwak 2018; IRN, Ahn et al. 2019): an edge network learns from sure labels.

Nobody says where edges are. Two cells with the same sure label want none between them, two cells with different ones
want one somewhere on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from wsss.compute.collectives import over_devices
from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.models.edge_network import STRIDE, build_edge_network
from wsss.objectives.base import Objective
from wsss.refine.affinities import Pairs, affinities, pairs
from wsss.settings import AffinitySettings

VERSION = 1
EPSILON = 1e-5
WEIGHTS = (0.25, 0.25, 0.5)
"""Of the pairs of background, of one class, and of different labels. A talk of the authors prints 1, 1, 2: the same
ratios at four times the learning rate."""


def small_labels(masks: torch.Tensor) -> torch.Tensor:
    """Labels (B, S/4, S/4) of masks (B, S, S): the pixel at the centre of each cell (nearest neighbour)."""
    return masks[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def affinity_loss(weights: torch.Tensor, kinds: Pairs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """1/4 L+_bg + 1/4 L+_fg + 1/2 L-, each the mean of -log of what is wanted over all pairs of its kind in the batch.

    L+ = -sum y log(W + 1e-5) / (sum y + 1e-5) and L- = -sum y log(1 + 1e-5 - W) / (sum y + 1e-5). A kind without a
    pair adds 0. With several devices the counts are those of all of them, so that the mean of the devices' gradients is
    the gradient of the whole batch's loss.

    Args:
        weights: Affinities W in [0, 1], any shape.
        kinds: For each of the three kinds a bool tensor of that shape.

    Returns:
        The loss (a scalar), and its three terms before weighting, detached, by name.
    """
    counts, devices = over_devices(torch.stack([kind.sum() for kind in kinds]).float())
    terms = []
    for kind, count in zip(kinds, counts, strict=True):
        wanted = 1 - weights if kind is kinds.different else weights
        logs = torch.log(wanted + EPSILON).masked_fill(~kind, 0)
        terms.append(-logs.sum() * devices / (count + EPSILON))
    names = (f"loss_{name}" for name in Pairs._fields)
    total = sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=True))
    return total, dict(zip(names, (t.detach() for t in terms), strict=True))


class PairAffinity(Objective):
    """L = 1/4 L+_bg + 1/4 L+_fg + 1/2 L- over the pairs of the stride-4 grid."""

    product = "edges"

    def __init__(self, settings: AffinitySettings, classes: int, warm_start: Path | None = None) -> None:
        self.settings, self.classes = settings, classes
        self.networks = {"edges": build_edge_network(settings, warm_start)}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        edges = self.networks["edges"](batch.images)
        radius = self.settings.radius
        kinds = pairs(small_labels(batch.targets), radius, self.classes)
        loss, parts = affinity_loss(affinities(edges.float().sigmoid(), radius), kinds)
        yield Loss("edges", loss, {"loss": loss.detach(), **parts})

    def batch_norm(self, network: str, default: str) -> str:
        return "fixed"  # its backbone is frozen
