"""Writing a shard of maps (``wsss.store.map_shards``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from wsss.errors import WsssError
from wsss.store.map_shards import FORMAT, IN_LEVELS, VERSION
from wsss.system.failures import writing
from wsss.system.files import flush_to_disk

_FLUSH = 1 << 20  # values held in memory before they are appended to the file: 4 MiB


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
