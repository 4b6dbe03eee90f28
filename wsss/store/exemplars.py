"""Exemplars of a memory in one HDF5 file: what is stored of each image are encoded bytes, decoded on demand.

Five lines are enough to read them::

    from wsss.store.exemplars import Exemplars
    memory = Exemplars("results/scenes/s0/memories/salient/memory.h5")
    one = memory[memory.ids[0]]               # one.id, one.size, one.tags, one.bytes
    image, labels = one.image(), one.labels() # uint8 (H, W, 3) and (H, W), at the image's own size
    reliable = one.reliable()                 # bool (H, W): where the image is more than its coarse context

``memory.h5`` is an ordinary HDF5 file without pickles. With I exemplars and B boxes in all:

===============  =============  =====================================================================================
``id``           utf-8 (I,)     ids of the images
``size``         int32 (I, 2)   height and width of the image in pixels
``tag``          int32          0-based object classes that the labels show; ``tag_end`` int64 (I,): where an
                                exemplar's end
``context``      uint8          encoded images (JPEG, PNG, or a file as it was), one after the other; ``context_end``
``box``          uint16 (B, 4)  top, left, bottom, right in pixels, the last two outside the box; ``box_end``
``crop``         uint8          encoded boxes, in the order of ``box``; ``crop_end`` int64 (B,)
``labels``       uint8          PNG masks at the image's size; ``labels_end``
===============  =============  =====================================================================================

A context is the whole image, of any size: it is resized to the image's. Without one, what is outside the boxes is the
mean colour of ImageNet.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from wsss.data.images import check_mask, read_image
from wsss.data.transforms import MEAN
from wsss.errors import WsssError
from wsss.store.hdf5 import BROKEN, texts, values
from wsss.system.files import atomic_path

FORMAT = "wsss-exemplars"
VERSION = 1
FINE = 64
"""A JPEG with a side below so many pixels keeps its colours at full resolution: sharing them between pixels would smear
a small crop."""
Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; the last two lie outside."""
_PAYLOADS = ("context", "crop", "labels")
_ENDS = ("tag_end", "context_end", "box_end", "crop_end", "labels_end")


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """An image uint8 (H, W, 3) as JPEG of quality 1 to 95."""
    buffer = io.BytesIO()
    shared = 0 if min(pixels.shape[:2]) < FINE else 2
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=shared, optimize=True)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """An image uint8 (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Exemplar:
    """What is stored of an image.

    Attributes:
        id: Of the image.
        size: Its height and width in pixels.
        tags: 0-based object classes that its labels show, ascending.
        context: An encoded image; empty: none.
        boxes: uint16 (n, 4); see ``Box``.
        crops: Encoded images of the boxes.
        mask: PNG of the labels.
    """

    id: str
    size: tuple[int, int]
    tags: tuple[int, ...]
    context: bytes
    boxes: np.ndarray
    crops: tuple[bytes, ...]
    mask: bytes

    @property
    def bytes(self) -> int:
        """What it costs: encoded images and labels, and 8 bytes a box."""
        return len(self.context) + sum(map(len, self.crops)) + len(self.mask) + self.boxes.nbytes

    def image(self) -> np.ndarray:
        """RGB uint8 (H, W, 3): the context, resized (bilinear), and the boxes on it."""
        height, width = self.size
        if self.context:
            whole = Image.fromarray(_decoded(self.context, self.id))
            resize = whole.size != (width, height)
            found = np.array(whole.resize((width, height), Image.Resampling.BILINEAR) if resize else whole)
        else:
            found = np.broadcast_to(np.rint(255 * MEAN).astype(np.uint8), (height, width, 3)).copy()
        for (top, left, bottom, right), crop in zip(self.boxes.tolist(), self.crops, strict=True):
            found[top:bottom, left:right] = _decoded(crop, self.id)
        return found

    def labels(self) -> np.ndarray:
        """Mask uint8 (H, W): 0 background, c + 1 object class c, 255 unknown."""
        try:
            return check_mask(self.mask)
        except ValueError as error:
            raise WsssError(f"the labels of exemplar {self.id!r} cannot be read: {error}") from None

    def reliable(self) -> np.ndarray:
        """Where the image is stored in full, bool (H, W): inside the boxes; everywhere where there are none."""
        found = np.full(self.size, not len(self.boxes))
        for top, left, bottom, right in self.boxes.tolist():
            found[top:bottom, left:right] = True
        return found


def _decoded(data: bytes, id: str) -> np.ndarray:
    try:
        return read_image(io.BytesIO(data))
    except WsssError:
        raise WsssError(f"what is stored of exemplar {id!r} cannot be decoded; make the memory again") from None


def write_exemplars(path: Path, exemplars: Sequence[Exemplar], attributes: dict[str, Any]) -> None:
    """Write ``memory.h5``; it appears whole or not at all. ``attributes``: further numbers or texts to keep."""
    payloads: dict[str, list[bytes]] = {
        "context": [one.context for one in exemplars],
        "crop": [crop for one in exemplars for crop in one.crops],
        "labels": [one.mask for one in exemplars],
    }
    boxes = [one.boxes.reshape(-1, 4) for one in exemplars]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({**attributes, "format": FORMAT, "version": VERSION})
        ids = [one.id for one in exemplars]
        file.create_dataset("id", data=ids, shape=(len(ids),), dtype=h5py.string_dtype("utf-8"))
        file.create_dataset("size", data=np.array([one.size for one in exemplars], np.int32).reshape(-1, 2))
        file.create_dataset("tag", data=np.array([tag for one in exemplars for tag in one.tags], np.int32))
        file.create_dataset("tag_end", data=_ends([len(one.tags) for one in exemplars]))
        file.create_dataset("box", data=np.concatenate([np.zeros((0, 4), np.uint16), *boxes]).astype(np.uint16))
        file.create_dataset("box_end", data=_ends([len(each) for each in boxes]))
        for name, parts in payloads.items():
            file.create_dataset(name, data=np.frombuffer(b"".join(parts), np.uint8))
            file.create_dataset(f"{name}_end", data=_ends([len(part) for part in parts]))


def _ends(lengths: Sequence[int]) -> np.ndarray:
    return np.cumsum(np.asarray(lengths, np.int64))


class Exemplars:
    """The exemplars of a memory by image id, in the order in which they were chosen.

    Raises:
        WsssError: The file is missing, damaged or of another kind.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                    raise WsssError(f"{self.path} is no memory of version {VERSION}; make the memory again")
                self.attributes: dict[str, Any] = dict(file.attrs)
                self.ids = texts(file, "id")
                names = (*_PAYLOADS, *_ENDS, "tag")
                self._table = {name: values(file, name, "int", 1) for name in names}
                self._table |= {name: values(file, name, "int", 2) for name in ("size", "box")}
        except BROKEN as error:
            raise WsssError(f"{self.path} cannot be read as a memory ({error}); make the memory again") from None
        lengths = {name: len(self._table[name]) for name in (*_PAYLOADS, "box", "tag")}
        said = {name: int(ends[-1]) if len(ends := self._table[f"{name}_end"]) else 0 for name in lengths}
        if lengths != said or len(self._table["crop_end"]) != lengths["box"]:
            raise WsssError(f"{self.path} is damaged: it holds {lengths}, its tables say {said}; make the memory again")
        self._check()

    def _check(self) -> None:
        """Raise ``WsssError`` where the tables contradict each other."""
        table, count = self._table, len(self.ids)
        per_image = [len(table[name]) for name in ("size", "tag_end", "context_end", "box_end", "labels_end")]
        rising = all((np.diff(table[name], prepend=0) >= 0).all() for name in _ENDS)
        if per_image != [count] * 5 or len(set(self.ids)) != count or not rising or table["context"].dtype != np.uint8:
            raise WsssError(f"{self.path} is damaged: its tables contradict each other; make the memory again")
        if count and (table["size"].shape[1] != 2 or (table["size"] < 1).any()):
            raise WsssError(f"{self.path} is damaged: it has images without pixels; make the memory again")
        if len(box := table["box"].astype(np.int64)):
            sizes = np.repeat(table["size"], np.diff(table["box_end"], prepend=0), axis=0)
            inside = box.shape[1] == 4 and (box[:, :2] >= 0).all() and (box[:, :2] < box[:, 2:]).all()
            if not inside or (box[:, 2:] > sizes).any():
                raise WsssError(f"{self.path} is damaged: it has boxes outside of their images; make the memory again")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    def __iter__(self) -> Iterator[Exemplar]:
        return (self[id] for id in self.ids)

    def __getitem__(self, id: str) -> Exemplar:
        if id not in self._rows:
            raise WsssError(f"{self.path} has no exemplar {id!r}")
        row, table = self._rows[id], self._table
        first, last = self._span("box", row)
        height, width = table["size"][row].tolist()
        return Exemplar(
            id,
            (height, width),
            tuple(table["tag"][slice(*self._span("tag", row))].tolist()),
            self._payload("context", row),
            table["box"][first:last],
            tuple(self._payload("crop", number) for number in range(first, last)),
            self._payload("labels", row),
        )

    def _span(self, name: str, row: int) -> tuple[int, int]:
        ends = self._table[f"{name}_end"]
        return (int(ends[row - 1]) if row else 0), int(ends[row])

    def _payload(self, name: str, row: int) -> bytes:
        data: bytes = self._table[name][slice(*self._span(name, row))].tobytes()
        return data

    @property
    def bytes(self) -> int:
        """What all exemplars cost together."""
        boxes: int = self._table["box"].nbytes
        return sum(len(self._table[name]) for name in _PAYLOADS) + boxes
