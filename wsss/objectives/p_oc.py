"""P-OC (David et al. 2024): Puzzle-CAM and OC-CSE together.

L = l(p, y') + l(p_tiles, y') + w_re |A - A_tiles| + w_cse l(oc(x (1 - psi)), (y without r)'), with oc never trained;
see ``wsss.objectives.puzzle`` and ``wsss.objectives.oc_cse``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.terms import combine, erasing_terms, puzzle_terms, whole_terms
from wsss.models.classifier import logits
from wsss.objectives.erasing import ErasingObjective
from wsss.settings import PNocSettings, POcSettings

VERSION = 1


class POc(ErasingObjective):
    """See the module's text. ``given["ordinary"]`` is the folder of the ordinary classifier."""

    settings: POcSettings | PNocSettings

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        yield self.generator_loss(batch, training_step)[0]

    def generator_loss(self, batch: Batch, training_step: TrainingStep) -> tuple[Loss, torch.Tensor, torch.Tensor]:
        """The loss, the generator's raw maps (B, C, h, w) of the whole images, and the erased classes, int64 (B,)."""
        generator = self.networks["generator"]
        maps = generator(batch.images)
        chosen = self.chooser(batch.labels, batch.draws, logits(maps))
        terms = whole_terms(maps, batch, self.loss)
        terms += puzzle_terms(generator, maps, batch, self.loss, training_step, self.settings)
        terms += erasing_terms(self.ordinary, maps, batch, chosen, self.loss, training_step, self.settings)
        return combine("generator", terms), maps, chosen
