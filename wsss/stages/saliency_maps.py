"""Saliency maps of a trained disentangler or saliency network, or of a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.inference.network import for_inference
from wsss.inference.saliency import saliency_maps
from wsss.models.saliency_net import load_saliency
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.runtime.run import Run
from wsss.settings import SaliencyMapSettings
from wsss.store.map_shards import Maps


def make(run: Run) -> None:
    """Write the saliency map of every image of the splits as HDF5 shards, one class 0 = salient.

    ``activation: relu`` stores rectified logits, whose views are divided by the image's maximum; ``sigmoid`` stores
    probabilities, meant as they are (``relative`` 0). A disentangler's and a cut's maps keep their own resolution;
    those of a saliency network are means over 4 x 4 pixels.

    Raises:
        WsssError: ``relu`` for a saliency network.
    """
    settings: SaliencyMapSettings = run.settings
    items = items_of(run, Index.load(run.inputs["index"]))

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        network, about = load_saliency(run.inputs["saliency"])
        fine = about["kind"] == "saliency-net"
        if fine and settings.activation != "sigmoid":
            raise WsssError("activation: a saliency network gives probabilities; use sigmoid")
        network, device = for_inference(network, run.args.device, run.args.threads)
        stride, round_to = about["grid"]

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            return saliency_maps(network, part, settings, fine, device, run.args.threads, buckets(items))

        relative = {"relative": int(settings.activation == "relu")}
        return Format(settings.scales, settings.flip, stride, round_to, relative), maps_of

    write_maps(run, items, begin)
