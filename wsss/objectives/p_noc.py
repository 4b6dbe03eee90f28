"""P-NOC (David et al. 2024): a CAM generator against a not so ordinary classifier.

Every micro-step has two phases.

(a) Generator f, the loss of P-OC:
    L = l(p, y') + l(p_tiles, y') + w_re |A - A_tiles| + w_cse l(oc(x (1 - psi)), (y without r)'),
    with oc frozen: the maps of the whole image and of its tiles must agree (Puzzle-CAM), and once the activation of
    class r is erased, oc must find no r (OC-CSE). psi is the soft mask of r; r is drawn among the present classes.
(b) Ordinary classifier oc:  L = w_noc l(oc(x 1[psi <= delta]), y'), with f frozen and psi from the maps of (a): oc
    learns to find r in what f has left over, and from then on penalises f for leaving it.

The published code lets the gradient of (a) reach oc, which trains oc to deny r; the paper does not. Here oc is
frozen in (a) unless ``gradient_leak`` asks for the published behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.terms import adversary_loss
from wsss.objectives.base import frozen
from wsss.objectives.p_oc import POc
from wsss.settings import PNocSettings

VERSION = 1


class PNoc(POc):
    """See the module's text. ``given["ordinary"]`` is the folder of the ordinary classifier."""

    settings: PNocSettings
    trains_ordinary = True

    def batch_norm(self, network: str, default: str) -> str:
        return self.settings.adversary_batch_norm if network == "ordinary" else default

    def crossed(self) -> bool:
        return self.settings.gradient_leak

    def lr_mult(self, network: str) -> float:
        return self.settings.adversary_lr_mult if network == "ordinary" else 1.0

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        s = self.settings
        self.ordinary.eval()
        with nullcontext() if s.gradient_leak else frozen(self.ordinary):
            loss, maps, chosen = self.generator_loss(batch, training_step)
            yield loss

        if training_step.step % s.adversary_interval:
            return
        self.ordinary.train()
        yield adversary_loss(self.ordinary, maps, batch, chosen, self.loss, training_step, s)
