"""Maps spread by a random walk along pixels that belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wsss.compute.devices import device_type
from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.inference.network import for_inference
from wsss.inference.walk import walked_maps
from wsss.models.edge_network import STRIDE, load_edge_network
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.refine.random_walk import usual_backend
from wsss.runtime.run import Run
from wsss.settings import WalkSettings
from wsss.store.map_shards import Maps
from wsss.store.maps import MapStore


def make(run: Run) -> None:
    """Write the walked maps of every image of the splits as HDF5 shards, one map per class on the stride-4 grid.

    Raises:
        WsssError: The maps lack an image, or are of another size than the image.
    """
    settings: WalkSettings = run.settings
    index = Index.load(run.inputs["index"])
    store = MapStore(run.inputs["cams"])
    items = items_of(run, index)
    store.require(items)
    run.record(walk_backend=usual_backend(device_type(run.args.device)))

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        network, device = for_inference(load_edge_network(run.inputs["affinity"]), run.args.device, run.args.threads)

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            return walked_maps(network, store, part, settings, device, run.args.threads, among=buckets(items))

        # absolute: the maps of an image keep their common maximum
        relative = {"relative": int(settings.normalise == "class")}
        return Format((1.0,), settings.flip, STRIDE, STRIDE, relative), maps_of

    write_maps(run, items, begin)
