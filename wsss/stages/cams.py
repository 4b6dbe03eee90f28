"""Inference stages: class activation maps of a classifier, predicted masks of a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module

import torch

from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.inference.cams import class_activation_maps, contested, network_stride, rectified, rivalling, stored_logits
from wsss.inference.network import open_network
from wsss.models.classifier import load_classifier
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.runtime.run import Run
from wsss.settings import CamsSettings
from wsss.settings.explaining import SEEDS
from wsss.store.map_shards import Maps


def make(run: Run) -> None:
    """Write the maps of every image of the splits as HDF5 shards.

    Raises:
        WsssError: The classifier was trained on other classes than the index has, or is no guided one where
            ``normalise: softmax`` asks for it.
    """
    settings: CamsSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = items_of(run, index)

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        network, device = open_network(
            run.inputs["classifier"], load_classifier, index, run.args.device, run.args.threads
        )
        function: Callable[..., torch.Tensor] = partial(stored_logits, network) if softmax else network
        stride, read = network_stride(network, function), contested if softmax else rectified
        if settings.rivals is not None:
            read = partial(rivalling, temperature=settings.rivals)
        if named:
            stride, function = import_module(SEEDS).maps_by(network, settings, len(index.classes), run.args.seed)

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            among = buckets(items)
            return class_activation_maps(function, part, settings, device, run.args.threads, among, named, read)

        return Format(settings.scales, settings.flip, stride, stride, {"relative": 0} if softmax else {}), maps_of

    softmax = settings.normalise == "softmax"
    named = settings.explainer != "cam"  # the network's own output is CAM
    write_maps(run, items, begin)
