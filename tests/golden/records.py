"""The values on record: ``values/STAGE.CASE.json``, a value a line, so that a change can be read."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.golden.cases import all_cases
from tests.golden.comparing import Judged

LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "numpy",
    "scipy",
    "pillow",
    "h5py",
    "captum",
)
VALUES = Path(__file__).resolve().parent / "values"
SETTINGS = "settings"
"""Name of the record of settings, see ``counted``."""
Record = dict[str, Any]


def read_records(folder: Path = VALUES) -> dict[str, Record]:
    """Case -> ``versions``, ``values`` and ``notes``."""
    paths = sorted(path for path in folder.glob("*.json") if path.stem != SETTINGS)
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with a line an entry of its parts."""
    parts = []
    for part, content in record.items():
        items = content.items() if isinstance(content, Mapping) else None
        lines = [f"{_plain(k)}: {_plain(v)}" for k, v in items] if items is not None else list(map(_plain, content))
        ends = "{}" if items is not None else "[]"
        inside = ",\n".join(f"  {line}" for line in lines)
        parts.append(f" {_plain(part)}: {ends[0]}\n{inside}\n {ends[1]}" if lines else f" {_plain(part)}: {ends}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def judged(found: Mapping[str, Any], recorded: Mapping[str, Record] | None = None) -> Judged:
    """What came of cases beside what is on record."""
    cases = all_cases()
    reads = {key: case.reads() for key, case in cases.items()}
    within = {key: case.within for key, case in cases.items()}
    return Judged(read_records() if recorded is None else recorded, found, reads, within)


def note(why: str) -> dict[str, Any]:
    """An explanation, with the libraries that the values were made with."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"why": why, "libraries": versions}


def record(
    keys: Iterable[str], found: Mapping[str, Any], explain: str | None = None, folder: Path = VALUES
) -> tuple[list[str], list[str]]:
    """Put what came of cases on record where it differs; the cases written, and what is wrong with the others.

    Values that moved under versions that did not, and versions that were raised for nothing, are recorded only with an
    explanation, which is kept.
    """
    recorded = read_records(folder)
    verdicts = judged(found, recorded)
    written, refused = [], []
    for key in keys:
        said = verdicts.verdict(key)
        words = key in recorded and verdicts.needs_words(key)
        if said is None or "skipped" in found[key]:
            continue
        if "error" in found[key] or (words and not explain):
            refused.append(said)
            continue
        notes = recorded.get(key, {}).get("notes", []) + ([note(str(explain))] if words else [])
        moved = key not in recorded or verdicts.moved[key]
        values = found[key]["values"] if moved else recorded[key]["values"]
        write_record(folder / f"{key}.json", {"versions": found[key]["versions"], "values": values, "notes": notes})
        written.append(key)
    return written, refused
