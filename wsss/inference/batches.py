"""Images of one size shown to a network together, at several scales and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from wsss.compute.devices import autocast_type, download, loader_workers
from wsss.data.buckets import Buckets, buckets
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, inference_loader, scaled_size
from wsss.data.normalising import normalised
from wsss.settings import InferenceSettings
from wsss.system.progress import Progress

VERSION = 1

MOST_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 24}
"""Pixels that a network sees at once at the largest scale, by type of device; one image may have more. Beyond that
a larger batch is no faster."""

PROBE = 64
"""Side of an image that a network is tried with, in pixels."""


Outputs = tuple[Item, list[torch.Tensor]]
"""An image, and for every scale what a network says of it."""


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
        The item, and for every scale float (2, ...) for the image and its mirror, or (1, ...) without ``flip``. To have
        them as arrays: ``arrays_of``.
    """
    for batch in _batches_of_outputs(function, items, settings, device, threads, what, among, named):
        yield from batch


def arrays_of(
    function: Callable[..., torch.Tensor],
    read: Callable[[Item, list[torch.Tensor]], list[torch.Tensor]],
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    what: str,
    among: Buckets | None = None,
    named: bool = False,
) -> Iterator[tuple[Item, list[np.ndarray]]]:
    """What is read from the outputs of each image, as arrays. From a GPU all of a batch come at once: the host waits
    for it once a batch, and not for each image and scale.

    Args:
        function, items, settings, device, threads, what, among, named: As for ``outputs_of``.
        read: Gives tensors, on the device, for an item and its outputs at every scale.
    """
    for batch in _batches_of_outputs(function, items, settings, device, threads, what, among, named):
        with torch.inference_mode():
            found = [read(item, outputs) for item, outputs in batch]
            arrays = iter(download([tensor for tensors in found for tensor in tensors]))
        for (item, _), tensors in zip(batch, found, strict=True):
            yield item, [next(arrays) for _ in tensors]


@torch.inference_mode()
def _batches_of_outputs(
    function: Callable[..., torch.Tensor],
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    what: str,
    among: Buckets | None,
    named: bool,
) -> Iterator[list[Outputs]]:
    """``outputs_of``, the images that went through the network together at once."""
    wanted = {item.id for item in items}
    kind = autocast_type(settings.precision, device)
    with Progress(len(items), what=what) as progress:
        for batch, views in views_of(items, settings, device, threads, among):
            found = []
            for view in views:
                images = torch.cat([view, view.flip(-1)]) if settings.flip else view
                with torch.autocast(device.type, kind, enabled=kind != torch.float32):
                    images = images.contiguous(memory_format=torch.channels_last)
                    found.append(function(images, batch) if named else function(images))
            own = [
                (item, [each[number :: len(batch)] for each in found])
                for number, item in enumerate(batch)
                if item.id in wanted
            ]
            yield own
            for _ in own:
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
        ScaledBatches(batches, settings.scales, settings.max_side), loader_workers(threads, device), device
    )
    for batch, views in loader:
        yield batch, [normalised(view.to(device, non_blocking=True)) for view in views]


def batches_of(bucket: list[Item], settings: InferenceSettings, device: torch.device) -> list[list[Item]]:
    """A bucket cut into what a device takes at once."""
    if not bucket:
        return []
    height, width = scaled_size(bucket[0], max(settings.scales), settings.max_side)
    pixels = height * width * (2 if settings.flip else 1)
    count = max(1, min(len(bucket), MOST_PIXELS[device.type] // pixels))
    return [bucket[first : first + count] for first in range(0, len(bucket), count)]
