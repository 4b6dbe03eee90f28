"""Guided classifier: its own heatmaps are trained as segmentation logits (the regime of the TW-autoencoder, 2024).

L = l(z, y') + w_px CE(s H, mask): l over all images, CE over the pixels of the few that may show their mask. The
heatmap of class c is H_c = N sum_k A_k dz_c/dA_k with A the activations (B, K, h, w) of one layer and N = h w. Unrolled
layer-wise relevance propagation of a ReLU network is just that, with A the image; here the gradient is differentiated
once more, so heatmaps can never part from the network that they explain. Without biases the mean of H_c is z_c. At the
last stage of a pooled linear head H are the class activation maps, and no gradient is needed.

The background is one more class, of the heatmaps alone: no tag speaks of it. The classifier that is kept has its row
and knows its layer, so that heatmaps can be read as what they were trained as: ``normalise: softmax`` of a ``cams``
recipe, and ``supervision: classifier`` of ``segmenters``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from wsss.compute.collectives import over_devices, ranks
from wsss.compute.devices import upload
from wsss.data.loading import Batch
from wsss.data.transforms import IGNORE
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.classification import Classification
from wsss.losses.segmentation import pixel_cross_entropy
from wsss.losses.terms import Term, combine
from wsss.models.backbone import input_size
from wsss.models.classifier import build_classifier, logits
from wsss.models.guided import Guided
from wsss.models.heatmaps import LAST, heatmap
from wsss.objectives.base import Objective
from wsss.settings import GuidedSettings

VERSION = 1
LEAST = -1e4
"""Logit of a class that stands not in an image's softmax: its probability is 0 in fp32, its gradient no NaN."""


class ClassSubset(NamedTuple):
    """The classes in the softmax of each image, background 0: at most R of them.

    Attributes:
        classes: int64 (B, R); images with fewer have others at their end.
        counts: Whether each does stand in it, bool (B, R).
    """

    classes: torch.Tensor
    counts: torch.Tensor

    def spread(self, heatmaps: torch.Tensor, number: int) -> torch.Tensor:
        """Logits (B, number, h, w) of heatmaps (B, R, h, w) of these classes."""
        b, _, h, w = heatmaps.shape
        heatmaps = heatmaps.masked_fill(~self.counts[..., None, None], LEAST)
        places = self.classes[..., None, None].expand_as(heatmaps)
        return heatmaps.new_full((b, number, h, w), LEAST).scatter(1, places, heatmaps)


def class_subset(batch: Batch, absent: int | None) -> ClassSubset:
    """The background, the classes that an image has by its tags or its mask, and ``absent`` others, drawn by the
    image's own random number; None: all others."""
    size, number, device = len(batch.labels), batch.labels.shape[1] + 1, batch.labels.device
    if absent is None:
        everything = torch.arange(number, device=device).expand(size, number)
        return ClassSubset(everything, torch.ones_like(everything, dtype=torch.bool))
    host = batch.on_host  # so that every kind of device draws the same, and nobody waits for the number of classes
    seen = torch.zeros(size, IGNORE + 1, dtype=torch.bool)
    seen.scatter_(1, host.targets.flatten(1), True)
    there = seen[:, 1:number] | (host.labels > 0)
    rows = []
    for draw in host.draws.tolist():
        rows.append(torch.rand(number - 1, generator=torch.Generator().manual_seed(int(draw * 2**24))))
    turn = torch.stack(rows).masked_fill(there, 2).argsort(1).argsort(1)
    chosen = F.pad(there | (turn < absent), (1, 0), value=True)
    most = int(chosen.sum(1).max())
    classes = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return ClassSubset(*(upload(each, device) for each in (classes, chosen.gather(1, classes))))


