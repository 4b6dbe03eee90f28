"""Maps spread by a random walk over the features of a backbone, applied to whole images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from wsss.compute.devices import download, upload
from wsss.data.buckets import Buckets, buckets
from wsss.data.index import Item
from wsss.inference.batches import outputs_of
from wsss.inference.walk import over_common_maximum
from wsss.models.frozen_features import FrozenFeatures
from wsss.refine.feature_walk import (
    Weighting,
    by_proxy,
    by_temperature,
    by_threshold,
    feature_walk,
    walk_among_all,
)
from wsss.settings import FeatureWalkSettings, InferenceSettings
from wsss.store.map_shards import Maps
from wsss.store.maps import MapStore


@torch.inference_mode()
def feature_walked_maps(
    network: FrozenFeatures,
    store: MapStore,
    items: list[Item],
    settings: FeatureWalkSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[Maps]:
    """The walked maps of each item, in no particular order; each image walks alone.

    The start are the maps at stride 4, resized to the grid (bilinear). Images that are reduced to ``max_side`` have
    their features resized to the grid of the whole image. With ``flip``, similarity is the mean of the image's and of
    its mirror's, turned back.

    ``among``: buckets of the list that the items are part of, for ``outputs_of``.

    Yields:
        The item, its classes, and its maps (n, h, w) on the grid, divided by their common maximum at image size.
    """
    among = [[item for item in b if len(store[item.id].classes)] for b in (among or buckets(items))]
    with_maps = {item.id for bucket in among for item in bucket}
    for item in items:
        if item.id not in with_maps:
            yield item, [], []
    tagged = [item for item in items if item.id in with_maps]
    for item, features in features_of(network, tagged, settings, device, threads, among) if tagged else ():
        store.check_size(item)
        maps, grid = upload(torch.from_numpy(store.low(item.id)), device), features.shape[1:]
        if maps.shape[1:] != grid:
            maps = F.interpolate(maps[None], size=grid, mode="bilinear", align_corners=False)[0]
        weighting = weighting_of(features, settings)
        if settings.among_all:
            walked = walk_among_all(maps, features, weighting, steps=settings.all_steps)
        else:
            walked = feature_walk(maps, features, weighting, radius=settings.radius, steps=settings.steps)
        found = over_common_maximum(walked, item, network.grid_stride, network.round_to)
        yield item, store[item.id].classes, download([found])


@torch.inference_mode()
def features_of(
    network: FrozenFeatures,
    items: list[Item],
    settings: FeatureWalkSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[tuple[Item, torch.Tensor]]:
    """Each item with its features (D, h, w) on the grid of the whole image, in no particular order."""
    view = InferenceSettings(scales=(1.0,), flip=settings.flip, max_side=settings.max_side)
    for item, (found,) in outputs_of(network, items, view, device, threads, "walking", among):
        features = torch.cat([found[0], found[1].flip(-1)]) / 2**0.5 if settings.flip else found[0]
        grid = -(-item.height // network.grid_stride), -(-item.width // network.grid_stride)
        if features.shape[1:] != grid:
            features = F.interpolate(features[None], size=grid, mode="bilinear", align_corners=False)[0]
            features = F.normalize(features, dim=0)
        yield item, features


def weighting_of(features: torch.Tensor, settings: FeatureWalkSettings) -> Weighting:
    """How the weight of a step follows from a cosine, for one image's features."""
    if settings.weighting == "proxy":
        return by_proxy(features, settings.beta, settings.gamma)
    if settings.weighting == "ncut":
        return by_threshold(settings.threshold)
    return by_temperature(settings.temperature)
