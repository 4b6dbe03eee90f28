"""A classifier beside a segmentation network: it says which classes an image may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wsss.data.buckets import Buckets
from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.inference.cams import tag_probabilities
from wsss.inference.network import for_inference
from wsss.models.classifier import load_classifier
from wsss.refine.tag_limits import likely, limited
from wsss.settings import InferenceSettings, PredictSettings

Pairs = Iterable[tuple[Item, np.ndarray]]


@dataclass(frozen=True)
class TagLimits:
    """Limits the class probabilities of images to the classes that a classifier finds likely there.

    The classifier sees each image at scale 1, with its mirror where the settings have ``flip``.

    Attributes:
        network: The classifier, ready for inference on ``device``.
        device: Where it lies.
    """

    network: torch.nn.Module
    device: torch.device

    def __call__(
        self, pairs: Pairs, items: list[Item], settings: PredictSettings, threads: int, among: Buckets | None = None
    ) -> Iterator[tuple[Item, np.ndarray]]:
        """The pairs of ``pixel_probabilities`` of ``items``, limited; in their order. ``among``: as there."""
        view = InferenceSettings(
            scales=(1.0,), flip=settings.flip, max_side=settings.max_side, precision=settings.precision
        )
        found = tag_probabilities(self.network, items, view, self.device, threads, among)
        stays = {item.id: likely(row, settings.tag_threshold) for item, row in zip(items, found, strict=True)}
        for item, scores in pairs:
            yield item, limited(scores, stays[item.id])


def open_limits(folder: Path | None, classes: tuple[str, ...], device: str, threads: int) -> TagLimits | None:
    """The classifier of an artefact, on its device; None without a folder.

    Raises:
        WsssError: It knows other classes than the segmentation network.
    """
    if folder is None:
        return None
    network, known = load_classifier(folder)
    if known != classes:
        raise WsssError(
            f"{folder}: knows the classes {', '.join(known)}, but the segmentation network {', '.join(classes)}; name "
            "a classifier of the same dataset ('tags_from'), or none"
        )
    return TagLimits(*for_inference(network, device, threads))
