"""What has to be true: the same bytes as of an undisturbed run, no half artefact, nothing left over, nothing lost.

Several artefacts may lie in and beside one folder: the one in place, and those that are kept from before. Each is known
by its identity and its content; the judge knows the bytes of all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MANIFEST, SECOND, RUN = "manifest.json", ".manifest.json", "run.json"
KEPT = ".kept"
LOCK = ".lock"
"""Stays, as an empty mark: the lock itself is the operating system's and ends with its process."""
STATE = "state"

Tree = dict[str, str]
"""Path below a folder -> digest of a file, or "folder"; of a manifest the text, of what is told of a run no more than
that it can be read."""
Key = tuple[str, str]
"""Identity and content of an artefact."""
Known = dict[Key, Tree]


def tree(folder: Path) -> Tree:
    """All that lies in an artefact folder but its lock and an empty folder for checkpoints, and what of the artefact
    lies beside it."""
    found = {}
    beside = [folder / name for name in outputs_of(folder) if name.startswith("..")]
    for path in (*sorted(folder.rglob("*")), *(path for path in beside if path.exists())):
        name = path.relative_to(folder).as_posix() if path not in beside else f"../{path.name}"
        if path.is_dir():
            found |= {} if name == STATE else {name: "folder"}
        elif name in (MANIFEST, SECOND):
            found[name] = path.read_text("utf-8", errors="replace")
        elif name == RUN:
            found[name] = "a run" if "made" in (read(path) or {}) else "damaged"
        elif name != LOCK:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def read(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where there is none, or half of one."""
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def outputs_of(folder: Path) -> list[str]:
    """What the manifest in a folder says that it holds."""
    about = read(folder / MANIFEST) or read(folder / SECOND) or {}
    return list(about.get("outputs", ()))


def key_of(about: dict[str, Any]) -> Key:
    return str(about.get("identity")), str(about.get("content"))


def known_by(found: Tree) -> Key:
    """The artefact that a tree is."""
    return key_of(json.loads(found.get(MANIFEST) or found[SECOND]))


def essence(found: Tree, outputs: Iterable[str]) -> Tree:
    """Of a tree what is the artefact: outputs, manifest (under whichever name) and run, wherever it lies."""
    tops = tuple(outputs)
    mine = {name: value for name, value in found.items() if name == RUN or name.startswith("..") and name in tops}
    mine |= {name: value for name, value in found.items() if name.partition("/")[0] in tops}
    return mine | {MANIFEST: found.get(MANIFEST, found.get(SECOND, "none"))}


def differences(found: Tree, wanted: Tree) -> list[str]:
    """Sentences: what is missing, left over, or of other content. Checkpoints of other artefacts may lie there."""
    mine = f"{STATE}/{known_by(wanted)[0]}" if MANIFEST in wanted else STATE
    others = [name for name in found if name.startswith(STATE) and not name.startswith(mine) and name not in wanted]
    said = [f"{name} is missing" for name in wanted if name not in found]
    said += [f"{name} is left over" for name in found if name not in wanted and name not in others]
    for name, value in found.items():
        if wanted.get(name, value) != value:
            said.append(f"{name} has other content{entries(value, wanted[name]) if 'manifest' in name else ''}")
    return said


def entries(found: str, wanted: str) -> str:
    """Where two manifests differ."""
    try:
        a, b = json.loads(found), json.loads(wanted)
    except ValueError:
        return f" (damaged: {found[:200]!r})"
    named = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return "".join(f"; {name}: {str(a.get(name))[:200]}, not {str(b.get(name))[:200]}" for name in named)


def present(out: Path, known: Known) -> tuple[set[Key], list[str]]:
    """The artefacts that are whole in a folder or kept beside it, and what is wrong: a manifest beside half of one."""
    found, wrong = set(), []
    for folder in (out, *sorted((out.parent / KEPT).glob("[!.]*"))):
        about, readable = read(folder / MANIFEST) or read(folder / SECOND), (folder / MANIFEST).exists()
        wrong += refused(folder) if folder.exists() and not readable else []
        if about is None:
            wrong += [f"{nice(folder)} is kept without a manifest"] if folder != out else []
            continue
        key, there = key_of(about), all((folder / name).exists() for name in about.get("outputs", ()))
        if key not in known:
            wrong.append(f"{nice(folder)} holds an artefact that nobody has made: {key}")
        elif bad := differences(essence(tree(folder), about["outputs"]), essence(known[key], about["outputs"])):
            if readable or there:  # under its second name alone it is read by nobody, and counts if all is there
                wrong += [f"a manifest stands beside a half artefact: {nice(folder)}: {line}" for line in bad]
        else:
            found.add(key)
    return found, wrong


def nice(folder: Path) -> str:
    return "/".join(folder.parts[-3:])


def lost(before: set[Key], out: Path, known: Known) -> list[str]:
    """What was whole and is no more, neither in place nor kept. Of one content, any identity will do: it may have been
    accepted."""
    there = {content for _, content in present(out, known)[0]}
    return [f"{identity} is lost" for identity, content in sorted(before) if content not in there]


def left_over(out: Path) -> list[str]:
    """Folders under way that nobody has brought to an end."""
    return [f"{KEPT}/{path.name} is left over" for path in (out.parent / KEPT).glob(".*")]


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
