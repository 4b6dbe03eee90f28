"""OC-CSE (Kweon et al. 2021): once the activation of a class is erased, an ordinary classifier must not find it.

L = l(p, y') + w_cse l(oc(x (1 - psi)), (y without r)'): psi is the soft mask of a present class r that is chosen for
each image. The gradient reaches the generator through oc's input; oc itself is never trained.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.terms import combine, erasing_terms, whole_terms
from wsss.models.classifier import logits
from wsss.objectives.erasing import ErasingObjective

VERSION = 1


class OcCse(ErasingObjective):
    """See the module's text. ``given["ordinary"]`` is the folder of the ordinary classifier."""

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        maps = self.networks["generator"](batch.images)
        chosen = self.chooser(batch.labels, batch.draws, logits(maps))
        terms = whole_terms(maps, batch, self.loss)
        terms += erasing_terms(self.ordinary, maps, batch, chosen, self.loss, training_step, self.settings)
        yield combine("generator", terms)
