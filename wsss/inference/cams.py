"""Trained networks applied to whole images: tag probabilities, class activation maps, class probabilities of pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.compute.devices import loader_workers
from wsss.data.buckets import Buckets, buckets
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, inference_loader, scaled_size
from wsss.data.transforms import MEAN, STD
from wsss.models.classifier import logits
from wsss.settings import InferenceSettings, PredictSettings
from wsss.system.progress import Progress

VERSION = 1
MOST_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 24}
"""Pixels that a network sees at once at the largest scale, by type of device; one image may have more. Beyond that
a larger batch is no faster."""

PROBE = 64
"""Side of an image that a network is tried with, in pixels."""


@torch.inference_mode()
def outputs_of(
    function: Callable[..., torch.Tensor],
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    what: str,
    among: Buckets | None = None,
    named: bool = False,
) -> Iterator[tuple[Item, list[torch.Tensor]]]:
    """What a network says of each image at each scale, images in no particular order.

    Images of one size go through the network together. So that an image's result does not depend on which of the
    others are made already or by other jobs, what goes together follows from ``among`` alone.

    Args:
        function: Gives a tensor (B, ...) for normalised images (B, 3, h, w).
        items: Images.
        settings: Scales, mirror, largest side.
        device: Where the network is.
        threads: Cores for everything.
        what: What the progress is called.
        among: Buckets of the list that ``items`` is a part of; None: ``items`` is all.
        named: ``function`` is also given the list of items that the images are of; their mirrors come after them.

    Yields:
        The item, and for every scale float (2, ...) for the image and its mirror, or (1, ...) without ``flip``.
    """
    wanted = {item.id for item in items}
    with Progress(len(items), what=what) as progress:
        for batch, views in views_of(items, settings, device, threads, among):
            found = []
            for view in views:
                images = torch.cat([view, view.flip(-1)]) if settings.flip else view
                with torch.autocast(device.type, torch.float16, enabled=settings.precision == "fp16"):
                    images = images.contiguous(memory_format=torch.channels_last)
                    found.append(function(images, batch) if named else function(images))
            for number, item in enumerate(batch):
                if item.id in wanted:
                    yield item, [each[number :: len(batch)] for each in found]
                    progress.advance()


def views_of(
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[tuple[list[Item], list[torch.Tensor]]]:
    """Images of one size together, as ``outputs_of`` shows them to a network.

    Yields:
        Items, some of them perhaps of ``among`` alone, and for every scale their normalised images fp32 (B, 3, h, w).
    """
    wanted = {item.id for item in items}
    batches = [
        batch
        for bucket in (buckets(items) if among is None else among)
        for batch in batches_of(bucket, settings, device)
        if any(item.id in wanted for item in batch)
    ]
    loader = inference_loader(
        ScaledBatches(batches, settings.scales, settings.max_side), loader_workers(threads, device)
    )
    scale, offset = (torch.from_numpy(v).to(device)[:, None, None] for v in (1 / (255 * STD), 255 * MEAN))
    for batch, views in loader:
        yield batch, [view.to(device, non_blocking=True).float().sub_(offset).mul_(scale) for view in views]


def batches_of(bucket: list[Item], settings: InferenceSettings, device: torch.device) -> list[list[Item]]:
    """A bucket cut into what a device takes at once."""
    if not bucket:
        return []
    height, width = scaled_size(bucket[0], max(settings.scales), settings.max_side)
    pixels = height * width * (2 if settings.flip else 1)
    count = max(1, min(len(bucket), MOST_PIXELS[device.type] // pixels))
    return [bucket[first : first + count] for first in range(0, len(bucket), count)]


@torch.inference_mode()
def tag_probabilities(
    network: nn.Module, items: list[Item], settings: InferenceSettings, device: torch.device, threads: int
) -> np.ndarray:
    """Probability of each class for each image, float32 (N, C): the mean over scales and flips of the sigmoid
    scores."""
    rows = {}
    for item, maps in outputs_of(network, items, settings, device, threads, "tags"):
        rows[item.id] = torch.stack([logits(each).sigmoid().mean(0) for each in maps]).mean(0).cpu().numpy()
    return np.stack([rows[item.id] for item in items])


def rectified(views: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """a = ReLU(A(x)) + flip(ReLU(A(flip(x)))), float32 (n, h, w) of n classes (IRN's scheme, Ahn et al. 2019).

    ``views``: A (2, C, h, w) of an image and its mirror, or (1, C, h, w) of the image alone; ``classes``: int64 (n,).
    """
    activation = F.relu(views[:, classes].float())
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
        read: ``rectified`` or ``contested``.

    Yields:
        The item, its classes int64 (n,), and for each scale float32 (n, h_s, w_s).
    """
    for item in items:
        if not item.labels:
            yield item, np.array([], np.int64), []
    tagged = [item for item in items if item.labels]
    if among is not None:
        among = [[item for item in bucket if item.labels] for bucket in among]
    parts = outputs_of(function, tagged, settings, device, threads, "maps", among, named) if tagged else ()
    for item, found in parts:
        classes = np.array(item.labels, np.int64)
        maps = []
        for each in found:
            maps.append(read(each, torch.from_numpy(classes).to(device)).cpu().numpy())
        yield item, classes, maps


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
    for item, found in outputs_of(network, items, settings, device, threads, "predicting", among):
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
        yield item, (total / len(found)).softmax(1)[0].cpu().numpy()
