"""P-NOC (David et al. 2024): a CAM generator against a not so ordinary classifier.

Every micro-step has two phases.

(a) Generator f:  L = l(p, y') + l(p_tiles, y') + w_re |A - A_tiles| + w_cse l(oc(x (1 - psi)), (y without r)'),
    with oc frozen: the maps of the whole image and of its tiles must agree (Puzzle-CAM), and once the activation of
    class r is erased, oc must find no r (OC-CSE). psi is the soft mask of r; r is drawn among the present classes.
(b) Ordinary classifier oc:  L = w_noc l(oc(x 1[psi <= delta]), y'), with f frozen and psi from the maps of (a): oc
learns to
    find r in what f has left over, and from then on penalises f for leaving it.

The published code lets the gradient of (a) reach oc, which trains oc to deny r; the paper does not. Here oc is
frozen in (a) unless ``gradient_leak`` asks for the published behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from wsss.data.loading import Batch
from wsss.models.backbone import input_size
from wsss.models.classifier import build_classifier, logits
from wsss.objectives.base import Loss, Moment, Objective, frozen
from wsss.objectives.classification import classification_loss, smooth
from wsss.objectives.erasing import activation_mask, choose_class, erase_hard, erase_soft, without
from wsss.objectives.puzzle import merge_tiles, reconstruction_loss, split_tiles
from wsss.settings import PNocSettings


class Goal(Objective):
    """See the module's text. ``given["ordinary"]`` is the folder of the ordinary classifier."""

    product = "generator"

    def __init__(self, settings: PNocSettings, classes: int, given: dict[str, Path]) -> None:
        self.settings = settings
        self.networks = {
            "generator": build_classifier(settings, classes, given.get("warm_start")),
            "ordinary": build_classifier(settings, classes, given["ordinary"]),
        }

    def batch_norm(self, network: str, default: str) -> str:
        return self.settings.adversary_batch_norm if network == "ordinary" else default

    def losses(self, batch: Batch, moment: Moment) -> Iterator[Loss]:
        s = self.settings
        generator, ordinary = self.networks["generator"], self.networks["ordinary"]
        images, labels = batch.images, batch.labels
        targets = smooth(labels, s.label_smoothing)
        chosen = choose_class(labels, batch.draws)

        ordinary.eval()
        with nullcontext() if s.gradient_leak else frozen(ordinary):
            maps = generator(images)
            merged = merge_tiles(generator(split_tiles(images, s.tiles)), s.tiles)
            whole = classification_loss(logits(maps), targets)
            pieces = classification_loss(logits(merged), targets)
            rebuilt = reconstruction_loss(maps, merged, labels, s.reconstruction_over)
            mask = activation_mask(maps, chosen, input_size(images), s.erasing_max)
            left = logits(ordinary(erase_soft(images, mask)))
            erased = classification_loss(left, smooth(without(labels, chosen), s.label_smoothing))
            total = whole + pieces + moment.weight(s.reconstruction) * rebuilt + moment.weight(s.erasing) * erased
            parts = {"loss": total, "whole": whole, "tiles": pieces, "reconstruction": rebuilt, "erasing": erased}
            parts["erased_share"] = mask.mean()
            yield Loss("generator", total, {k: v.detach() for k, v in parts.items()})

        if moment.step % s.adversary_interval:
            return
        ordinary.train()
        mask = activation_mask(maps.detach(), chosen, input_size(images), s.adversary_max)
        found = classification_loss(logits(ordinary(erase_hard(images, mask, s.adversary_threshold))), targets)
        loss = moment.weight(s.adversary) * found
        yield Loss("ordinary", loss, {"adversary": found.detach()})
