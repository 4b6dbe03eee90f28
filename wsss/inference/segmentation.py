"""Class probabilities of every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.buckets import Buckets
from wsss.data.index import Item
from wsss.inference.batches import arrays_of
from wsss.settings import InferenceSettings, PredictSettings


@torch.inference_mode()
def pixel_probabilities(
    network: nn.Module,
    items: list[Item],
    settings: PredictSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[tuple[Item, np.ndarray]]:
    """Class probabilities of every pixel, float32 (C + 1, H, W) at the image's own size.

    Logits of every scale are resized to the image (bilinear), averaged over scales; those of the mirror are averaged
    with or added to those of the image (``combine_flips``); softmax last.
    """

    def read(item: Item, found: list[torch.Tensor]) -> list[torch.Tensor]:
        total: torch.Tensor | None = None
        for scores in found:
            scores = scores.float()
            if settings.flip:
                scores = scores[:1] + scores[1:].flip(-1)
                if settings.combine_flips == "average":
                    scores = scores / 2
            scores = F.interpolate(scores, size=(item.height, item.width), mode="bilinear", align_corners=False)
            total = scores if total is None else total + scores
        assert total is not None  # there is at least one scale
        return [(total / len(found)).softmax(1)[0]]

    for item, (probabilities,) in arrays_of(network, read, items, settings, device, threads, "predicting", among):
        yield item, probabilities


@torch.inference_mode()
def mean_probabilities(
    networks: Sequence[nn.Module],
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[tuple[Item, np.ndarray]]:
    """Mean of the class probabilities of several networks, float32 (C + 1, H, W) at the image's own size.

    Unlike ``pixel_probabilities``, what is averaged over networks, scales and mirror are probabilities: softmax first,
    at the size that a network sees, then resized to the image (bilinear). ``networks``: at least one, of equal classes;
    one after the other sees a batch, and what is kept of it does not grow with their number.
    """

    def together(images: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=images.device)
        for network in networks:
            total = total + network(images).float().softmax(1)
        return total / len(networks)

    def read(item: Item, found: list[torch.Tensor]) -> list[torch.Tensor]:
        total: torch.Tensor | None = None
        for view in found:
            mean = (view[:1] + view[1:].flip(-1)) / 2 if settings.flip else view
            mean = F.interpolate(mean, size=(item.height, item.width), mode="bilinear", align_corners=False)
            total = mean if total is None else total + mean
        assert total is not None  # there is at least one scale
        return [(total / len(found))[0]]

    for item, (probabilities,) in arrays_of(together, read, items, settings, device, threads, "predicting", among):
        yield item, probabilities
