"""A step of class-incremental segmentation: cross entropy among the known classes, and a memory of earlier ones.

L = CE + w T^2 KL(old^(1/T), new^(1/T)). The softmax of CE is over the background and the known classes. Masks of the
step's own images show its classes alone; where they say background, the old network's class takes its place if the old
network is sure enough (SSUL, Cha et al., NeurIPS 2021). Exemplars keep the labels that are stored with them. The second
term, among the classes that the old network knows, is learning without forgetting (Li and Hoiem, TPAMI 2017). A new
class begins as the background did.

Without classes it is ``objective: segmentation``, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

from wsss.beyond.continual import Step
from wsss.compute.collectives import batch_mean
from wsss.compute.devices import upload
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.errors import WsssError
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.segmentation import on_canvas, segmentation_loss
from wsss.losses.terms import Term, combine
from wsss.models.class_rows import close_rows, open_rows
from wsss.models.segmenter import Segmenter, build_segmenter
from wsss.objectives.base import Objective
from wsss.settings import ContinualSettings

VERSION = 1
FULL = 255
"""Level of a pixel whose weight is 1, in ``Batch.soft``."""


def among(scores: torch.Tensor, masks: torch.Tensor, known: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K + 1, H, W) of the background and the known classes alone, and masks in their numbers.

    Args:
        scores: Logits (B, C + 1, H, W).
        masks: int64 (B, H, W) of the background, known classes, and 255.
        known: K object classes, from 0, ascending.

    Examples:
        >>> scores = torch.tensor([0.0, 0.0, 10.0]).view(1, 3, 1, 1)
        >>> among(scores, torch.zeros(1, 1, 1).long(), [0])[0].softmax(1).flatten()
        tensor([0.5000, 0.5000])
    """
    channels = _channels(known, scores.device)
    places = torch.full((IGNORE + 1,), IGNORE, device=scores.device)
    places[channels] = torch.arange(len(channels), device=scores.device)
    return scores.index_select(1, channels), places[masks]


def _channels(known: Sequence[int], device: torch.device) -> torch.Tensor:
    """Where logits have the background and these object classes."""
    return upload(torch.tensor([0, *(c + 1 for c in known)]), device)


def own_masks(masks: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Masks in which every class that is no label of the image is background; 255 stays.

    ``masks``: int64 (B, H, W); ``labels``: (B, C) in {0, 1}.

    Examples:
        >>> own_masks(torch.tensor([[[0, 1, 2, 255]]]), torch.tensor([[0.0, 1.0]]))
        tensor([[[  0,   0,   2, 255]]])
    """
    kept = labels.new_zeros(len(labels), IGNORE + 1, dtype=torch.bool)
    kept[:, 1 : 1 + labels.shape[1]] = labels > 0
    kept[:, IGNORE] = True
    return masks * kept.gather(1, masks.flatten(1)).view_as(masks)


def with_old(masks: torch.Tensor, old: torch.Tensor, confidence: float) -> torch.Tensor:
    """Masks whose background is the old network's class where its largest probability is at least ``confidence``.

    ``masks``: int64 (B, H, W); ``old``: the old network's logits (B, C + 1, H, W), which is ``LEAST`` for classes that
    it does not know.
    """
    sure, label = old.float().softmax(1).max(1)
    return torch.where((masks == 0) & (sure >= confidence), label, masks)


def weighted_loss(
    scores: torch.Tensor, masks: torch.Tensor, label_smoothing: float, levels: torch.Tensor
) -> torch.Tensor:
    """Cross entropy, mean over the pixels that are not 255, each weighing level / 255; in fp32.

    ``scores``: (B, K, H, W); ``masks``: int64 (B, H, W); ``levels``: uint8 (B, 1, H, W).
    """
    each = F.cross_entropy(
        scores.float(), masks, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction="none"
    )
    weights = levels[:, 0].float() / FULL * (masks != IGNORE)
    return batch_mean((each * weights).sum(), weights.sum())


def distillation(
    scores: torch.Tensor, old: torch.Tensor, known: Sequence[int], shown: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL(old^(1/T), new^(1/T)) among the background and the classes that the old network knows, mean over the
    pixels that show an image; in fp32.

    Args:
        scores: Logits (B, C + 1, H, W).
        old: The same of the old network, without gradient.
        known: Object classes that the old network knows, from 0.
        shown: bool (B, H, W).
        temperature: T.
    """
    channels = _channels(known, scores.device)
    new_log, old_log = (
        F.log_softmax(each.index_select(1, channels).float() / temperature, 1) for each in (scores, old)
    )
    divergence = (old_log.exp() * (old_log - new_log)).sum(1)
    return temperature**2 * batch_mean((divergence * shown).sum(), shown.sum())


class Continual(Objective):
    """See the module's text.

    Args:
        settings: The recipe.
        classes: Number of object classes C of the dataset, learnt or not.
        step: The step's classes; None: all are learnt at once.
        old: The network of the step before, which stays as it is.

    Raises:
        WsssError: The old network is of another architecture.
    """

    product = "segmenter"

    def __init__(
        self, settings: ContinualSettings, classes: int, step: Step | None = None, old: Segmenter | None = None
    ) -> None:
        self.settings, self.step = settings, step
        given = settings if old is None else settings.model_copy(update={"pretrained": False})
        network = build_segmenter(given, classes)
        if old is not None:
            try:
                network.load_state_dict(old.state_dict())
            except RuntimeError as error:
                raise WsssError(
                    f"'warm_start: {settings.warm_start}' is of another architecture or backbone than this recipe; "
                    f"give both the same\n{error}"
                ) from None
            self.fixed = {"old": old}
        if step is not None:
            open_rows(network, step.own if old is not None else ())
            close_rows(network, set(range(classes)) - set(step.known))
        self.networks = {"segmenter": network}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        s, step = self.settings, self.step
        scores = self.networks["segmenter"](batch.images)
        if step is None:
            loss = segmentation_loss(scores, batch.targets, s.label_smoothing, s.loss_cap)
            yield Loss("segmenter", loss, {"loss": loss.detach()})
            return
        masks, old = own_masks(batch.targets, batch.labels), None
        if "old" in self.fixed and (s.old_confidence is not None or s.distil):
            with torch.no_grad():
                old = self.fixed["old"](batch.images)
        if old is not None and s.old_confidence is not None:
            own = batch.labels.index_select(1, upload(torch.tensor(step.own), masks.device)).gt(0).any(1)
            masks = torch.where(own[:, None, None], with_old(masks, old, s.old_confidence), masks)
        logits, masks = among(scores, masks, step.known)
        if batch.soft is None:
            loss = segmentation_loss(logits, masks, s.label_smoothing, s.loss_cap)
        else:
            loss = weighted_loss(logits, masks, s.label_smoothing, batch.soft)
        terms = [Term("masks", loss)]
        if old is not None and s.distil:
            kept = distillation(scores, old, step.before, ~on_canvas(batch.images), s.distil_temperature)
            terms.append(Term("distillation", kept, s.distil))
        yield combine("segmenter", terms)
