"""Packs: the many small files of a folder in a few ZIP files, each stored as it is.

A folder of a million masks is a million files, and quotas count files. In packs it is a thousand
(``00000-of-00977.zip``, 1,024 files in each), and ``packed.json``, which is written last and says how many files there
are. Nothing is compressed and every file has its CRC-32, so any program that knows ZIP reads them, one at a time or
all::

    import zipfile
    with zipfile.ZipFile("masks/00000-of-00001.zip") as pack:
        content = pack.read("train-00000.png")

The same files in the same order give the same bytes: no times, no names of machines.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from wsss.errors import WsssError
from wsss.system.files import atomic_path, read_json, write_json

ABOUT = "packed.json"
"""Its presence makes a folder one of packs."""
FORMAT, VERSION = "wsss-packs", 1
FILES = 1024
"""Files in a pack; the last has what is left. Fixed, so that the bytes depend on nothing else."""
AGAIN = "make this folder again"
_LOCAL = struct.Struct("<4s10xIIIHH")
"""Of the header before a file in a ZIP: its sign, the CRC-32, the sizes as stored and as it is, the lengths of the name
and of the extra field."""
_SIGN = b"PK\x03\x04"
_PLAIN = 0o644 << 16
_SPOILT = (
    OSError, ValueError, EOFError, OverflowError, NotImplementedError, struct.error, zipfile.BadZipFile
)  # fmt: skip
"""What reading the directory of a ZIP file that is none, or no longer one, may raise."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file in a pack: it is read, and named in messages, like a ``Path``.

    Attributes:
        pack: The ZIP file.
        name: Name in it.
        start: Where its header begins, in bytes.
        size: In bytes.
        crc: CRC-32 of its bytes.
    """

    pack: Path
    name: str
    start: int
    size: int
    crc: int

    def __str__(self) -> str:
        return f"{self.pack}/{self.name}"

    def read_bytes(self) -> bytes:
        """Its content. Raises ``WsssError`` where that is not what was packed, ``OSError`` where the pack cannot be
        read."""
        with self.pack.open("rb") as file:
            file.seek(self.start)
            header = file.read(_LOCAL.size)
            sign, *_, name, extra = _LOCAL.unpack(header) if len(header) == _LOCAL.size else (b"", 0, 0)
            found = file.read(name + extra)[:name]
            content = file.read(self.size)
        if sign != _SIGN or found != self.name.encode() or zlib.crc32(content) != self.crc:
            raise WsssError(f"{self}: holds other bytes than were packed; {AGAIN}")
        return content

    @classmethod
    def of(cls, pack: Path, name: str, start: int, content: bytes) -> PackedFile:
        """The file of this content."""
        return cls(pack, name, start, len(content), zlib.crc32(content))


AnyFile = Path | PackedFile


def record(name: str, content: bytes) -> bytes:
    """A file as it stands in a pack. Records one after the other are a pack whose directory is still to come."""
    entry = zipfile.ZipInfo(name)
    entry.CRC, entry.file_size, entry.compress_size = zlib.crc32(content), len(content), len(content)
    return entry.FileHeader(zip64=False) + content


def records(path: Path) -> Iterator[PackedFile]:
    """The files in a pack whose directory is still to come, up to what a killed writer left half written. Only their
    headers are read; whether a content is whole is seen when it is read."""
    end = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start + _LOCAL.size <= end:
            file.seek(start)
            sign, crc, stored, size, name_size, extra = _LOCAL.unpack(file.read(_LOCAL.size))
            after = start + _LOCAL.size + name_size + size
            if sign != _SIGN or stored != size or extra or after > end:
                return
            try:
                name = file.read(name_size).decode()
            except UnicodeDecodeError:
                return
            yield PackedFile(path, name, start, size, crc)
            start = after


def is_packed(folder: Path) -> bool:
    """Whether a folder's files lie in packs."""
    return (folder / ABOUT).is_file()