def pixel_loss(
    scores: torch.Tensor, masks: torch.Tensor, count: torch.Tensor, devices: int, scale: float = 1.0
) -> torch.Tensor:
    """Cross entropy of ``scale`` times logits (B, C + 1, h, w), resized to the masks int64 (B, H, W) (bilinear), in
    fp32: the sum over labelled pixels x devices / count, with their count over all devices."""
    resized = F.interpolate(scores.float() * scale, masks.shape[-2:], mode="bilinear", align_corners=False)
    return pixel_cross_entropy(resized, masks, "sum") * devices / count.clamp(min=1)


class GuidedObjective(Objective):
    """See the module's text."""

    product = "classifier"

    def __init__(
        self,
        settings: GuidedSettings,
        classes: int,
        given: dict[str, Path],
        frequencies: torch.Tensor | None = None,
    ) -> None:
        self.settings, self.loss = settings, Classification(settings, classes, frequencies)
        classifier = build_classifier(settings, classes, given.get("warm_start"))
        self.networks = {"classifier": Guided(classifier, settings.guidance_layer)}

    def kept(self, product: nn.Module) -> nn.Module:
        return product.get_submodule("classifier")

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        exact = torch.autocast(batch.images.device.type, enabled=False)
        with nullcontext() if self.settings.guidance_layer == LAST else exact:
            terms = self.terms(batch, training_step)
        yield combine("classifier", terms)

    def terms(self, batch: Batch, training_step: TrainingStep) -> list[Term]:
        """``tags``, and ``pixels`` if any image of the batch (on all devices) shows its mask."""
        maps, point = self.networks["classifier"](batch.images)
        scores = logits(maps)
        terms = [Term("tags", self.loss(scores[:, 1:], batch.labels))]
        masks = batch.masks
        if masks is None:
            return terms
        known = batch.on_host.targets != IGNORE
        count, devices = over_devices(upload(known.sum(), masks.device) if ranks()[1] > 1 else known.sum())
        if count == 0:
            return terms
        count = upload(count, masks.device)
        chosen = class_subset(batch, self.settings.absent_classes)
        rows = known.flatten(1).any(1)
        rows[0] |= ~rows.any()  # a device without any takes part in the gradient as those with some do
        shown = upload(rows.nonzero()[:, 0], masks.device)

        def loss(heatmaps: torch.Tensor) -> torch.Tensor:
            spread = chosen.spread(heatmaps, scores.shape[1])
            return pixel_loss(spread[shown], masks[shown], count, devices, self.settings.heatmap_scale)

        if point is None:
            places = chosen.classes[..., None, None].expand(-1, -1, *input_size(maps))
            value = loss(maps.gather(1, places))
        elif self.settings.gradient == "one-pass":
            value = loss(torch.stack([heatmap(scores, point, c, True) for c in chosen.classes.T], 1))
        else:
            value = self.class_by_class(scores, point, chosen, loss)
        return [*terms, Term("pixels", value, training_step.weight(self.settings.pixel))]

    def class_by_class(
        self,
        scores: torch.Tensor,
        point: torch.Tensor,
        chosen: ClassSubset,
        loss: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """The pixel loss, whose gradient is put together one heatmap at a time.

        First dL/dH of all heatmaps, made without graph; then for each the gradient of sum dL/dH H, with the graph of
        this one alone. What is returned has the loss's value, and by each weight the sum of these gradients.
        """
        flat = torch.stack([heatmap(scores, point, c, False) for c in chosen.classes.T], 1).requires_grad_()
        value = loss(flat)
        (pull,) = torch.autograd.grad(value, flat)
        weights = [p for p in self.networks["classifier"].parameters() if p.requires_grad]
        sums = [torch.zeros_like(p) for p in weights]
        for classes, one in zip(chosen.classes.T, pull.unbind(1), strict=True):
            pulled = (heatmap(scores, point, classes, True) * one).sum()
            found = torch.autograd.grad(pulled, weights, retain_graph=True, allow_unused=True)
            for total, part in zip(sums, found, strict=True):
                if part is not None:
                    total += part
        carrier = reduce(torch.add, ((p * total).sum() for p, total in zip(weights, sums, strict=True)))
        return value.detach() + carrier - carrier.detach()
