"""What has to be true: the same bytes as of an undisturbed run, no half artefact, nothing left over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
VOLATILE = (
    *("wall_seconds", "peak_memory_mib", "made", "threads", "training_seconds", "waiting_seconds", "processes"),
    *("shards", "shard_seconds", "shard_memory_mib", "seconds_an_image"),
)
"""What a manifest says of the very run and not of its result."""
LOCK = ".lock"
"""Stays, as an empty mark: the lock itself is the operating system's and ends with its process."""
STATE = "state"

Tree = dict[str, str]
"""Path below a folder -> digest of a file, or "folder"; the manifest's entries one by one."""


def tree(folder: Path) -> Tree:
    """All that lies in an artefact folder, but its lock."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[name] = "folder"
        elif name == MANIFEST:
            found |= {f"{name}: {key}": json.dumps(value, sort_keys=True) for key, value in lasting(path).items()}
        elif name != LOCK:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def lasting(manifest: Path) -> dict[str, Any]:
    """A manifest without what differs between two runs."""
    try:
        facts = json.loads(manifest.read_text("utf-8"))
    except ValueError:
        return {"unreadable": manifest.read_text("utf-8", errors="replace")}
    return {key: value for key, value in facts.items() if key not in VOLATILE}


def differences(found: Tree, wanted: Tree) -> list[str]:
    """Sentences: what is missing, left over, or of other content."""
    said = [f"{name} is missing" for name in wanted if name not in found]
    said += [f"{name} is left over" for name in found if name not in wanted]
    for name, value in found.items():
        if wanted.get(name, value) != value:
            shown = f" ({value[:200]}, not {wanted[name][:200]})" if name.startswith(MANIFEST) else ""
            said.append(f"{name} has other content{shown}")
    return said


def after_death(folder: Path, wanted: Tree) -> list[str]:
    """What is wrong right after a death: a manifest stands only beside a whole artefact."""
    if not (folder / MANIFEST).exists():
        return refused(folder)
    found = tree(folder)
    whole = {name: value for name, value in wanted.items() if name.partition("/")[0] != STATE}
    bad = [line for line in differences(found, whole) if "left over" not in line]
    return [f"a manifest stands beside a half artefact: {line}" for line in bad]


def refused(folder: Path) -> list[str]:
    """Readers must not take for an artefact what has no manifest."""
    from wsss.errors import WsssError
    from wsss.store.manifest import read_manifest
    from wsss.store.maps import MapStore

    for read in (read_manifest, MapStore):
        try:
            read(folder)
        except WsssError:
            continue
        return [f"{read.__name__} reads a folder without a manifest"]
    return []
