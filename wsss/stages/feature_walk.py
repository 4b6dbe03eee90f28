"""Maps spread by a random walk along features that are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from wsss.compute.devices import device_type
from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.inference.feature_walk import feature_walked_maps
from wsss.inference.network import for_inference
from wsss.models.backbone import hub_weights
from wsss.models.frozen_features import frozen_features
from wsss.models.hub import told_weights
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.refine.random_walk import usual_backend
from wsss.runtime.run import Run
from wsss.settings import FeatureWalkSettings
from wsss.store.map_shards import Maps
from wsss.store.maps import MapStore
from wsss.training.train import given_classifiers


def make(run: Run) -> None:
    """Write the walked maps of every image of the splits as HDF5 shards, one map per class on the grid of the walk.

    Raises:
        WsssError: The maps lack an image, or are of another size than the image; the backbone lacks a stage, or
            tokens; or the classifier whose backbone is read was not given, or has another one.
    """
    settings: FeatureWalkSettings = run.settings
    index = Index.load(run.inputs["index"])
    store = MapStore(run.inputs["cams"])
    items = items_of(run, index)
    store.require(items)
    given = given_classifiers(run, settings)
    run.record(walk_backend=usual_backend(device_type(run.args.device)))

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        torch.manual_seed(run.args.seed)  # weights where there are none: the same in every shard
        features = frozen_features(settings, given.get("warm_start"))
        if settings.pretrained is True and not given:
            run.record(hub_weights=hub_weights(features))
        network, device = for_inference(features, run.args.device, run.args.threads)

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            return feature_walked_maps(network, store, part, settings, device, run.args.threads, buckets(items))

        # absolute: the maps of an image keep their common maximum
        relative = {"relative": int(settings.normalise == "class")}
        return Format((1.0,), settings.flip, features.grid_stride, features.round_to, relative), maps_of

    whole = write_maps(run, items, begin) is not None
    if whole and settings.pretrained is True and not given and (told := told_weights(settings.backbone)):
        run.note(weights=told)
