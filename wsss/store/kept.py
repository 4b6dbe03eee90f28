"""Nothing is lost: an artefact that is to be made anew is moved to ``.kept/IDENTITY`` beside its folder, and comes back
when its identity is wanted again.

An artefact's manifest has two names in its folder, ``manifest.json`` for readers and ``.manifest.json``. The workflow
deletes the first as soon as a job begins; the second still says what the folder holds, so that the stage can see that
there is nothing to do, or move it all away. Moves are renames, and each can be begun again after a kill at any moment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.provenance.outputs import RUN, missing
from wsss.store.manifest import NAME, SECOND, read_json, write_json

KEPT = ".kept"
AGAIN = ".again"
"""A mark in an artefact's folder: somebody wants it made anew, although nothing that counts has changed."""


def in_place(out: Path) -> dict[str, Any] | None:
    """The manifest of the artefact that lies whole in a folder, None where there is none."""
    for name in (NAME, SECOND):
        about = _about(out / name)
        if about is not None:
            return about if missing(out, about["outputs"]) is None else None
    return None


def kept(out: Path, identity: str | None) -> dict[str, Any] | None:
    """The manifest of the artefact of this identity that was kept beside a folder, None where there is none."""
    folder = out.parent / KEPT / str(identity)
    about = _about(folder / NAME)
    return about if about is not None and missing(folder, about["outputs"]) is None else None


def recover(out: Path) -> None:
    """Finish what a killed process had begun to move: afterwards the artefact is whole in its folder, or whole in
    ``.kept``. For those who hold the folder's lock."""
    leaving, returning = _scratch(out, "leaving"), _scratch(out, "returning")
    if leaving.is_dir():
        about = _about(leaving / NAME)  # moved last
        if about is not None:
            _replace(leaving, out.parent / KEPT / about["identity"])
        else:
            for path in leaving.iterdir():
                _replace(path, out / path.name)
            leaving.rmdir()
    if returning.is_dir():
        about = _about(returning / NAME)
        there = in_place(out)
        if about is None or there is not None and there["identity"] == about["identity"]:
            shutil.rmtree(returning)
        else:
            for name in (*about["outputs"], RUN):
                if (out / name).exists() and not (returning / name).exists():
                    _replace(out / name, returning / name)
            _replace(returning, out.parent / KEPT / about["identity"])


def set_aside(out: Path) -> None:
    """Move the artefact in a folder to ``.kept/IDENTITY``. What is not whole, or has no identity, stays where it is and
    is no artefact any more."""
    about = in_place(out)
    if about is not None and not any(name.startswith("..") for name in about["outputs"]):
        if not (out / SECOND).exists():
            write_json(out / SECOND, about)
        (out / NAME).unlink(missing_ok=True)
        scratch = _scratch(out, "leaving")
        scratch.mkdir(parents=True, exist_ok=True)
        for name in (*about["outputs"], RUN):
            if (out / name).exists():
                _replace(out / name, scratch / name)
        os.replace(out / SECOND, scratch / NAME)
        _replace(scratch, out.parent / KEPT / about["identity"])
    for name in (NAME, SECOND, RUN):
        (out / name).unlink(missing_ok=True)


def bring_back(out: Path, identity: str) -> bool:
    """Put the artefact of this identity that was kept back into its folder, from which any other has been set aside.
    Returns whether there was one."""
    about = kept(out, identity)
    if about is None:
        return False
    scratch = _scratch(out, "returning")
    os.replace(out.parent / KEPT / identity, scratch)
    for name in (*about["outputs"], RUN):
        if (scratch / name).exists():
            _replace(scratch / name, out / name)
    write_json(out / SECOND, about)
    write_json(out / NAME, about)
    shutil.rmtree(scratch)
    return True


def all_kept(results: Path) -> Iterator[Path]:
    """The folders of all artefacts that are kept below a folder of results, oldest first."""
    folders = (
        one for kept in results.rglob(KEPT) if kept.is_dir() for one in kept.iterdir() if not one.name.startswith(".")
    )
    yield from sorted(folders, key=lambda one: one.stat().st_mtime)


def _scratch(out: Path, what: str) -> Path:
    return out.parent / KEPT / f".{out.name}.{what}"


def _about(path: Path) -> dict[str, Any] | None:
    """A manifest that tells what its artefact is and holds; None for older ones."""
    try:
        about = read_json(path)
    except (OSError, ValueError):
        return None
    return about if {"identity", "outputs"} <= set(about) else None


def _replace(source: Path, target: Path) -> None:
    """Rename a file or folder over whatever lies there."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
