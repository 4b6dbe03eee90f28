"""Ordinary multi-label classification: the loss of the pooled maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wsss.data.loading import Batch
from wsss.models.classifier import build_classifier, logits
from wsss.objectives.base import Loss, Moment, Objective
from wsss.objectives.classification import classification_loss, smooth
from wsss.settings import VanillaSettings


class Goal(Objective):
    """L = BCE(GAP(A), y')."""

    product = "classifier"

    def __init__(self, settings: VanillaSettings, classes: int, given: dict[str, Path]) -> None:
        self.settings = settings
        self.networks = {"classifier": build_classifier(settings, classes, given.get("warm_start"))}

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Loss]:
        scores = logits(self.networks["classifier"](batch.images))
        loss = classification_loss(scores, smooth(batch.labels, self.settings.label_smoothing))
        yield Loss("classifier", loss, {"loss": loss.detach()})
