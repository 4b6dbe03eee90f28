"""Puzzle-CAM (Jo and Yu 2021): the maps of an image and of its tiles agree.

L = l(p, y') + l(p_tiles, y') + w_re |A - A_tiles|: p is pooled from the maps A of the image, p_tiles from A_tiles, the
maps of its tiles put together. The gradient flows into both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.classification import Classification
from wsss.losses.terms import combine, puzzle_terms, whole_terms
from wsss.models.classifier import build_classifier
from wsss.objectives.base import Objective
from wsss.settings import PuzzleSettings

VERSION = 1


class PuzzleCam(Objective):
    """See the module's text."""

    product = "generator"

    def __init__(
        self,
        settings: PuzzleSettings,
        classes: int,
        given: dict[str, Path],
        frequencies: torch.Tensor | None = None,
    ) -> None:
        self.settings, self.loss = settings, Classification(settings, classes, frequencies)
        self.networks = {"generator": build_classifier(settings, classes, given.get("warm_start"))}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        generator = self.networks["generator"]
        maps = generator(batch.images)
        terms = whole_terms(maps, batch, self.loss)
        terms += puzzle_terms(generator, maps, batch, self.loss, training_step, self.settings)
        yield combine("generator", terms)
