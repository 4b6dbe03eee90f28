"""What an artefact holds: the names of its outputs, and a digest of each.

The digest of a folder covers the relative name and the CRC-32 of every file below it, hidden ones left out, whether
each lies there as it is or in a pack (``wsss.system.packs``); that of ``index.csv`` leaves out where images and masks
lie, for their own digests stand beside the paths. Equal digests mean the same content, on whatever machine and whenever
it was made.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsss.errors import WsssError
from wsss.system.packs import AnyFile, Packs, is_packed

MANIFEST = "manifest.json"
RUN = "run.json"
PARTS = "parts"
"""Folder in an artefact's folder for what is made of it so far; it goes when the artefact is whole."""
STATE = "state"
_NONE = {MANIFEST, RUN, PARTS, STATE, "tensorboard", "problems.json"}
"""What lies in an artefact's folder and is no output."""
_ELSEWHERE = {"summary": ("panels", "summary.csv", "summary.md"), "report": ("../report.html", "pictures.csv")}
"""Stages whose outputs cannot be told from the folder: other artefacts lie in it, or an output beside it."""
_PLACES = ("image", "mask")
"""Columns of ``index.csv`` that say where files lie."""
CHECKED = 256 << 20
"""Larger files are not read once more only to see that nobody changed them."""
READERS = 16
"""Threads that wait for the file system."""


def outputs_of(stage: str, folder: Path) -> list[str]:
    """Names of what a stage has put into its folder."""
    names = _ELSEWHERE.get(stage)
    if names is not None:
        return [name for name in names if (folder / name).exists()]
    return sorted(path.name for path in folder.iterdir() if path.name not in _NONE and not path.name.startswith("."))


def digest(path: Path) -> str:
    """Sixteen hex digits for the content of a file or a folder. Raises ``OSError``."""
    if path.is_dir():
        if is_packed(path):
            with contextlib.suppress(WsssError):  # damaged packs have the digest of what lies there
                return tree_digest(_checksums(Packs(path).files()))
        files = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
        return tree_digest(_checksums({file.relative_to(path).as_posix(): file for file in files}))
    if path.name == "index.csv":
        return _index_digest(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _checksums(files: Mapping[str, AnyFile]) -> dict[str, int]:
    """CRC-32 of the bytes of files, by name."""
    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(files, readers.map(lambda file: zlib.crc32(file.read_bytes()), files.values()), strict=True))


def tree_digest(checksums: Mapping[str, int]) -> str:
    """``digest`` of a folder whose files' CRC-32 are known: relative name to checksum."""
    lines = (f"{name}\0{crc:08x}\n" for name, crc in sorted(checksums.items()))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _index_digest(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        kept = [{name: value for name, value in row.items() if name not in _PLACES} for row in rows]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def content(outputs: Mapping[str, str]) -> str:
    """Sixteen hex digits for all outputs together: what counts of an artefact for those that read it."""
    return hashlib.sha256(json.dumps(dict(outputs), sort_keys=True).encode()).hexdigest()[:16]


def altered(folder: Path, digests: Mapping[str, str]) -> str | None:
    """The first output that is a file of at most ``CHECKED`` bytes and no longer holds what its digest tells of; None
    if there is none. Folders of masks are left out: every PNG has checksums of its own, which decoding looks at.

    Raises:
        OSError: A file cannot be read.
    """
    for name, known in digests.items():
        path = folder / name
        if path.is_file() and path.stat().st_size <= CHECKED and digest(path) != known:
            return name
    return None


def missing(folder: Path, outputs: Iterable[str]) -> str | None:
    """The first output that is not there, None if all are."""
    return next((name for name in outputs if not (folder / name).exists()), None)


def stamp(path: Path) -> tuple[int, ...]:
    """Tells a file or folder from one that is put in its place later."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns
