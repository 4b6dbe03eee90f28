"""Trained networks applied to whole images: tag probabilities, class activation maps, class probabilities of pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.compute.devices import upload
from wsss.data.buckets import Buckets
from wsss.data.index import Item
from wsss.inference.batches import PROBE, arrays_of
from wsss.models.classifier import Classifier, logits
from wsss.settings import InferenceSettings

FINEST = 4
"""Side of the smallest cells of stored maps, in pixels of the image."""


@torch.inference_mode()
def tag_probabilities(
    network: nn.Module,
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> np.ndarray:
    """Probability of each class for each image, float32 (N, C): the mean over scales and flips of the sigmoid
    scores."""

    def read(_: Item, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.stack([logits(each).sigmoid().mean(0) for each in maps]).mean(0)]

    parts = arrays_of(network, read, items, settings, device, threads, "tags", among)
    rows = {item.id: row for item, (row,) in parts}
    return np.stack([rows[item.id] for item in items])


def rectified(views: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """a = ReLU(A(x)) + flip(ReLU(A(flip(x)))), float32 (n, h, w) of n classes (IRN's scheme, Ahn et al. 2019).

    ``views``: A (2, C, h, w) of an image and its mirror, or (1, C, h, w) of the image alone; ``classes``: int64 (n,).
    """
    activation = F.relu(views[:, classes].float())
    return activation[0] + activation[1].flip(-1) if len(activation) == 2 else activation[0]


def rivalling(views: torch.Tensor, classes: torch.Tensor, temperature: float) -> torch.Tensor:
    """``rectified``, but each cell of A counts by how much of it the class has among the n: with p the softmax over
    them of A / temperature, ReLU(A) p / max p, the maximum over the cells of a map. One class alone has what
    ``rectified`` gives it. That classes of an image compete for its cells is this project's own.

    ``views``, ``classes`` and the result: as for ``rectified``.
    """
    chosen = views[:, classes].float()
    share = (chosen / temperature).softmax(1)
    activation = F.relu(chosen) * share / share.amax((-2, -1), keepdim=True)
    return activation[0] + activation[1].flip(-1) if len(activation) == 2 else activation[0]


def contested(views: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Probabilities float32 (n, h, w) of n classes in a softmax with each other and the background, of the mean of the
    logits of an image and its mirror: a guided classifier's maps read as they were trained.

    ``views``: as for ``rectified``, of C + 1 classes, the background first.
    """
    chosen = views[:, torch.cat([classes.new_zeros(1), classes + 1])].float()
    mean = (chosen[0] + chosen[1].flip(-1)) / 2 if len(chosen) == 2 else chosen[0]
    return mean.softmax(0)[1:]


@torch.inference_mode()
def class_activation_maps(
    function: Callable[..., torch.Tensor],
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
    named: bool = False,
    read: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = rectified,
) -> Iterator[tuple[Item, np.ndarray, list[np.ndarray]]]:
    """Maps of the tagged classes at the network's own resolution.

    Args:
        function: Gives maps (B, C, h, w): a classifier in evaluation mode, or an explainer; or what ``read`` reads.
        items, settings, device, threads, among, named: As for ``outputs_of``.
        read: ``rectified``, ``rivalling`` with its temperature, or ``contested``.

    Yields:
        The item, its classes int64 (n,), and for each scale float32 (n, h_s, w_s).
    """
    for item in items:
        if not item.labels:
            yield item, np.array([], np.int64), []
    tagged = [item for item in items if item.labels]
    if among is not None:
        among = [[item for item in bucket if item.labels] for bucket in among]

    def chosen(item: Item, found: list[torch.Tensor]) -> list[torch.Tensor]:
        classes = upload(torch.tensor(item.labels), device)
        return [read(each, classes) for each in found]

    if not tagged:
        return
    for item, maps in arrays_of(function, chosen, tagged, settings, device, threads, "maps", among, named):
        yield item, np.array(item.labels, np.int64), maps


def network_stride(network: torch.nn.Module, function: Callable[..., torch.Tensor] | None = None) -> int:
    """Input pixels per cell of the maps of a classifier in eval mode, or of what ``function`` makes by it."""
    with torch.inference_mode():
        probe = torch.zeros(1, 3, PROBE, PROBE, device=next(network.parameters()).device)
        maps: torch.Tensor = (function or network)(probe)
        return PROBE // maps.shape[-1]


def stored_logits(network: Classifier, images: torch.Tensor) -> torch.Tensor:
    """``pixel_logits`` of a guided classifier as they are stored: means of cells of ``FINEST`` pixels a side where its
    heatmaps are finer, for later stages read no finer ones."""
    scores = network.pixel_logits(images)
    cell = FINEST * scores.shape[-1] // images.shape[-1]
    return F.avg_pool2d(scores, cell, ceil_mode=True) if cell > 1 else scores
