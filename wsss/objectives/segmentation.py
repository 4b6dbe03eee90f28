"""Segmentation learnt from masks, pseudo or true: cross entropy over background and object classes.

With ``soft_weight`` also from the probabilities of the networks that made the masks (Hinton et al. 2015).
"""

from __future__ import annotations

from collections.abc import Iterator

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.segmentation import segmentation_loss
from wsss.losses.soft_targets import soft_target_loss
from wsss.losses.terms import Term, combine
from wsss.models.segmenter import build_segmenter
from wsss.objectives.base import Objective
from wsss.settings import SegmentationSettings

VERSION = 1


class Segmentation(Objective):
    """L = CE(f(x), mask), or with w = ``soft_weight`` (1 - w) CE(f(x), mask) + w T^2 KL(q^(1/T), f(x)^(1/T))."""

    product = "segmenter"

    def __init__(self, settings: SegmentationSettings, classes: int) -> None:
        self.settings = settings
        self.networks = {"segmenter": build_segmenter(settings, classes)}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        scores = self.networks["segmenter"](batch.images)
        loss = segmentation_loss(scores, batch.targets, self.settings.label_smoothing, self.settings.loss_cap)
        if not self.settings.soft_weight:
            yield Loss("segmenter", loss, {"loss": loss.detach()})
            return
        if batch.soft is None:
            raise ValueError("this batch has no soft targets: its training is one on masks alone")
        soft = soft_target_loss(scores, batch.soft, batch.labels, self.settings.soft_temperature)
        weight = self.settings.soft_weight
        yield combine("segmenter", [Term("masks", loss, 1 - weight), Term("soft_targets", soft, weight)])
