"""A shard of maps: one HDF5 file, what stands in it, and how it is read.

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

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsss.data.images import LARGEST
from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.store.hdf5 import BROKEN, dataset, texts, values

FORMAT = "wsss-maps"
VERSION = 1
IN_LEVELS = 2
"""Version of files with ``levels``, which programs that do not know them must not read."""
AGAIN = "delete the folder and make the maps again"
_NAME = re.compile(r"shard-(\d{5})-of-(\d{5})\.h5")

Maps = (
    tuple[Item, Sequence[int] | np.ndarray, Sequence[np.ndarray]]
    | tuple[Item, Sequence[int] | np.ndarray, Sequence[np.ndarray], str]
)
"""An image, its n classes (0-based), float32 (n, h_s, w_s) for each scale, perhaps a text; see ``MapWriter.add``."""


def shard_name(number: int, total: int) -> str:
    """File name of shard ``number`` (from 0) of ``total``."""
    return f"shard-{number:05d}-of-{total:05d}.h5"


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
