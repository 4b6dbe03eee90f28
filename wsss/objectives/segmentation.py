"""Segmentation learnt from masks, pseudo or true: cross entropy over background and object classes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from wsss.compute.collectives import batch_mean
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.losses.base import Loss, TrainingStep
from wsss.models.segmenter import build_segmenter
from wsss.objectives.base import Objective
from wsss.settings import SegmenterSettings

VERSION = 1


def segmentation_loss(scores: torch.Tensor, masks: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Cross entropy, mean over the pixels of the batch (on all devices) that are not 255, in fp32; 0 where all are.

    Args:
        scores: Logits (B, C + 1, H, W).
        masks: int64 (B, H, W).
        label_smoothing: a: the target is (1 - a) one-hot + a / (C + 1).
    """
    total = F.cross_entropy(
        scores.float(), masks, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction="sum"
    )
    return batch_mean(total, (masks != IGNORE).sum())


class Segmentation(Objective):
    """L = CE(f(x), mask)."""

    product = "segmenter"

    def __init__(self, settings: SegmenterSettings, classes: int) -> None:
        self.settings = settings
        self.networks = {"segmenter": build_segmenter(settings, classes)}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        scores = self.networks["segmenter"](batch.images)
        loss = segmentation_loss(scores, batch.targets, self.settings.label_smoothing)
        yield Loss("segmenter", loss, {"loss": loss.detach()})
