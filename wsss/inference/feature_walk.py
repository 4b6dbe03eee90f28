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
from wsss.models.stage_features import StageFeatures
from wsss.refine.feature_walk import feature_walk
from wsss.settings import FeatureWalkSettings, InferenceSettings
from wsss.store.maps import Maps, MapStore


@torch.inference_mode()
def feature_walked_maps(
    network: StageFeatures,
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
    view = InferenceSettings(scales=(1.0,), flip=settings.flip, max_side=settings.max_side)
    stride = settings.grid_stride
    for item, (found,) in outputs_of(network, tagged, view, device, threads, "walking", among) if tagged else ():
        store.check_size(item)
        features = torch.cat([found[0], found[1].flip(-1)]) / 2**0.5 if settings.flip else found[0]
        grid = -(-item.height // stride), -(-item.width // stride)
        if features.shape[1:] != grid:
            features = F.interpolate(features[None], size=grid, mode="bilinear", align_corners=False)[0]
            features = F.normalize(features, dim=0)
        maps = upload(torch.from_numpy(store.low(item.id)), device)
        if maps.shape[1:] != grid:
            maps = F.interpolate(maps[None], size=grid, mode="bilinear", align_corners=False)[0]
        walked = feature_walk(
            maps, features, radius=settings.radius, temperature=settings.temperature, steps=settings.steps
        )
        yield item, store[item.id].classes, download([over_common_maximum(walked, item, stride)])
