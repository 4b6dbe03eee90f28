"""The terms that the objectives of the CAM family are put together from, each written once.

A ``Term`` is a named scalar with its weight; ``combine`` adds terms up in their order. The letters: f the generator, oc
the ordinary classifier, A the raw maps, l the classification loss, y the labels, r the class that is erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import nn

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.classification import Classification
from wsss.losses.erasing import activation_mask, erase_hard, erase_soft, without
from wsss.losses.puzzle import merge_tiles, present_entropy, reconstruction_loss, split_tiles
from wsss.models.backbone import input_size
from wsss.models.classifier import logits
from wsss.settings import ErasingSettings, PNocSettings, TiledSettings


class Term(NamedTuple):
    """A scalar of a loss.

    Attributes:
        name: What the log calls it.
        value: Scalar, without its weight.
        weight: Factor in the loss; None: logged only.
    """

    name: str
    value: torch.Tensor
    weight: float | None = 1.0


def combine(network: str, terms: Iterable[Term]) -> Loss:
    """The sum of the weighted terms, in their order, as a loss of ``network``; the log gets every value unweighted.

    Examples:
        >>> terms = [Term("whole", torch.tensor(2.0)), Term("tiles", torch.tensor(4.0), weight=0.5)]
        >>> loss = combine("classifier", terms)
        >>> loss.value, loss.parts["tiles"]
        (tensor(4.), tensor(4.))
    """
    weighted, parts = [], {}
    for name, value, weight in terms:
        parts[name] = value.detach()
        if weight is not None:
            weighted.append(value if weight == 1.0 else weight * value)
    total = reduce(torch.add, weighted)
    return Loss(network, total, {"loss": total.detach(), **parts})


def whole_terms(maps: torch.Tensor, batch: Batch, loss: Classification) -> list[Term]:
    """``whole``: l(GAP(A), y)."""
    return [Term("whole", loss(logits(maps), batch.labels))]


def puzzle_terms(
    generator: nn.Module,
    maps: torch.Tensor,
    batch: Batch,
    loss: Classification,
    training_step: TrainingStep,
    s: TiledSettings,
) -> list[Term]:
    """Puzzle-CAM (Jo and Yu 2021): ``tiles``, l(GAP(A_tiles), y); ``reconstruction``, |A - A_tiles|; and ``entropy`` of
    A where its weight is ever above 0.

    ``maps`` are those of the whole images; f sees the tiles here.
    """
    merged = merge_tiles(generator(split_tiles(batch.images, s.tiles)), s.tiles)
    rebuilt = reconstruction_loss(maps, merged, batch.labels, s.reconstruction_over, s.reconstruction_norm)
    terms = [
        Term("tiles", loss(logits(merged), batch.labels)),
        Term("reconstruction", rebuilt, training_step.weight(s.reconstruction)),
    ]
    if s.entropy.start or s.entropy.end:
        terms.append(Term("entropy", present_entropy(maps, batch.labels), training_step.weight(s.entropy)))
    return terms


def erasing_terms(
    ordinary: nn.Module,
    maps: torch.Tensor,
    batch: Batch,
    chosen: torch.Tensor,
    loss: Classification,
    training_step: TrainingStep,
    s: ErasingSettings,
) -> list[Term]:
    """OC-CSE (Kweon et al. 2021): ``erasing``, l(oc(x (1 - psi)), y without r); and ``erased_share``, the mean of psi,
    for the log alone where ``erased_area`` is 0.

    psi is the soft mask of r, upsampled from A; with ``erase_saturation`` below 1, min(1, psi / erase_saturation) takes
    its place. The gradient reaches f through oc's input; that oc collects none is the caller's part.
    """
    mask = activation_mask(maps, chosen, input_size(batch.images), s.erasing_max)
    if s.erase_saturation < 1:
        mask = (mask / s.erase_saturation).clamp(max=1)
    left = logits(ordinary(erase_soft(batch.images, mask)))
    value = loss(left, without(batch.labels, chosen))
    priced = training_step.weight(s.erased_area) if s.erased_area.start or s.erased_area.end else None
    return [Term("erasing", value, training_step.weight(s.erasing)), Term("erased_share", mask.mean(), priced)]


def adversary_loss(
    ordinary: nn.Module,
    maps: torch.Tensor,
    batch: Batch,
    chosen: torch.Tensor,
    loss: Classification,
    training_step: TrainingStep,
    s: PNocSettings,
) -> Loss:
    """P-NOC (David et al. 2024): w l(oc(x 1[psi <= delta]), y) with f's maps taken as they are: oc learns to find r in
    what they have left over."""
    mask = activation_mask(maps.detach(), chosen, input_size(batch.images), s.adversary_max)
    found = loss(logits(ordinary(erase_hard(batch.images, mask, s.adversary_threshold))), batch.labels)
    return Loss("ordinary", training_step.weight(s.adversary) * found, {"adversary": found.detach()})
