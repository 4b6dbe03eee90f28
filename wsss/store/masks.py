"""Folders of masks: one 8-bit palette PNG per image (VOC colours), which any viewer and toolkit opens.

The id is the path below the folder without ``.png`` and may hold slashes. Values: 0 background, c + 1 the object
class c, 255 ignore.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from wsss.data.index import Item, require
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.system.failures import writing


@dataclass(frozen=True)
class FileOf:
    """The mask of an item in a folder, as the target of a training; loader processes may be sent it."""

    masks: MaskFolder

    def __call__(self, item: Item) -> Path:
        return self.masks.file(item.id)


class MaskFolder:
    """Masks below ``path`` by image id. Opening reads nothing, so it is free and safe in any process."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def file(self, id: str) -> Path:
        """Where the mask of an image lies. Raises :class:`WsssError` for an id that would leave the folder."""
        parts = PurePosixPath(id).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise WsssError(f"{self.path}: {id!r} cannot be a file name in this folder; rename the image")
        return self.path / f"{id}.png"

    def write(self, id: str, mask: np.ndarray) -> int:
        """Write ``mask``, uint8 (H, W); the file appears whole or not at all. Equal masks give equal bytes.

        Returns the CRC-32 of the file's bytes."""
        path = self.file(id)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            content = encode_mask(mask)
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
            with Image.open(path) as image:
                if image.mode not in ("P", "L"):
                    raise WsssError(f"{path}: mode {image.mode} is not an 8-bit mask; make the masks again")
                return np.array(image, np.uint8)
        except FileNotFoundError:
            raise WsssError(
                f"{path} is missing: image {id!r} has no mask; run the stage that makes the masks"
            ) from None
        except (OSError, SyntaxError) as error:
            raise WsssError(
                f"{path}: the mask of image {id!r} cannot be read ({error}); make the masks again"
            ) from error

    def require(self, items: Iterable[Item], cure: str) -> None:
        """Raise ``WsssError``, which ends with ``cure``, if masks of some items are missing."""
        require(items, self, f"{self.path} has no masks", cure)

    def ids(self) -> list[str]:
        """Ids of all masks, sorted."""
        files = (path.relative_to(self.path) for path in self.path.rglob("*.png"))
        return sorted(path.as_posix()[: -len(".png")] for path in files if not path.name.startswith("."))

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.file(id).is_file()
