"""Segmentation learnt from pseudo-labels and from a mean teacher, with objects pasted between images.

Student S, teacher T a moving average of it. For ``teacher_warmup`` epochs S learns from the masks m alone. Then, each
micro-step, for the images x with their tags:

    p = softmax over background and tags of T(x),  y = argmax p,  h = entropy of p,
    x', m', y', h' = ClassMix of x, m, y, h (some images; half of the classes in the partner's mask),
    L = CE(S(x'), m') + w (n / n_u) CE(S(x'), y' on the n_u surest of the n pixels),

where the share ``teacher_drop`` (1 - t / T) of the pixels that has the highest entropy is dropped. After the optimiser
step the teacher follows. The mask of a tagged image that shows no object is not learnt from, but by what is pasted into
it. The canvas around an image has no label of the teacher.

Source: the parts and their numbers are those of CSRM's code (train_csrm.py), which trains on P-NOC's masks, after U2PL
(Wang et al., CVPR 2022): teacher, entropy, rescaling, and ClassMix (Olsson et al., WACV 2021). This project's: every
image learns from its mask and from the teacher at once (published: the same photos stand in two halves of a batch, each
with one of the two, at twice the price); partners are neighbours in the micro-batch, and what is pasted is told by the
mask; the share that is dropped falls with every step and not every epoch; the teacher sees what the student sees but
for the paste (published: without the colour augmentation). CSRM's memory bank and its classification branch are left
out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from wsss.compute.collectives import over_devices
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.class_mix import paste, pasted_from_partner
from wsss.losses.segmentation import entropies, on_canvas, segmentation_loss, surest, tagged_probabilities, vouched
from wsss.losses.terms import Term, combine
from wsss.models.segmenter import build_segmenter
from wsss.models.teacher import Teacher
from wsss.objectives.base import Objective
from wsss.settings import EmaTeacherSettings

VERSION = 1


class EmaTeacher(Objective):
    """See the module's text."""

    product = "segmenter"

    def __init__(self, settings: EmaTeacherSettings, classes: int) -> None:
        self.settings, self.classes = settings, classes
        student = build_segmenter(settings, classes)
        self.teacher = Teacher(student, settings.teacher_decay)
        self.networks, self.fixed = {"segmenter": student}, {"teacher": self.teacher.network}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        s, student = self.settings, self.networks["segmenter"]
        masks = vouched(batch.targets, batch.labels)
        if not self.teacher.updates:
            loss = segmentation_loss(student(batch.images), masks, s.label_smoothing, s.loss_cap)
            yield combine("segmenter", [Term("masks", loss)])
            return
        taught, entropy = self.taught(batch)
        images = batch.images
        if s.class_mix:
            host = batch.on_host
            pasted = pasted_from_partner(masks, host.draws, self.classes, s.class_mix, host.targets)
            images, masks, taught, entropy = (paste(one, pasted) for one in (images, masks, taught, entropy))
        known = taught != IGNORE
        sure = surest(entropy, known, 1 - s.teacher_drop * (1 - training_step.progress))
        (every, some), _ = over_devices(torch.stack([known.sum(), sure.sum()]))
        share = some / every.clamp(min=1)
        scores = student(images)
        of_masks = segmentation_loss(scores, masks, s.label_smoothing, s.loss_cap)
        of_teacher = segmentation_loss(scores, taught.masked_fill(~sure, IGNORE), s.label_smoothing)
        yield combine(
            "segmenter",
            [
                Term("masks", of_masks),
                Term("teacher", of_teacher / share.clamp(min=1e-6), s.teacher_weight),
                Term("sure_share", share, None),
            ],
        )

    @torch.no_grad()
    def taught(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's labels, int64 (B, H, W), 255 around an image, and their entropies, float32 (B, H, W)."""
        probabilities = tagged_probabilities(self.teacher.network(batch.images), batch.labels)
        labels = probabilities.argmax(dim=1).masked_fill(on_canvas(batch.images), IGNORE)
        return labels, entropies(probabilities)

    def after_step(self, training_step: TrainingStep) -> None:
        if training_step.epoch >= self.settings.teacher_warmup:
            self.teacher.follow(self.networks["segmenter"])

    def kept(self, product: nn.Module) -> nn.Module:
        began = self.teacher.updates > 0  # not if no optimiser step came after the warm-up
        return self.teacher.network if began and self.settings.kept == "teacher" else product

    def state(self) -> dict[str, torch.Tensor]:
        return self.teacher.state()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.teacher.load_state(state)
