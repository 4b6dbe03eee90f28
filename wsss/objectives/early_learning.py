"""Segmentation with masks that are corrected once the network begins to memorise their errors (ADELE, Liu et al., CVPR
2022).

A network learns what is common to the masks first and their errors later, and at another time for each class. At the
end of every epoch the IoU of its predictions with the masks as they came, on the crops it was trained on, goes into a
curve for each class; once the curve has lost more than ``correction_start`` of its first slope, the class is corrected,
and the background as soon as any class is. From then on the loss is CE(f(x), m~), with

    m~ = argmax q where max q > ``sure`` and that label is corrected, else m,   q = tag-restricted softmax of T(x),

T the moving average of f's weights, which follows from the first step on. A correction starts from the mask as it came,
each time.

This project's variant: published is a pass over all images at the end of an epoch, by the network itself at several
scales, that writes new masks; here each crop's mask is corrected when it is used, at one scale, by the average, which
costs a pass without gradient a step from then on, and no files. The published consistency of scales is left out. The
guard is that of ``wsss.refine.self_training``, of each crop.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from wsss.compute.collectives import all_reduce_max, over_devices
from wsss.compute.devices import upload
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.early_learning import corrected_masks, slope_fall
from wsss.losses.segmentation import counts_of, on_canvas, segmentation_loss, tagged_probabilities
from wsss.losses.terms import Term, combine
from wsss.models.segmenter import build_segmenter
from wsss.models.teacher import Teacher
from wsss.objectives.base import Objective
from wsss.settings import EarlyLearningSettings

VERSION = 1


class EarlyLearning(Objective):
    """See the module's text.

    Attributes:
        counts: Pixels of this epoch by label in the mask and label predicted, int64 (C + 1, C + 1), of all devices.
        curves: IoU of each label at the end of each epoch that is done, a list an epoch.
        started: Which labels are corrected.
        epoch: The one that ``counts`` is of, from 0.
    """

    product = "segmenter"

    def __init__(self, settings: EarlyLearningSettings, classes: int) -> None:
        self.settings, self.labels = settings, classes + 1
        network = build_segmenter(settings, classes)
        self.teacher = Teacher(network, settings.teacher_decay)
        self.networks, self.fixed = {"segmenter": network}, {"teacher": self.teacher.network}
        self.counts = torch.zeros(self.labels, self.labels, dtype=torch.int64)
        self.curves: list[list[float]] = []
        self.started = [False] * self.labels
        self.epoch = 0

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        s, masks = self.settings, batch.targets
        if training_step.epoch > self.epoch:
            self._end_epoch(training_step.epoch)
        scores = self.networks["segmenter"](batch.images)
        self._count(scores, masks)
        targets = self._corrected(batch) if any(self.started) else masks
        loss = segmentation_loss(scores, targets, s.label_smoothing, s.loss_cap)
        (changed, every), _ = over_devices(torch.stack([(targets != masks).sum(), (masks != IGNORE).sum()]))
        share, started = changed / every.clamp(min=1), every.new_full((), sum(self.started), dtype=torch.float32)
        yield combine("segmenter", [Term("masks", loss), Term("changed", share, None), Term("classes", started, None)])

    @torch.no_grad()
    def _corrected(self, batch: Batch) -> torch.Tensor:
        s = self.settings
        q = tagged_probabilities(self.teacher.network(batch.images), batch.labels)
        started = upload(torch.tensor(self.started), q.device)
        return corrected_masks(q, batch.targets, started, ~on_canvas(batch.images), s.sure, s.guard)

    @torch.no_grad()
    def _count(self, scores: torch.Tensor, masks: torch.Tensor) -> None:
        """Take in the predictions for the crops of all devices."""
        known = masks != IGNORE
        pairs = (masks * self.labels + scores.argmax(dim=1)).masked_fill(~known, self.labels**2)
        counted, _ = over_devices(counts_of(pairs, self.labels**2))
        self.counts = upload(self.counts, masks.device) + counted.view_as(self.counts)

    def _end_epoch(self, epoch: int) -> None:
        """Add a point to each curve, and start to correct the labels whose curve is bent by now."""
        both = self.counts.diag().double()
        either = self.counts.sum(dim=0) + self.counts.sum(dim=1) - both
        self.curves.append((both / either.clamp(min=1)).tolist())
        objects, start = range(1, self.labels), self.settings.correction_start
        bent = [float(slope_fall([point[label] for point in self.curves]) > start) for label in objects]
        for label, found in zip(objects, all_reduce_max(bent, self.counts.device), strict=True):
            self.started[label] |= bool(found)  # the same for all, whose processors may round differently
        self.started[0] = any(self.started)
        self.counts, self.epoch = torch.zeros_like(self.counts), epoch

    def after_step(self, training_step: TrainingStep) -> None:
        self.teacher.follow(self.networks["segmenter"])

    def state(self) -> dict[str, torch.Tensor]:
        return {
            "counts": self.counts,
            "curves": torch.tensor(self.curves, dtype=torch.float64).view(-1, self.labels),
            "started": torch.tensor(self.started),
            "epoch": torch.tensor(self.epoch),
            **self.teacher.state(),
        }

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.counts, self.curves = state["counts"], state["curves"].tolist()
        self.started, self.epoch = state["started"].tolist(), int(state["epoch"])
        own = ("counts", "curves", "started", "epoch")
        self.teacher.load_state({name: tensor for name, tensor in state.items() if name not in own})
