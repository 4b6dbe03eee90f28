"""Segmentation learnt from few masks and the tags of all images: what guided classifiers are fairly compared with.

L = CE(f(x), mask) + w BCE(g(x), tags): beside its pixels the network classifies its image, by a linear layer on the
mean of the encoder's deepest features (``mt_unet`` of the TW-autoencoder, 2024). The first term is over the images that
may show their mask, the second over all. The layer serves the training alone: what is kept is the segmentation network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.losses.classification import classification_loss
from wsss.losses.segmentation import segmentation_loss
from wsss.losses.terms import Term, combine
from wsss.models.backbone import Trainable
from wsss.models.segmenter import Segmenter, build_segmenter
from wsss.objectives.base import Objective
from wsss.settings import SegmentationSettings

VERSION = 1


class Tagged(Trainable):
    """A segmentation network with a layer for tags.

    Args:
        segmenter: What is kept.
        classes: Number of object classes C.
    """

    def __init__(self, segmenter: Segmenter, classes: int) -> None:
        super().__init__()
        self.segmenter = segmenter
        encoder: Any = segmenter.network.get_submodule("encoder")
        self.tags = nn.Linear(encoder.out_channels[-1], classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of pixels (B, C + 1, H, W) and of tags (B, C) of normalised images (B, 3, H, W)."""
        caught: list[torch.Tensor] = []

        def catch(_: nn.Module, __: Any, features: list[torch.Tensor]) -> None:
            caught.append(features[-1])

        handle = self.segmenter.network.get_submodule("encoder").register_forward_hook(catch)
        try:
            pixels = self.segmenter(images)
        finally:
            handle.remove()
        return pixels, self.tags(caught[0].mean((2, 3)))

    def is_new(self, name: str) -> bool:
        return name.startswith("tags.") or self.segmenter.is_new(name.removeprefix("segmenter."))


class TaggedSegmentation(Objective):
    """See the module's text."""

    product = "segmenter"

    def __init__(self, settings: SegmentationSettings, classes: int) -> None:
        self.settings = settings
        self.networks = {"segmenter": Tagged(build_segmenter(settings, classes), classes)}

    def kept(self, product: nn.Module) -> nn.Module:
        return product.get_submodule("segmenter")

    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        pixels, tags = self.networks["segmenter"](batch.images)
        yield combine(
            "segmenter",
            [
                Term(
                    "pixels",
                    segmentation_loss(pixels, batch.targets, self.settings.label_smoothing, self.settings.loss_cap),
                ),
                Term("tags", classification_loss(tags, batch.labels), self.settings.tags),
            ],
        )
