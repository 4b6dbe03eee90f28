"""A saliency network that learns from masks of two labels, made of another recipe's maps (PoolNet, Liu et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional as F

from wsss.compute.collectives import batch_mean
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.classification import smooth
from wsss.models.saliency_net import build_saliency_net
from wsss.objectives.base import Objective
from wsss.settings import SaliencyNetSettings

VERSION = 1


def saliency_loss(logits: torch.Tensor, masks: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Binary cross entropy with logits, mean over the pixels of the batch (on all devices) that are not 255, in fp32; 0
    where all are.

    The published loss is the sum over an image's pixels, a tenth of it, added up over ten images: the same direction,
    some 10^4 times longer, which Adam's steps hardly notice, but which would make rates and clipping depend on the
    size of the images.

    Args:
        logits: (B, 1, H, W).
        masks: int64 (B, H, W): 0 background, 1 salient, 255 left out.
        label_smoothing: a: targets are a/2 and 1 - a/2.
    """
    known = masks != IGNORE
    targets = smooth((masks == 1).float(), label_smoothing)
    each = F.binary_cross_entropy_with_logits(logits[:, 0].float(), targets, reduction="none")
    return batch_mean((each * known).sum(), known.sum())


class SaliencyFromMasks(Objective):
    """L = BCE(f(x), mask)."""

    product = "saliency"

    def __init__(self, settings: SaliencyNetSettings, warm_start: Path | None = None) -> None:
        self.settings = settings
        self.networks = {"saliency": build_saliency_net(settings, warm_start)}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        logits = self.networks["saliency"](batch.images)
        loss = saliency_loss(logits, batch.targets, self.settings.label_smoothing)
        yield Loss("saliency", loss, {"loss": loss.detach()})
