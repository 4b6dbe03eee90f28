"""The files of code that a run used, each with a hash: a remark beside the result, never a reason to make it again.

``wsss plan`` compares them with the files of today and says what changed since; what is to be done about it is a
person's to say (``wsss run --again``, or ``code: strict``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from wsss.provenance import native
from wsss.provenance.files import file_content
from wsss.provenance.versions import ROOT

SILENT = tuple(
    f"wsss/{name}"
    for name in "settings/ config/ text. errors. steps. provenance/ system/ runtime/ workflow/ cli/ training/loggers "
    "store/manifest store/kept store/artefact".split()
)
"""Beginnings of the names of files that never change a result: they read settings, phrase messages, move files, bring
processes together."""


def used(started: float, root: Path = ROOT) -> dict[str, str]:
    """The files of the checkout that this process has imported, with a hash of each; ``edited`` for one that was
    written after ``started`` (seconds since the epoch), for what ran is then not known."""
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        name = os.path.relpath(file, root) if file.startswith(f"{root}{os.sep}") else ""
        if not name.startswith(("wsss/", "stages/")) or name.startswith(SILENT) or name.endswith("_path.py"):
            continue
        found[name] = "edited" if os.path.getmtime(file) > started else file_content(file)
    for name in native.MODULES:
        if name in sys.modules and (text := native.digest(name, root)) is not None:
            found[f"native/{name}"] = text
    return dict(sorted(found.items()))


def changed(record: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Which of the files that a run used are others now, or gone."""
    if not isinstance(record, Mapping):  # older manifests have one hash for all
        return []
    return [name for name, was in record.items() if not name.startswith(SILENT) and _now(name, root) != was]


def today(record: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """The same files as they are now, without those that are gone."""
    return {name: text for name in record if (text := _now(name, root)) not in (None, "absent")}


def _now(name: str, root: Path) -> str | None:
    if name.startswith("native/"):
        return native.digest(name.removeprefix("native/"), root)
    return file_content(str(root / name))


def short(names: Iterable[str], most: int = 3) -> str:
    """``training/engine.py, data/loading.py and 4 more``."""
    names = [name.removeprefix("wsss/") for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
