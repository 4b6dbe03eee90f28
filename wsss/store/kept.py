"""Nothing is lost: an artefact that is to be made anew is moved to ``.kept/IDENTITY`` beside its folder, and comes back
when its identity is wanted again.

An artefact's manifest has two names in its folder, ``manifest.json`` for readers and ``.manifest.json``. The workflow
deletes the first as soon as a job begins; the second still says what the folder holds, so that the stage can see that
there is nothing to do, or move it all away. Moves are renames, and each can be begun again after a kill at any moment.
Folders under way have hidden names in ``.kept``: what has a plain name there is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.provenance.outputs import RUN, missing
from wsss.store.manifest import NAME, SECOND
from wsss.system.files import read_json, write_json

KEPT = ".kept"
AGAIN = ".again"
"""A mark in an artefact's folder: somebody wants it made anew, although nothing that counts has changed."""
GONE = ".gone"
"""Ends the name of what is being deleted."""


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
            _keep(leaving, out, about)
        else:
            for path in leaving.iterdir():
                _replace(path, out / path.name)
            leaving.rmdir()
    if returning.is_dir():
        about = _about(returning / NAME)
        arrived = in_place(out) is not None and missing(returning, about["outputs"] if about else ()) is not None
        if about is None or arrived:  # accepted since, perhaps, and so of another identity
            shutil.rmtree(returning)
        else:
            for name in (*about["outputs"], RUN):
                if (out / name).exists() and not (returning / name).exists():
                    _replace(out / name, returning / name)
            _keep(returning, out, about)
    shutil.rmtree(_scratch(out, "old"), ignore_errors=True)


def set_aside(out: Path) -> None:
    """Move the artefact in a folder to ``.kept/IDENTITY``. What is not whole, or has no identity, stays where it is and
    is no artefact any more."""
    about = in_place(out)
    if about is not None and not any(name.startswith("..") for name in about["outputs"]):
        if _about(out / SECOND) != about:  # a process that was killed may have written only one of the two
            write_json(out / SECOND, about)
        (out / NAME).unlink(missing_ok=True)
        scratch = _scratch(out, "leaving")
        scratch.mkdir(parents=True, exist_ok=True)
        for name in (*about["outputs"], RUN):
            if (out / name).exists():
                _replace(out / name, scratch / name)
        os.replace(out / SECOND, scratch / NAME)
        _keep(scratch, out, about)
    for name in (NAME, SECOND, RUN):
        (out / name).unlink(missing_ok=True)


def bring_back(out: Path, identity: str) -> bool:
    """Put the artefact of this identity that was kept back into its folder, from which any other has been set aside.
    Returns whether there was one."""
    if kept(out, identity) is None:
        return False
    scratch = _scratch(out, "returning")
    try:
        os.replace(out.parent / KEPT / identity, scratch)
    except FileNotFoundError:  # a recipe with the same settings took it
        return False
    about = read_json(scratch / NAME)
    for name in (*about["outputs"], RUN):
        if (scratch / name).exists():
            _replace(scratch / name, out / name)
    write_json(out / SECOND, about)
    write_json(out / NAME, about)
    shutil.rmtree(scratch)
    return True


def drop(folder: Path) -> None:
    """Delete an artefact that is kept; first of all its name goes, so that nobody finds half of it."""
    gone = folder if folder.name.startswith(".") else folder.with_name(f".{folder.name}{GONE}")
    if gone != folder:
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(folder, gone)
    shutil.rmtree(gone)


def drop_twin(out: Path, about: dict[str, Any]) -> None:
    """Forget what was kept of an artefact that was made anew and has turned out the same."""
    before = kept(out, about["identity"])
    if before is not None and before["content"] == about["content"]:
        drop(out.parent / KEPT / about["identity"])


def all_kept(results: Path) -> Iterator[Path]:
    """The folders of all artefacts that are kept below a folder of results, oldest first, and of those that somebody
    had begun to delete."""
    everything = (one for kept in results.rglob(KEPT) if kept.is_dir() for one in kept.iterdir())
    folders = (one for one in everything if one.name.endswith(GONE) or not one.name.startswith("."))
    yield from sorted(folders, key=lambda one: one.stat().st_mtime)


def _keep(folder: Path, out: Path, about: dict[str, Any]) -> None:
    """Give a whole artefact its place in ``.kept``, and let it go if the same lies there. One that only has the same
    identity (one was adopted or accepted, or made anew on a GPU) makes way under a longer name, IDENTITY.CONTENT."""
    place, old = out.parent / KEPT / about["identity"], _scratch(out, "old")
    there = kept(out, about["identity"])
    shutil.rmtree(old, ignore_errors=True)
    if there is not None and there.get("content") == about.get("content"):
        os.replace(folder, old)
        os.utime(place)
    else:
        if place.exists():
            longer = place.with_name(f"{place.name}.{(there or {}).get('content')}")
            os.replace(place, old if there is None or longer.exists() else longer)
        os.replace(folder, place)
    shutil.rmtree(old, ignore_errors=True)


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
