"""A classifier that is trained by its heatmaps: beside its maps it gives the place where heatmaps are taken."""

from __future__ import annotations

import torch

from wsss.models.backbone import Trainable
from wsss.models.classifier import Classifier
from wsss.models.heatmaps import LAST, Seen, check_layer, seen_at


class Guided(Trainable):
    """A guided classifier as it is trained.

    Args:
        classifier: What is trained; it has a row for the background.
        layer: ``last``, ``input``, or a module below ``backbone`` that gives maps (B, K, h, w).

    Raises:
        WsssError: There is no such layer; the message has the nearest names.
    """

    def __init__(self, classifier: Classifier, layer: str = LAST) -> None:
        super().__init__()
        self.classifier, self.layer = classifier, layer
        check_layer(classifier, layer)

    def forward(self, images: torch.Tensor) -> Seen:
        """See ``Seen``; images are normalised, (B, 3, H, W).

        Raises:
            WsssError: The layer runs not once, or gives no maps.
        """
        return seen_at(self.classifier, images, self.layer)

    def is_new(self, name: str) -> bool:
        return name.startswith(("classifier.head.", "classifier.background."))
