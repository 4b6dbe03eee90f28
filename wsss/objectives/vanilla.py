"""Ordinary multi-label classification: the loss of the pooled maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.classification import Classification
from wsss.models.classifier import build_classifier, logits
from wsss.objectives.base import Objective
from wsss.settings import VanillaSettings

VERSION = 1


class Vanilla(Objective):
    """L = l(GAP(A), y')."""

    product = "classifier"

    def __init__(
        self,
        settings: VanillaSettings,
        classes: int,
        given: dict[str, Path],
        frequencies: torch.Tensor | None = None,
    ) -> None:
        self.loss = Classification(settings, classes, frequencies)
        self.networks = {"classifier": build_classifier(settings, classes, given.get("warm_start"))}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        loss = self.loss(logits(self.networks["classifier"](batch.images)), batch.labels)
        yield Loss("classifier", loss, {"loss": loss.detach()})