def pack_name(number: int, total: int) -> str:
    """File name of pack ``number`` (from 0) of ``total``."""
    return f"{number:05d}-of-{total:05d}.zip"


def write_packs(folder: Path, files: Iterable[tuple[str, bytes]], count: int) -> None:
    """Pack ``count`` files, given as names (with slashes) and contents, into ``folder``, where no packs are yet. Each
    pack appears whole or not at all, and ``packed.json`` when all are there.

    Raises:
        DiskFull: There is no room for them.
        WsssError: A name comes twice.
    """
    each, total = iter(files), -(-count // FILES)
    names: set[str] = set()
    for number in range(total):
        with (
            atomic_path(folder / pack_name(number, total)) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as pack,
        ):
            for name, content in islice(each, FILES):
                if name in names:
                    raise WsssError(f"{folder}: {name} is packed twice; every name may come once")
                names.add(name)
                entry = zipfile.ZipInfo(name)
                entry.create_system, entry.external_attr = 3, _PLAIN
                pack.writestr(entry, content)
    write_json(folder / ABOUT, {"format": FORMAT, "version": VERSION, "packs": total, "files": len(names)})


class Packs:
    """The files of a folder of packs by name. Opening reads the packs' directories, not the files.

    Raises:
        WsssError: The folder is not one of packs, one is missing, damaged, compressed or encrypted, a file stands in
            two, or there are not as many as ``packed.json`` says. Names the pack.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = read_json(folder / ABOUT)
            known, self._total, count = about.get("format"), int(about["packs"]), int(about["files"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise WsssError(f"{folder / ABOUT}: does not tell of packed files ({error}); {AGAIN}") from None
        if known != FORMAT or about.get("version") != VERSION:
            raise WsssError(f"{folder / ABOUT}: is not of {FORMAT}, version {VERSION}; {AGAIN}")
        self._rows: dict[str, int] = {}
        self._places = array("q")
        """Of each file, one after the other: number of its pack, start, size, CRC-32."""
        for number in range(self._total):
            self._open(number)
        if len(self._rows) != count:
            raise WsssError(f"{folder}: the packs hold {len(self._rows)} files, {ABOUT} says {count}; {AGAIN}")

    def _open(self, number: int) -> None:
        """Take in a pack's directory."""
        path = self._pack(number)
        try:
            end = path.stat().st_size
            with zipfile.ZipFile(path) as pack:
                entries = pack.infolist()
        except FileNotFoundError:
            raise WsssError(f"{path} is missing: these packed files are not whole; {AGAIN}") from None
        except _SPOILT as error:
            raise WsssError(f"{path}: cannot be read as a ZIP file ({error}); {AGAIN}") from None
        for entry in entries:
            plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
            if not plain or entry.file_size != entry.compress_size:
                raise WsssError(f"{path}: {entry.filename} is compressed or encrypted, but packs store files as they "
                                f"are; {AGAIN}")  # fmt: skip
            if not 0 <= entry.header_offset <= end - _LOCAL.size - entry.file_size:
                raise WsssError(f"{path}: is damaged, for {entry.filename} would lie outside of it; {AGAIN}")
            if entry.filename in self._rows:
                raise WsssError(f"{path}: {entry.filename} is packed twice; {AGAIN}")
            self._rows[entry.filename] = len(self._rows)
            self._places.extend((number, entry.header_offset, entry.file_size, entry.CRC))

    def _pack(self, number: int) -> Path:
        return self.folder / pack_name(number, self._total)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which they were packed."""
        return iter(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def files(self) -> dict[str, PackedFile]:
        """All files by name."""
        return {name: self[name] for name in self}

    def __getitem__(self, name: str) -> PackedFile:
        """A file. Raises ``KeyError`` where there is none of this name."""
        row = 4 * self._rows[name]
        number, start, size, crc = self._places[row : row + 4]
        return PackedFile(self._pack(number), name, start, size, crc)
