"""Copies of images on a disk of the machine that trains (``stage_to``).

A training reads every image once an epoch. Where images lie on a disk that a whole cluster shares, they are read from
there once, in the first epoch, and from a disk of the node after that. Nobody waits for a copy of everything, an image
that is never read is never copied, and jobs on one node share what is there.

A copy is named by the SHA-256 of what is in it, which the index knows, and what is read is compared with its name each
time. So it does not matter who made a copy, whether he was killed over it, or who has changed or deleted it since: a
training sees the bytes that the index saw, or reads the image where it lies. Its results do not depend on copies.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import stat
from pathlib import Path

from wsss.data.index import Item
from wsss.system.log import log

SPARE = 0.05
"""Share of a disk that copies leave free: others write there, too."""


class Picture(io.BytesIO):
    """The bytes of an image, which is named in messages by the file that it comes from."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(data)
        self.path = path

    def __str__(self) -> str:
        return str(self.path)


class Copies:
    """Copies of images in a folder, which any number of processes may fill and read at once.

    Attributes:
        folder: Where they are.
        closed: This process makes no more of them: the disk is full, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.closed = folder, False

    @classmethod
    def below(cls, setting: str | None) -> Copies | None:
        """Copies below the directory that a recipe names, ``~`` and variables like ``$TMPDIR`` replaced; None where it
        names none, or a variable that is not set here, or where nothing can be written."""
        if setting is None:
            return None
        base = os.path.expanduser(os.path.expandvars(setting))
        if unset := re.search(r"\$\{?(\w+)", base):
            log.info(f"stage_to: {setting}: {unset[1]} is not set here; images are read where they lie")
            return None
        folder = Path(base) / f"wsss-images-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            about = folder.lstat()
        except OSError as error:
            log.warning("stage_to: %s: %s; images are read where they lie", folder, error.strerror)
            return None
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            log.warning("stage_to: %s is not a folder of yours; images are read where they lie", folder)
            return None
        log.info(f"copies of the images go to {folder}")
        return cls(folder)

    def of(self, item: Item) -> Path | Picture:
        """What to read an image from: the bytes that the index knows, from the copy, which is made where there is none;
        or the image's own file where its bytes are others now, or cannot be read."""
        if not item.sha256:
            return item.image
        copy = self.folder / item.sha256[:2] / item.sha256
        for path in (copy, item.image):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(data).hexdigest() == item.sha256:
                if path != copy:
                    self._keep(copy, data)
                return Picture(data, item.image)
        return item.image

    def _keep(self, copy: Path, data: bytes) -> None:
        """Make a copy; it appears whole. After a power cut it may be cut short: it is read against its name."""
        if self.closed:
            return
        temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
        try:
            disk = shutil.disk_usage(self.folder)
            if disk.free - len(data) < SPARE * disk.total:
                self.closed = True
                log.info(f"{self.folder}: the disk is nearly full; further images are read where they lie")
                return
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, copy)
        except OSError as error:
            self.closed = True
            log.info(f"{self.folder}: {error.strerror}; further images are read where they lie")
            with contextlib.suppress(OSError):
                temporary.unlink()
