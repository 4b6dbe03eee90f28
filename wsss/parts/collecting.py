"""Masks of an artefact that is not whole yet: each a file of its own, or on their way into packs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from wsss.data.index import Item
from wsss.runtime.run import Run
from wsss.store.masks import MaskFolder
from wsss.system.failures import writing
from wsss.system.packs import AnyFile, PackedFile, record, records, write_packs
from wsss.system.workers import worker_number

SPOOL = ".spool"
"""Ends the names of files that masks are appended to."""


class LooseMasks(MaskFolder):
    """Masks in ``folder/masks``, each a file of its own from the beginning."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "masks")
        self.folder = folder
        self.path.mkdir(exist_ok=True)

    def take_stock(self, known: Container[tuple[str, int]]) -> None:
        """Take in what a job that was to pack its masks has made: of these, by id and CRC-32, those that lack."""
        for found in spooled(self.folder):
            id = found.name.removesuffix(".png")
            if (id, found.crc) in known and id not in self:
                self.put(id, found.read_bytes())

    def settle(self, items: list[Item], run: Run) -> Path:
        """The folder of all masks, and nothing else: what killed writers left is deleted."""
        wanted = {self.path_of(item.id) for item in items}
        for path in self.path.rglob("*"):
            if path not in wanted and not path.is_dir():
                path.unlink()
        return self.path


class SpooledMasks(MaskFolder):
    """Masks that end in packs: until all are there, each process appends its own to one file, ``folder/*.spool``,
    record by record as in a ZIP file whose directory is still to come. So there are few files from the beginning, and a
    killed process loses at most the record that it was writing.

    Args:
        folder: Where the files lie; masks that are files of their own in ``folder/masks`` count, too.
        tag: Begins the names of the files. No two jobs that work here at the same time have the same.
    """

    def __init__(self, folder: Path, tag: str) -> None:
        super().__init__(folder / "masks")
        self.folder = folder
        before = {path.name.rpartition("-")[0] for path in folder.glob(f"{tag}-*{SPOOL}")}
        self._begin = next(name for k in range(10**6) if (name := f"{tag}-{k:05d}") not in before)
        self._found: dict[str, PackedFile] = {}
        self._writer: tuple[int, Any] | None = None
        self._turn = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_turn"} | {"_writer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn = Lock()

    def take_stock(self, known: Container[tuple[str, int]]) -> None:
        """Look which of these masks, by id and CRC-32, are there."""
        each = ((found.name.removesuffix(".png"), found) for found in spooled(self.folder))
        self._found = {id: found for id, found in each if (id, found.crc) in known}

    def file(self, id: str) -> AnyFile:
        """Where the mask of an image lies; one of another process is known after ``take_stock``."""
        return self._found.get(id) or self.path_of(id)

    def __contains__(self, id: object) -> bool:
        return id in self._found or super().__contains__(id)

    def put(self, id: str, content: bytes) -> int:
        """Append a mask; returns its CRC-32. It is whole when this returns, and the space is given back where it does
        not. Threads take turns. Raises ``WsssError`` as a folder of masks does, ``DiskFull`` where there is no room."""
        self.path_of(id)
        with self._turn, writing(self.folder / self._begin):
            if self._writer is None or self._writer[0] != os.getpid():
                path = self.folder / f"{self._begin}-{worker_number():03d}{SPOOL}"
                self._writer = (os.getpid(), path.open("ab", buffering=0))
            file = self._writer[1]
            start, left = file.tell(), memoryview(record(f"{id}.png", content))
            try:
                while left:
                    left = left[file.write(left) :]
            except BaseException:
                with contextlib.suppress(OSError):
                    file.truncate(start)
                    file.seek(start)
                raise
        found = PackedFile.of(Path(file.name), f"{id}.png", start, content)
        self._found[id] = found
        return found.crc

    def settle(self, items: list[Item], run: Run) -> Path:
        """The folder of all masks, packed in the order of ``items``. Raises ``Interrupted`` after a signal."""
        packed = self.folder / "packed"
        shutil.rmtree(packed, ignore_errors=True)
        packed.mkdir()

        def content(item: Item) -> tuple[str, bytes]:
            run.check_stop()
            return f"{item.id}.png", self.file(item.id).read_bytes()

        write_packs(packed, map(content, items), len(items))
        return packed


def spooled(folder: Path) -> Iterator[PackedFile]:
    """All masks in the files of a folder that masks are appended to, later ones last."""
    for path in sorted(folder.glob(f"*{SPOOL}")):
        yield from records(path)


def collected(run: Run, folder: Path) -> LooseMasks | SpooledMasks:
    """Where a run collects its masks, in the folder of its parts: as its setting ``storage`` has it."""
    if run.settings.storage != "packed":
        return LooseMasks(folder)
    run.record(storage="packed")
    return SpooledMasks(folder, str(run.shard or "rest"))
