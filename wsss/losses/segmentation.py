"""Terms of trainings on masks that may be wrong: cross entropy, predictions restricted to tags, the surest pixels."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from wsss.compute.collectives import batch_mean, over_devices
from wsss.data.transforms import IGNORE

LEVELS = 1024
"""Levels between the smallest and the largest entropy, in which ``surest`` counts."""


def segmentation_loss(
    scores: torch.Tensor, masks: torch.Tensor, label_smoothing: float, cap: float | None = None
) -> torch.Tensor:
    """Cross entropy, mean over the pixels of the batch (on all devices) that are not 255, in fp32; 0 where all are.

    With ``cap`` hard pixels are taken for wrong labels once most are learnt (the clamp of PMM, Li et al., ICCV 2021):
    where the batch's mean is below it, each pixel above it counts as the cap, without gradient. Mean and pixels are
    measured without label smoothing, whose own entropy is 0.6 for 21 labels and a = 0.1.

    Args:
        scores: Logits (B, C + 1, H, W).
        masks: int64 (B, H, W).
        label_smoothing: a: the target is (1 - a) one-hot + a / (C + 1).
        cap: Above 0; None: none.
    """
    if cap is not None:
        return _capped(scores.float(), masks, label_smoothing, cap)
    total = pixel_cross_entropy(scores.float(), masks, "sum", label_smoothing)
    return batch_mean(total, (masks != IGNORE).sum())


def _capped(scores: torch.Tensor, masks: torch.Tensor, label_smoothing: float, cap: float) -> torch.Tensor:
    known = masks != IGNORE
    plain = pixel_cross_entropy(scores, masks, "none").detach()
    (total, count), _ = over_devices(torch.stack([plain.double().sum(), known.sum().double()]))
    each = pixel_cross_entropy(scores, masks, "none", label_smoothing)
    each = each.masked_fill((plain > cap) & (total < cap * count), cap)
    return batch_mean(each.sum(), known.sum())


def pixel_cross_entropy(
    scores: torch.Tensor, masks: torch.Tensor, reduction: str, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Cross entropy of logits (B, C + 1, H, W) at the pixels of masks int64 (B, H, W) that are not 255: their sum, or
    (B, H, W) with ``none``.

    Under ``torch.use_deterministic_algorithms`` pixels stand in one row, for which torch has such a kernel on a GPU.
    """
    shape = masks.shape
    if torch.are_deterministic_algorithms_enabled():
        scores, masks = scores.movedim(1, -1).flatten(0, -2), masks.flatten()
    found = F.cross_entropy(scores, masks, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction=reduction)
    return found.view(shape) if reduction == "none" else found


def tagged_probabilities(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """softmax over the background and the tagged classes of each image alone, float32 (B, C + 1, H, W); 0 for others.

    It is the softmax over all classes, restricted to these and divided by its sum. Without tags all is background.

    Args:
        scores: Logits (B, C + 1, H, W).
        labels: (B, C) in {0, 1}.

    Examples:
        >>> tagged_probabilities(torch.zeros(1, 3, 1, 1), torch.tensor([[0, 1]])).flatten().tolist()
        [0.5, 0.0, 0.5]
    """
    allowed = F.pad(labels > 0, (1, 0), value=True)
    return scores.float().masked_fill(~allowed[:, :, None, None], -math.inf).softmax(dim=1)


def entropies(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy at each pixel over the largest possible one, log(C + 1): (B, H, W) in [0, 1] of (B, C + 1, H, W)."""
    found: torch.Tensor = torch.special.entr(probabilities).sum(dim=1) / math.log(probabilities.shape[1])
    return found


def surest(entropy: torch.Tensor, known: torch.Tensor, share: float) -> torch.Tensor:
    """The pixels of the lowest entropy: a ``share`` of those that are known, on all devices together.

    Entropies count in ``LEVELS`` equal steps, and all pixels of a step are kept or none, so it may be some more, never
    fewer. That costs one message of so many numbers, where sorting would cost one of every pixel.

    Args:
        entropy: (B, H, W) in [0, 1].
        known: Which pixels count, bool (B, H, W).
        share: Of these, in (0, 1].

    Returns:
        bool (B, H, W), a part of ``known``.

    Examples:
        >>> surest(torch.tensor([[[0.1, 0.9, 0.5, 0.2]]]), torch.tensor([[[True, True, True, False]]]), 0.6)
        tensor([[[ True, False,  True, False]]])
    """
    level = (entropy * LEVELS).long().clamp(0, LEVELS - 1)
    counts, _ = over_devices(counts_of(level.masked_fill(~known, LEVELS), LEVELS))
    reached = counts.cumsum(0).double()
    return known & (level <= (reached < share * reached[-1]).sum())


def on_canvas(images: torch.Tensor) -> torch.Tensor:
    """Which pixels of training views (B, 3, S, S) lie around the image, bool (B, S, S): those that are 0, the mean
    colour, in all channels. No pixel of an image is: 255 times a mean is no grey level."""
    return (images == 0).all(dim=1)


def vouched(masks: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The masks, all 255 where a tagged image's mask shows no object: what should be one there is called background.

    ``masks``: int64 (B, H, W); ``labels``: (B, C) in {0, 1}.
    """
    shows = ((masks > 0) & (masks != IGNORE)).flatten(1).any(dim=1)
    silent = labels.gt(0).any(dim=1) & ~shows
    return masks.masked_fill(silent[:, None, None], IGNORE)


def pixel_counts(masks: torch.Tensor) -> torch.Tensor:
    """How many pixels of each image have each value: int64 (B, 256) of int64 (B, H, W)."""
    values = IGNORE + 1
    own = torch.arange(len(masks), device=masks.device)[:, None] * values
    return counts_of(masks.flatten(1) + own, len(masks) * values).view(-1, values)


def counts_of(values: torch.Tensor, number: int) -> torch.Tensor:
    """How often each of 0 to ``number`` - 1 stands among integers of any shape up to ``number``, int64 (number,).

    As ``bincount``, for which the host would wait for a GPU to know the largest value.
    """
    flat = values.flatten()
    counts = flat.new_zeros(number + 1).scatter_add_(0, flat, torch.ones_like(flat))
    return counts[:number]
