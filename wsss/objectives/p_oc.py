"""P-OC (David et al. 2024): Puzzle-CAM and OC-CSE together.

L = l(p, y') + l(p_tiles, y') + w_re |A - A_tiles| + w_cse l(oc(x (1 - psi)), (y without r)'), with oc never trained;
see ``wsss.objectives.puzzle`` and ``wsss.objectives.oc_cse``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from wsss.data.loading import Batch
from wsss.losses.base import Loss, Moment
from wsss.losses.terms import combine, erasing_terms, puzzle_terms, whole_terms
from wsss.models.classifier import logits
from wsss.objectives.erasing import Judged
from wsss.settings import PNocSettings, POcSettings

VERSION = 1


class Goal(Judged):
    """See the module's text. ``given["ordinary"]`` is the folder of the ordinary classifier."""

    settings: POcSettings | PNocSettings

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Loss]:
        yield self.generator_loss(batch, moment)[0]

    def generator_loss(self, batch: Batch, moment: Moment) -> tuple[Loss, torch.Tensor, torch.Tensor]:
        """The loss, the generator's raw maps (B, C, h, w) of the whole images, and the erased classes, int64 (B,)."""
        generator = self.networks["generator"]
        maps = generator(batch.images)
        chosen = self.chooser(batch.labels, batch.draws, logits(maps))
        terms = whole_terms(maps, batch, self.loss)
        terms += puzzle_terms(generator, maps, batch, self.loss, moment, self.settings)
        terms += erasing_terms(self.ordinary, maps, batch, chosen, self.loss, moment, self.settings)
        return combine("generator", terms), maps, chosen
