"""Class activation maps in HDF5 shards: the network's own small maps are stored, larger views are decoded on demand.

Five lines are enough to read them::

    from wsss.store.maps import MapStore
    store = MapStore("results/scenes/s0/cams/vanilla")
    record = store[store.ids[0]]     # record.classes, record.size, record.maps (one array a scale)
    low = store.low(record.id)       # float32 (n, ceil(H/4), ceil(W/4)), each map below 1
    full = store.full(record.id)     # float32 (n, H, W)

The shards are described in ``wsss.store.map_shards``; ``wsss.store.map_writer`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import Item, require
from wsss.errors import WsssError
from wsss.store.map_shards import AGAIN, MapRecord, MapShard, shard_paths


class MapStore:
    """All shards of a folder of maps, by image id; safe to use from many processes at once.

    Raises :class:`WsssError` when the folder is no whole artefact, a shard is missing, or an id stands in two shards.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "manifest.json").is_file():
            raise WsssError(f"{self.folder} holds no manifest.json: the maps are not whole; run their stage (again)")
        self.shards = [MapShard(path) for path in shard_paths(self.folder)]
        self.attributes: dict[str, Any] = self.shards[0].attributes
        for key in ("scales", "round_to"):
            if key not in self.attributes:
                raise WsssError(f"{self.shards[0].path} lacks the attribute {key!r}; {AGAIN}")
        self._where: dict[str, tuple[int, int]] = {}
        for number, shard in enumerate(self.shards):
            shard.check_scales()
            for key in ("scales", "flip", "stride", "round_to", "relative", "levels"):
                first: Any = self.attributes.get(key)
                other: Any = shard.attributes.get(key)
                if not np.array_equal(first, other):
                    raise WsssError(f"{shard.path} differs from the other shards in {key!r}; {AGAIN}")
            for row, id in enumerate(shard.ids):
                if id in self._where:
                    also = self.shards[self._where[id][0]].path.name
                    raise WsssError(f"{shard.path}: image {id!r} stands in {also} as well; {AGAIN}")
                self._where[id] = (number, row)

    @property
    def relative(self) -> bool:
        """Whether views divide each map by its own maximum; else the stored values are meant as they are."""
        return bool(self.attributes.get("relative", 1))

    def require(self, items: Iterable[Item]) -> None:
        """Raise ``WsssError`` if maps of some items are missing."""
        cure = "let the 'splits' of the maps include theirs, and make the maps again"
        require(items, self, f"{self.folder} has no maps", cure)

    def full_of(self, item: Item) -> np.ndarray:
        """As ``full``. Raises ``WsssError`` if the maps are of an image of another size than the index has."""
        self.check_size(item)
        return self.full(item.id)

    def saliency_of(self, item: Item) -> np.ndarray:
        """The one map float32 (H, W) of an image. Raises ``WsssError`` if it has several, or one of another size."""
        if len(self[item.id].classes) != 1:
            raise WsssError(
                f"{self.folder} has {len(self[item.id].classes)} maps of image {item.id!r}; saliency is one map an "
                "image: give the folder of a saliency recipe's maps"
            )
        saliency: np.ndarray = self.full_of(item)[0]
        return saliency

    def check_size(self, item: Item) -> None:
        """Raise ``WsssError`` if the maps are of an image of another size than the index has."""
        height, width = self[item.id].size
        if (height, width) != (item.height, item.width):
            raise WsssError(
                f"the maps of {item.id!r} in {self.folder} are of a {height} x {width} image, {item.image} is "
                f"{item.height} x {item.width} in the index; make the maps again"
            )

    @property
    def ids(self) -> list[str]:
        """Ids in the order of the shards."""
        return list(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, id: object) -> bool:
        return id in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __getitem__(self, id: str) -> MapRecord:
        if id not in self._where:
            raise WsssError(f"{self.folder} has no maps of image {id!r}; add its split to the maps' setting 'splits'")
        number, row = self._where[id]
        record, least = self.shards[number].record(row), -np.inf if self.attributes.get("signed") else 0
        if not all(np.isfinite(one).all() and (one >= least).all() for one in record.maps):
            text = f"image {id!r} has NaN, infinite or negative values"
            raise WsssError(f"{self.shards[number].path} is damaged: {text}; {AGAIN}")
        return record

    def low(self, id: str) -> np.ndarray:
        """float32 (n, (H-1)//4+1, (W-1)//4+1), see :func:`wsss.store.views.decode_low`."""
        from wsss.store.views import decode_low  # loads torch, which those who read only tables do without

        record = self[id]
        return decode_low(record.maps, record.size, self.relative)

    def full(self, id: str) -> np.ndarray:
        """float32 (n, H, W), see :func:`wsss.store.views.decode_full`."""
        from wsss.store.views import decode_full

        record = self[id]
        return decode_full(record.maps, record.size, int(self.attributes["round_to"]), self.relative)
