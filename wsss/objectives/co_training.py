"""Two segmentation networks that learn from the masks where these have a label, and from each other where they have
none (BECO, Rong et al., CVPR 2023).

    L_i = 1/n (sum of CE(S_i, m) over the pixels with a label + w sum of CE(S_i, y_j) over those without),

for i = 1, 2 and j the other one, with y_j the argmax of S_j's softmax over the background and the tags, w the weight
``mutual``, and n the pixels of both kinds. Masks that leave out (255) what their sources disagree on are what it is
for: with masks that have a label everywhere the two do not meet. The first network is kept.

This project's: both see the same micro-batch, and differ by the random weights that they begin with (published: the
order of the images differs, too); what the other one says is restricted to the tags. The published paste with its
weights at borders, and the second source of labels after an epoch, are left out. The mean of both at prediction is an
ensemble, and not offered.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from wsss.compute.collectives import over_devices
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.segmentation import on_canvas, segmentation_loss, tagged_probabilities
from wsss.losses.terms import Term, combine
from wsss.models.segmenter import build_segmenter
from wsss.objectives.base import Objective
from wsss.settings import CoTrainingSettings

VERSION = 1


class CoTraining(Objective):
    """See the module's text."""

    product = "segmenter"

    def __init__(self, settings: CoTrainingSettings, classes: int) -> None:
        self.settings = settings
        self.networks = {name: build_segmenter(settings, classes) for name in ("segmenter", "second")}

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        s, masks = self.settings, batch.targets
        first, second = (network(batch.images) for network in self.networks.values())
        silent = (masks == IGNORE) & ~on_canvas(batch.images)
        (labelled, unlabelled), _ = over_devices(torch.stack([(masks != IGNORE).sum(), silent.sum()]))
        share = labelled / (labelled + unlabelled).clamp(min=1)
        said = [self._said(scores, batch.labels, silent) for scores in (first, second)]
        for name, scores, heard in zip(self.networks, (first, second), reversed(said), strict=True):
            of_masks = share * segmentation_loss(scores, masks, s.label_smoothing, s.loss_cap)
            of_other = (1 - share) * segmentation_loss(scores, heard, s.label_smoothing)
            loss = combine(name, [Term("masks", of_masks), Term("mutual", of_other, training_step.weight(s.mutual))])
            suffix = "" if name == self.product else f"_{name}"
            yield loss._replace(parts={f"{part}{suffix}": value for part, value in loss.parts.items()})

    @staticmethod
    def _said(scores: torch.Tensor, labels: torch.Tensor, silent: torch.Tensor) -> torch.Tensor:
        """What a network says where the masks say nothing, int64 (B, H, W), 255 elsewhere."""
        return tagged_probabilities(scores.detach(), labels).argmax(dim=1).masked_fill(~silent, IGNORE)
