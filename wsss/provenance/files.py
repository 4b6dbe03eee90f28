"""Hashes that stand for the user's own files: tables by content, folders by names and sizes, corrections by
names and content. Times do not count."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def file_content(path: str, whole: int = 64 << 20) -> str:
    """Hash of a file's bytes; above 64 MiB, of its size and its first and last MiB. ``absent`` without a file."""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            made = hashlib.sha256(str(size).encode())
            if size <= whole:
                made.update(file.read())
            else:
                made.update(file.read(1 << 20))
                file.seek(size - (1 << 20))
                made.update(file.read())
    except OSError:
        return "absent"
    return made.hexdigest()[:16]


@cache
def tree_content(path: str) -> str:
    """Hash of the relative names and sizes of all files below a folder, hidden ones left out."""

    def walk(folder: str, below: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from walk(entry.path, f"{below}{entry.name}/")
                else:
                    yield f"{below}{entry.name}\0{entry.stat().st_size}\n"

    try:
        lines = sorted(walk(path, ""))
    except OSError:
        return "absent"
    return f"{len(lines)}:{hashlib.sha256(''.join(lines).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


@cache
def corrections_content(path: str) -> str:
    """Hash of the relative names and the bytes of all PNG files below a folder, hidden ones left out: a file's size may
    stay when a label in it changes. ``absent`` without a folder."""
    if not os.path.isdir(path):
        return "absent"
    files = {
        Path(folder, name).relative_to(path).as_posix(): os.path.join(folder, name)
        for folder, _, names in os.walk(path, followlinks=True)
        for name in names
        if name.lower().endswith(".png")
    }
    shown = sorted(name for name in files if not any(part.startswith(".") for part in name.split("/")))
    made = hashlib.sha256()
    for name in shown:
        made.update(f"{name}\0{file_content(files[name])}\n".encode("utf-8", "surrogateescape"))
    return f"{len(shown)}:{made.hexdigest()[:16]}"
