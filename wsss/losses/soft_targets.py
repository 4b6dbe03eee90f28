"""Learning from another network's probabilities beside labels (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from wsss.compute.collectives import batch_mean


def channels_of(labels: torch.Tensor, most: int) -> torch.Tensor:
    """Output channels of the background and of each image's classes in ascending order, then of other classes:
    int64 (B, most). ``labels``: (B, C) in {0, 1}.

    Examples:
        >>> channels_of(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), 3)
        tensor([[0, 2, 4]])
    """
    present = F.pad(labels, (1, 0), value=1.0)
    return present.argsort(dim=1, descending=True, stable=True)[:, :most]


def soft_target_loss(
    scores: torch.Tensor, soft: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL(q^(1/T), p^(1/T)), mean over the pixels of the batch (on all devices) that show an image, in fp32; 0 where
    none do.

    p = softmax(scores) over all labels, q of the background and the tags; both to the power 1/T and divided by their
    sum. T^2 keeps gradients in proportion, whatever T (Hinton et al. 2015, section 2). It is 0 where p is q.

    Args:
        scores: Logits (B, C + 1, H, W).
        soft: q in levels, uint8 (B, M, H, W), as in ``Batch.soft``; a pixel of all 0 shows no image.
        labels: (B, C) in {0, 1}.
        temperature: T.

    Examples:
        >>> scores = torch.tensor([1.0, 3.0, 2.0]).log().view(1, 3, 1, 1)
        >>> soft = torch.tensor([50, 0], dtype=torch.uint8).view(1, 2, 1, 1)  # all background, for p 1/6 of it
        >>> soft_target_loss(scores, soft, torch.tensor([[0.0, 1.0]]), 1.0).exp()
        tensor(6.)
    """
    power = soft.float() ** (1 / temperature)
    total = power.sum(1, keepdim=True)
    q = power / total.clamp(min=torch.finfo(torch.float32).tiny)
    channels = channels_of(labels, soft.shape[1])[:, :, None, None].expand_as(soft)
    log_p = F.log_softmax(scores.float() / temperature, dim=1).gather(1, channels)
    divergence = (torch.xlogy(q, q) - q * log_p).sum()
    return temperature**2 * batch_mean(divergence, (total > 0).sum())
