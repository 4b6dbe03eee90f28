"""Class activation maps in HDF5 shards: the network's own small maps are stored, larger views are decoded on demand.

Five lines are enough to read them::

    from wsss.store.maps import MapStore
    store = MapStore("results/scenes/s0/cams/vanilla")
    record = store[store.ids[0]]     # record.classes, record.size, record.maps (one array a scale)
    low = store.low(record.id)       # float32 (n, ceil(H/4), ceil(W/4)), each map below 1
    full = store.full(record.id)     # float32 (n, H, W)

A shard (``shard-00000-of-00004.h5``) is an ordinary HDF5 file without pickles. With I images, S scales and K map
values in all:

=============  ==================  ====================================================================
``id``         utf-8 (I,)          ids of the images
``size``       int32 (I, 2)        height and width of the image in pixels
``shape``      int32 (I, S, 2)     height and width of its maps at each scale
``class_end``  int64 (I,)          where the image's entries in ``classes`` end
``classes``    int32 (sum of n,)   0-based object classes; an image without labels has none
``data_end``   int64 (I,)          where the image's values in ``data`` end
``data``       float32 (K,)        image after image: for each scale the n x h x w values
``tally``      utf-8 (I,)          only where the writer was given any: what else it knows of an image
=============  ==================  ====================================================================

Attributes: ``format``, ``version``, ``scales``, ``flip``, ``stride``, ``round_to``, ``relative`` (1, also where it is
absent: views divide each map by its own maximum; 0: the values are meant as they are), ``signed`` (1: values may be
negative, as explanations are), ``levels`` (L: values are shares in [0, 1], ``data`` is uint8 and holds L times them;
such files have version 2) and whatever the writer adds.
The file is written under a temporary name and renamed when it is whole, so a killed writer leaves nothing that could
be taken for a shard; it uses the default library version (no SWMR, no virtual datasets), because those turn a crash
into an unreadable file and a missing shard into zeros.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from wsss.data.images import LARGEST
from wsss.data.index import Item, require
from wsss.errors import WsssError
from wsss.store.hdf5 import BROKEN, dataset, texts, values
from wsss.system.failures import writing
from wsss.system.files import flush_to_disk

FORMAT = "wsss-maps"
VERSION = 1
IN_LEVELS = 2
"""Version of files with ``levels``, which programs that do not know them must not read."""
AGAIN = "delete the folder and make the maps again"
_NAME = re.compile(r"shard-(\d{5})-of-(\d{5})\.h5")
_FLUSH = 1 << 20  # values held in memory before they are appended to the file: 4 MiB


def shard_name(number: int, total: int) -> str:
    """File name of shard ``number`` (from 0) of ``total``."""
    return f"shard-{number:05d}-of-{total:05d}.h5"


@dataclass(frozen=True)
class MapRecord:
    """Maps of one image.

    ``classes`` int64 (n,), 0-based; ``size`` (H, W) of the image in pixels; ``maps`` one float32 (n, h_s, w_s) a
    scale, non-negative, flips already added.
    """

    id: str
    classes: np.ndarray
    size: tuple[int, int]
    maps: list[np.ndarray]


class MapWriter:
    """Writes one shard; use as a context manager. On an exception the temporary file is removed.

    Parameters: ``path`` of the shard; ``scales`` at which the image was seen; ``flip`` whether its mirror was added;
    ``stride`` input pixels a cell; ``round_to`` see :func:`wsss.store.views.decode_full` (default: the stride);
    ``attributes`` further numbers or strings to keep.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        scales: Sequence[float],
        flip: bool,
        stride: int,
        round_to: int | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self._scales = len(scales)
        self._least = -np.inf if (attributes or {}).get("signed") else 0
        self._levels = int((attributes or {}).get("levels", 0))
        dtype = "uint8" if self._levels else "float32"
        self._ids: dict[str, None] = {}
        self._rows: dict[str, list[Any]] = {"size": [], "shape": [], "class_end": [], "classes": [], "data_end": []}
        self._tallies: list[str] = []
        self._pending: list[np.ndarray] = []
        self._held = self._written = 0
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        with writing(self.path):
            self._file = h5py.File(self._temporary, "w")
            self._data = self._file.create_dataset("data", (0,), dtype, maxshape=(None,), chunks=(8192,))
        self._file.attrs.update(
            {
                **(attributes or {}),
                "format": FORMAT,
                "version": IN_LEVELS if self._levels else VERSION,
                "scales": np.asarray(scales, np.float64),
                "flip": bool(flip),
                "stride": int(stride),
                "round_to": int(round_to or stride),
            }
        )

    def add(
        self, id: str, classes: Iterable[int], size: tuple[int, int], maps: Sequence[np.ndarray], tally: str = ""
    ) -> None:
        """Append one image.

        ``classes``: n different 0-based classes; ``size``: (H, W) in pixels; ``maps``: one (n, h, w) float array a
        scale, finite and (but for ``signed`` maps) non-negative, in the order of ``scales``. An image without labels
        has no classes and no maps. ``tally``: any text. Raises :class:`WsssError`.
        """
        classes = [int(c) for c in classes]
        if not classes and not len(maps):
            maps = [np.zeros((0, 0, 0), np.float32)] * self._scales
        arrays = [np.ascontiguousarray(array, dtype=np.float32) for array in maps]
        if id in self._ids:
            raise WsssError(f"{self.path}: image {id!r} is added twice; every id may stand in the maps once")
        if len(set(classes)) != len(classes) or any(c < 0 for c in classes):
            raise WsssError(f"{self.path}: image {id!r} has classes {classes}; they must differ and be 0 or more")
        if len(arrays) != self._scales or any(a.ndim != 3 or len(a) != len(classes) for a in arrays):
            shapes = [a.shape for a in arrays]
            raise WsssError(
                f"{self.path}: image {id!r} has maps of shapes {shapes}; expected {self._scales} arrays (one per "
                f"scale) of shape ({len(classes)}, h, w)"
            )
        if not all(np.isfinite(a).all() and (a >= self._least).all() for a in arrays):
            raise WsssError(
                f"{self.path}: the maps of image {id!r} hold NaN, infinite or negative values; apply the ReLU before, "
                "and check that the training of the classifier did not diverge"
            )
        if self._levels:
            if any((a > 1).any() for a in arrays):
                raise WsssError(f"{self.path}: the maps of image {id!r} are to be stored as shares, and exceed 1")
            arrays = [np.rint(a * self._levels).astype(np.uint8) for a in arrays]
        self._ids[id] = None
        self._tallies.append(tally)
        self._rows["size"].append(size)
        self._rows["shape"].append([a.shape[1:] for a in arrays])
        self._rows["classes"].extend(classes)
        self._rows["class_end"].append(len(self._rows["classes"]))
        self._pending += [a.reshape(-1) for a in arrays]
        self._held += sum(a.size for a in arrays)
        self._rows["data_end"].append(self._written + self._held)
        if self._held >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            with writing(self.path):
                self._data.resize((self._written + self._held,))
                self._data[self._written :] = np.concatenate(self._pending)
            self._written += self._held
            self._pending, self._held = [], 0

    @property
    def count(self) -> int:
        """Images so far."""
        return len(self._ids)

    def close(self) -> None:
        """Write the tables and give the file its name: from now on it is a shard. ``DiskFull`` where there is no room
        for it."""
        self._flush()
        with writing(self.path):
            self._write_tables()
            self._file.close()
            flush_to_disk(self._temporary)
            os.replace(self._temporary, self.path)

    def _write_tables(self) -> None:
        count = len(self._ids)
        names = {"id": list(self._ids)} | ({"tally": self._tallies} if any(self._tallies) else {})
        for name, each in names.items():
            self._file.create_dataset(name, data=each, shape=(count,), dtype=h5py.string_dtype("utf-8"))
        for name, (dtype, shape) in {
            "size": ("int32", (count, 2)),
            "shape": ("int32", (count, self._scales, 2)),
            "class_end": ("int64", (count,)),
            "classes": ("int32", (-1,)),
            "data_end": ("int64", (count,)),
        }.items():
            self._file.create_dataset(name, data=np.asarray(self._rows[name], dtype).reshape(shape))

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind but what ``close`` has finished."""
        with contextlib.suppress(Exception):  # a full disk again
            self._file.close()
        self._temporary.unlink(missing_ok=True)


class MapShard:
    """One shard, opened for reading. The tables are read at once, the maps when asked for.

    The file handle is opened in the process that reads (never carried over a fork). Raises :class:`WsssError` when the
    file is missing, damaged or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handles: dict[int, h5py.File] = {}
        try:
            with self._open() as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") not in (VERSION, IN_LEVELS):
                    raise WsssError(f"{self.path} is no map shard of version {VERSION}; make the maps again")
                self.attributes: dict[str, Any] = dict(file.attrs)
                self.ids = texts(file, "id")
                shapes = {"size": 2, "shape": 3, "classes": 1, "class_end": 1, "data_end": 1}
                table = {name: values(file, name, "int", ndim).astype(np.int64) for name, ndim in shapes.items()}
                self._size, self._shape, self._classes, self._class_end, self._data_end = table.values()
                self.tallies = texts(file, "tally") if "tally" in file else [""] * len(self.ids)
                self._count = len(dataset(file, "data", "int" if self.attributes.get("levels") else "float", 1))
            self._check_attributes()
            tables = (self._size, self._shape, self._class_end, self._data_end, self.tallies)
            sides = (self._size.shape[1], self._shape.shape[2])
            if any(len(one) != len(self.ids) for one in tables) or self.ids and sides != (2, 2):
                raise ValueError("its tables are not of as many images as it has ids")
        except BROKEN as error:
            raise WsssError(f"{self.path} cannot be read as a map shard ({error}); {AGAIN}") from error
        if self._count != (self._data_end[-1] if len(self.ids) else 0):
            raise WsssError(f"{self.path} is damaged: {self._count} values, not as many as its table says; {AGAIN}")

    def _check_attributes(self) -> None:
        """Raise ``ValueError`` where an attribute that is there is not what it should be."""
        given = self.attributes
        for key in ("stride", "round_to", "levels"):
            if key in given and not (np.ndim(given[key]) == 0 and 0 <= int(given[key]) == given[key] < 1 << 16):
                raise ValueError(f"its attribute {key!r} is {given[key]}")
        if "round_to" in given and not given["round_to"]:
            raise ValueError("its attribute 'round_to' is 0")
        for key in ("flip", "relative", "signed"):
            if key in given and given[key] not in (0, 1):
                raise ValueError(f"its attribute {key!r} is {given[key]}")
        if "scales" in given and not (np.ndim(given["scales"]) == 1 and np.isfinite(given["scales"]).all()):
            raise ValueError(f"its attribute 'scales' is {given['scales']}")

    def _check_row(self, row: int) -> None:
        """Raise ``WsssError`` where the tables contradict each other: no image is read past another's values, and none
        is larger than a photo can be."""
        first, start = (int(ends[row - 1]) if row else 0 for ends in (self._class_end, self._data_end))
        last, end = int(self._class_end[row]), int(self._data_end[row])
        height, width = self._size[row].tolist()
        cells = [rows * columns for rows, columns in self._shape[row].tolist()]
        classes = self._classes[first:last].clip(-1).tolist()
        wrong = {
            "classes": not 0 <= first <= last <= len(self._classes) or len({*classes}) < len(classes) or -1 in classes,
            "values": end - start != (last - first) * sum(cells) or not 0 <= start <= end <= self._count,
            "maps": (self._shape[row] < 0).any(),
            "size": height < 1 or width < 1 or height * width > LARGEST,
        }
        for what in (name for name, is_wrong in wrong.items() if is_wrong):
            text = f"its tables have the {what} of image {self.ids[row]!r} wrong"
            raise WsssError(f"{self.path} is damaged: {text}; {AGAIN}")

    def check_scales(self) -> None:
        """Raise ``WsssError`` where images have maps at more or fewer scales than the attribute ``scales``, or maps
        without cells."""
        told = len(self.attributes.get("scales", ()))
        if self.ids and self._shape.shape[1] != told:
            raise WsssError(
                f"{self.path} is damaged: maps at {self._shape.shape[1]} scales, 'scales' has {told}; {AGAIN}"
            )
        if (self._shape < (np.diff(self._class_end, prepend=0) > 0)[:, None, None]).any():
            raise WsssError(f"{self.path} is damaged: some of its maps have no cells; {AGAIN}")

    def _open(self) -> h5py.File:
        # A shard never changes after its renaming, so locks would only fail on file systems that have none.
        return h5py.File(self.path, "r", locking=False)

    def classes_of(self, row: int) -> np.ndarray:
        """The classes of the ``row``-th image, int64 (n,), without reading its maps. Raises ``WsssError`` where the
        tables are damaged."""
        first = int(self._class_end[row - 1]) if row else 0
        self._check_row(row)
        found: np.ndarray = self._classes[first : self._class_end[row]].copy()
        return found

    def record(self, row: int) -> MapRecord:
        """The ``row``-th image. Raises ``WsssError`` where the file is damaged."""
        classes = self.classes_of(row)
        start, end = int(self._data_end[row - 1]) if row else 0, int(self._data_end[row])
        pid = os.getpid()
        try:
            if pid not in self._handles:
                self._handles = {pid: self._open()}
            data = self._handles[pid]["data"][start:end]
        except BROKEN as error:
            raise WsssError(f"{self.path} cannot be read as a map shard ({error}); {AGAIN}") from error
        if levels := self.attributes.get("levels"):
            data = data / np.float32(levels)
        data = data.astype(np.float32, copy=False)
        maps, position = [], 0
        for height, width in self._shape[row].tolist():
            count = len(classes) * height * width
            maps.append(data[position : position + count].reshape(len(classes), height, width))
            position += count
        return MapRecord(self.ids[row], classes, tuple(self._size[row].tolist()), maps)

    def close(self) -> None:
        """Close the file; reading opens it again."""
        for handle in self._handles.values():
            handle.close()
        self._handles = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}


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


def shard_paths(folder: Path) -> list[Path]:
    """Paths of all shards of a folder; :class:`WsssError` naming those that miss."""
    found = {path.name: _NAME.fullmatch(path.name) for path in sorted(folder.glob("shard-*.h5"))}
    totals = {int(match[2]) for match in found.values() if match}
    if len(totals) != 1:
        said = "no shard-IIIII-of-NNNNN.h5" if not totals else f"shards of several sets ({', '.join(found)})"
        raise WsssError(f"{folder} holds {said}; {AGAIN}")
    total = totals.pop()
    missing = [name for name in (shard_name(i, total) for i in range(total)) if name not in found]
    if missing:
        raise WsssError(f"{folder}: missing {', '.join(missing)} of {total} shards; {AGAIN}")
    return [folder / shard_name(i, total) for i in range(total)]


Maps = (
    tuple[Item, Sequence[int] | np.ndarray, Sequence[np.ndarray]]
    | tuple[Item, Sequence[int] | np.ndarray, Sequence[np.ndarray], str]
)
"""An image, its n classes (0-based), float32 (n, h_s, w_s) for each scale, perhaps a text; see ``MapWriter.add``."""
