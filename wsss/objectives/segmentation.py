"""Segmentation learnt from masks, pseudo or true: cross entropy over background and object classes."""

from __future__ import annotations

from collections.abc import Iterator

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.segmentation import segmentation_loss
from wsss.models.segmenter import build_segmenter
from wsss.objectives.base import Objective
from wsss.settings import SegmenterSettings

VERSION = 1


class Segmentation(Objective):
    """L = CE(f(x), mask)."""

    product = "segmenter"

    def __init__(self, settings: SegmenterSettings, classes: int) -> None:
        self.settings = settings
        self.networks = {"segmenter": build_segmenter(settings, classes)}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        scores = self.networks["segmenter"](batch.images)
        loss = segmentation_loss(scores, batch.targets, self.settings.label_smoothing, self.settings.loss_cap)
        yield Loss("segmenter", loss, {"loss": loss.detach()})
