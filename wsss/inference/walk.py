"""Maps spread by a random walk: an edge network applied to whole images, and the walk of their maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from wsss.compute.devices import download, upload
from wsss.data.buckets import Buckets, buckets
from wsss.data.index import Item
from wsss.inference.batches import outputs_of
from wsss.models.edge_network import STRIDE, EdgeNetwork
from wsss.refine.random_walk import random_walk
from wsss.settings import InferenceSettings, WalkSettings
from wsss.store.map_shards import Maps
from wsss.store.maps import MapStore
from wsss.store.views import EPSILON

TOGETHER = 16
"""Images of one size that walk at once on a GPU, and so many wait for others of their size; on a CPU each walks
alone, in cache."""


class Start(NamedTuple):
    """An image before its walk: its classes (n,), its maps float32 (n, h, w), and its edges (h, w)."""

    item: Item
    classes: np.ndarray
    maps: torch.Tensor
    edges: torch.Tensor


def grid(item: Item) -> tuple[int, int]:
    """Rows and columns of an image's stride-4 grid."""
    return -(-item.height // STRIDE), -(-item.width // STRIDE)


@torch.inference_mode()
def edge_maps(
    network: EdgeNetwork,
    items: list[Item],
    settings: WalkSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[tuple[Item, torch.Tensor]]:
    """Each item with the probability of an edge in every cell of its stride-4 grid, float32 (h, w).

    The sigmoid of the mean logit of the image and its mirror, each padded with 0 (the mean colour) to the right and
    below to a multiple of the backbone's stride. Images that are reduced to ``max_side`` first have their logits
    resized to the grid (bilinear). The rest is as for ``wsss.inference.batches.outputs_of``.
    """
    view = InferenceSettings(scales=(1.0,), flip=settings.flip, max_side=settings.max_side)
    stride = network.strides[-1]

    def edges_of(images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % stride, 0, -height % stride))
        edges: torch.Tensor = network(padded)
        return edges[:, : -(-height // STRIDE), : -(-width // STRIDE)]

    for item, (logits,) in outputs_of(edges_of, items, view, device, threads, "walking", among):
        logits = logits.float()
        if settings.flip:
            logits = (logits[:1] + logits[1:].flip(-1)) / 2
        if logits.shape[1:] != grid(item):
            logits = F.interpolate(logits[None], size=grid(item), mode="bilinear", align_corners=False)[0]
        yield item, logits[0].sigmoid()


@torch.inference_mode()
def walk_together(starts: list[Start], settings: WalkSettings) -> Iterator[Maps]:
    """Walk the maps of images of one size at once.

    Yields:
        The item, its classes, and its maps (n, h, w) on the stride-4 grid, divided by their common maximum at image
        size (+ 1e-5), so that classes keep their order.
    """
    most = max(len(start.classes) for start in starts)
    maps = torch.stack([F.pad(s.maps, (0, 0, 0, 0, 0, most - len(s.classes))) for s in starts])
    edges = torch.stack([start.edges for start in starts])
    walked = random_walk(maps, edges, radius=settings.radius, beta=settings.beta, steps=settings.steps)
    own = [
        over_common_maximum(result[: len(start.classes)], start.item, STRIDE)
        for start, result in zip(starts, walked, strict=True)
    ]
    for start, found in zip(starts, download(own), strict=True):
        yield start.item, start.classes, [found]


def over_common_maximum(maps: torch.Tensor, item: Item, stride: int, round_to: int | None = None) -> torch.Tensor:
    """The maps of an image, (n, h, w) with ``stride`` pixels a cell, divided by the largest value that any of them has
    at image size (+ 1e-5), so that classes keep their order. ``round_to``: what the grid covers, as in
    ``wsss.store.views.decode_full`` (default: the stride)."""
    over = round_to or stride
    size = tuple(-(-side // over) * over for side in (item.height, item.width))
    full = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)
    largest = full[..., : item.height, : item.width].amax()
    return maps / (largest + EPSILON)


def walked_maps(
    network: EdgeNetwork,
    store: MapStore,
    items: list[Item],
    settings: WalkSettings,
    device: torch.device,
    threads: int,
    together: int | None = None,
    among: Buckets | None = None,
) -> Iterator[Maps]:
    """The walked maps of each item, in no particular order; an image does not depend on those it walks with.

    ``together`` images of one size walk at once (None: what suits the device); no more than four times as many wait.
    ``among``: buckets of the list that the items are part of, for ``outputs_of``.
    """
    waiting: dict[tuple[int, int], list[Start]] = {}
    together = together or (TOGETHER if device.type == "cuda" else 1)
    among = buckets(items) if among is None else among
    among = [[item for item in bucket if len(store[item.id].classes)] for bucket in among]
    with_maps = {item.id for bucket in among for item in bucket}
    tagged = [item for item in items if item.id in with_maps]
    for item in items:
        if item.id not in with_maps:
            yield item, [], []
    for item, edges in edge_maps(network, tagged, settings, device, threads, among) if tagged else ():
        store.check_size(item)
        maps = upload(torch.from_numpy(store.low(item.id)), device)
        starts = waiting.setdefault(grid(item), [])
        starts.append(Start(item, store[item.id].classes, maps, edges))
        if len(starts) == together:
            yield from walk_together(waiting.pop(grid(item)), settings)
        elif sum(map(len, waiting.values())) >= 4 * together:
            yield from walk_together(waiting.pop(max(waiting, key=lambda size: len(waiting[size]))), settings)
    for starts in waiting.values():
        yield from walk_together(starts, settings)
