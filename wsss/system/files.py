"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss.system.failures import writing


def write_rows(path: Path, columns: Sequence[str], table: Iterable[Sequence[Any]]) -> None:
    """Write a CSV table, atomically; fractions with six digits, None as an empty field."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{v:.6f}" if isinstance(v, float) else v for v in row] for row in table)


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, remove it if not.

    The file is flushed to the disk before the rename, so a power cut leaves the old file or the new one.

    Raises:
        DiskFull: There is no room for it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            flush_to_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def usual_mode() -> int:
    """The mode that the user's umask gives a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def flush_to_disk(path: Path) -> None:
    """Wait until the content of a closed file lies on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(folder: Path | str) -> None:
    """Wait until all that was written to the file system of ``folder`` lies on the disk: one call for any number of
    files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:  # not Linux
            os.sync()
        elif syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "the disk did not take all that was written", str(folder))
    finally:
        os.close(descriptor)


LEFT = (".*.tmp", ".*.old", "*.part", ".tmp" + 6 * "[0-9A-Za-z]")
"""Names of what writers leave when they are killed; the last is that of safetensors."""


def sweep(folder: Path | str) -> None:
    """Delete what writers that were killed left in ``folder`` itself: temporary files, and folders under way to or from
    their place. For those who hold its lock alone."""
    for left in (found for pattern in LEFT for found in Path(folder).glob(pattern)):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def parse_json(text: str) -> Any:
    """What a text in JSON says. Raises ``ValueError`` where it is none, lies in itself too deep, or holds characters
    that no file can be written with."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("lists and mappings lie in each other too deep") from None
    if "\\ud" in text or "\\uD" in text:  # halves of a pair
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def replace_folder(temporary: Path, final: Path) -> None:
    """Put the finished folder ``temporary`` in the place of ``final``."""
    if final.exists():
        old = final.with_name(f".{final.name}.{os.getpid()}.old")
        os.replace(final, old)
        os.replace(temporary, final)
        shutil.rmtree(old)
    else:
        os.replace(temporary, final)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds; empty where there is no file. Raises ``ValueError`` for anything else."""
    try:
        facts = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: not a mapping")
    return facts
