"""Folders of masks: one 8-bit palette PNG per image (VOC colours), which any viewer and toolkit opens.

The id is the path below the folder without ``.png`` and may hold slashes. Values: 0 background, c + 1 the object
class c, 255 ignore. The same PNG files may lie in packs, a thousand in each (``wsss.system.packs``); readers need not
know.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsss.data.images import UNREADABLE
from wsss.data.index import Item, require
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.system.failures import writing
from wsss.system.packs import AnyFile, Packs, is_packed


@dataclass(frozen=True)
class FileOf:
    """The mask of an item in a folder, as the target of a training; loader processes may be sent it."""

    masks: MaskFolder

    def __call__(self, item: Item) -> AnyFile:
        return self.masks.file(item.id)


class MaskFolder:
    """Masks below ``path`` by image id. Opening reads nothing, so it is free and safe in any process; where masks are
    packed, their list is read when the first one is asked for. Packed masks are read here, and not written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def packs(self) -> Packs | None:
        """The packs in which the masks lie; None where each is a file of its own."""
        return Packs(self.path) if is_packed(self.path) else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "packs"}

    def file(self, id: str) -> AnyFile:
        """Where the mask of an image lies. Raises :class:`WsssError` for an id that would leave the folder, and for
        packs that are damaged."""
        name = f"{id}.png"
        return self.packs[name] if self.packs is not None and name in self.packs else self.path_of(id)

    def path_of(self, id: str) -> Path:
        """Where the mask of an image lies as a file of its own. Raises :class:`WsssError` for an id that would leave
        the folder."""
        parts = PurePosixPath(id).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise WsssError(f"{self.path}: {id!r} cannot be a file name in this folder; rename the image")
        return self.path / f"{id}.png"

    def write(self, id: str, mask: np.ndarray) -> int:
        """Write ``mask``, uint8 (H, W); the file appears whole or not at all. Equal masks give equal bytes.

        Returns the CRC-32 of the file's bytes."""
        return self.put(id, encode_mask(mask))

    def put(self, id: str, content: bytes) -> int:
        """``write`` of a mask that is a PNG file's bytes already."""
        path = self.path_of(id)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with writing(path):
                temporary.write_bytes(content)
                os.replace(temporary, path)
            return zlib.crc32(content)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, id: str) -> np.ndarray:
        """The mask of an image, uint8 (H, W). Raises :class:`WsssError` when it is missing or no 8-bit PNG."""
        path = self.file(id)
        try:
            with Image.open(path if isinstance(path, Path) else io.BytesIO(path.read_bytes())) as image:
                if image.mode not in ("P", "L"):
                    raise WsssError(f"{path}: mode {image.mode} is not an 8-bit mask; make the masks again")
                return np.array(image, np.uint8)
        except FileNotFoundError:
            raise WsssError(
                f"{path} is missing: image {id!r} has no mask; run the stage that makes the masks"
            ) from None
        except UNREADABLE as error:
            reason = "it is no image" if isinstance(error, UnidentifiedImageError) else error
            raise WsssError(
                f"{path}: the mask of image {id!r} cannot be read ({reason}); make the masks again"
            ) from error

    def require(self, items: Iterable[Item], cure: str) -> None:
        """Raise ``WsssError``, which ends with ``cure``, if masks of some items are missing."""
        require(items, self, f"{self.path} has no masks", cure)

    def ids(self) -> list[str]:
        """Ids of all masks, sorted."""
        if self.packs is not None:
            return sorted(name.removesuffix(".png") for name in self.packs)
        files = (path.relative_to(self.path) for path in self.path.rglob("*.png"))
        return sorted(path.as_posix()[: -len(".png")] for path in files if not path.name.startswith("."))

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, str):
            return False
        return self.path_of(id).is_file() if self.packs is None else f"{id}.png" in self.packs
