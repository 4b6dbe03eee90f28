"""The sections that say how the results were made: training curves, time and memory, settings and provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.data.index import Index
from wsss.report.html.charts import Bar, Chart, Line, line_chart
from wsss.report.html.links import Link, address, files_of
from wsss.report.html.render import Content
from wsss.report.provenance import Scored, lineage
from wsss.report.tables import ORDER, Table, cost_table, costs
from wsss.store.manifest import read_manifest
from wsss.text import count, duration

METRICS = "metrics.jsonl"
NO_LOSS = ("step", "epoch", "lr", "loss")
TRAINED = {
    "classifiers": "Classifier",
    "saliency": "Saliency network",
    "affinity": "Affinity network",
    "segmenters": "Segmentation network",
}
MOST_TERMS = 6
FACTS = ("stage", "identity", "declared", "files", "content", "images", "threshold", "wall_seconds", "made")
"""Entries of a manifest that are shown beside its settings and inputs."""


def manifests(scored: Sequence[Scored]) -> dict[Path, dict[str, Any]]:
    """Manifests of all that the scores rest on, in the order of the chain."""
    every: dict[Path, dict[str, Any]] = {}
    for one in scored:
        every |= lineage(one.artefact)

    def place(folder: Path) -> tuple[int, str, str]:
        kind = folder.parent.name
        return ORDER.index(kind) if kind in ORDER else len(ORDER), folder.name, folder.parents[1].name

    return {folder: every[folder] for folder in sorted(every, key=place)}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl``; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def training(scored: Sequence[Scored], home: Path) -> Content | None:
    """``charts``: losses of every training over its epochs, each with links to its figures; ``number`` of them, in
    words. ``home``: the folder of the page."""
    runs: dict[tuple[str, str], dict[Any, list[dict[str, Any]]]] = {}
    files: dict[tuple[str, str], list[Link]] = {}
    for folder, manifest in manifests(scored).items():
        key = folder.parent.name, folder.name
        if key[0] in TRAINED and (records := read_metrics(folder / METRICS)):
            runs.setdefault(key, {})[manifest.get("seed")] = records
            files.setdefault(key, []).append(
                (f"{METRICS}, seed {manifest.get('seed')}", address(folder / METRICS, home))
            )
    charts = [
        (chart, files[kind, name])
        for (kind, name), seeds in runs.items()
        if (chart := _losses(f"{TRAINED[kind]} {name}", seeds))
    ]
    return {"number": count(len(charts), "training"), "charts": charts} if charts else None


def _losses(title: str, seeds: Mapping[Any, Sequence[dict[str, Any]]]) -> Chart | None:
    """The loss of each seed, and its terms in the first seed."""
    lines = [
        _line("" if k else "loss", records, "loss", 0, thin=k > 0, said=f"loss, seed {seed}")
        for k, (seed, records) in enumerate(seeds.items())
    ]
    first = next(iter(seeds.values()))
    terms = list(dict.fromkeys(key for record in first for key in record if key not in NO_LOSS))
    lines += [_line(term.replace("_", " "), first, term, k, thin=True) for k, term in enumerate(terms[:MOST_TERMS], 1)]
    return line_chart(lines, title, "epoch", "loss and its terms")


def _line(name: str, records: Sequence[dict[str, Any]], key: str, series: int, thin: bool, said: str = "") -> Line:
    known = [r for r in records if isinstance(r.get(key), int | float) and math.isfinite(r[key])]
    return Line(name, [r["epoch"] for r in known], [r[key] for r in known], series, thin=thin, said=said)


def time_and_memory(index: Index, scored: Sequence[Scored]) -> Content | None:
    """Time of every stage as bars; ``total`` and ``most`` (MiB) as texts; a table of all ``recipes``."""
    every = costs(index, list(scored))
    if not every:
        return None
    seconds: dict[str, float] = {}
    for cost in every:
        seconds[cost.kind] = seconds.get(cost.kind, 0.0) + sum(cost.seconds)
    longest = max(seconds.values())
    return {
        "total": duration(sum(seconds.values())),
        "most": f"{max(cost.memory for cost in every):,}",
        "stages": [(kind, [Bar(s / longest, duration(s))]) for kind, s in seconds.items()],
        "recipes": cost_table(index, list(scored)),
    }


def provenance(index: Index, scored: Sequence[Scored], home: Path) -> Content:
    """A table of facts about the whole ``run``; settings, facts and files of every artefact of the first ``seed``, by
    their ``kinds``. ``home``: the folder of the page."""
    first = min((one.seed for one in scored), default=0)
    own = {folder: m for folder, m in manifests(scored).items() if m.get("seed", first) == first}
    here = index.folder.resolve()
    every = {here: read_manifest(index.folder), **own}
    versions = [", ".join(f"{k} {v}" for k, v in m["versions"].items()) for m in every.values() if m.get("versions")]
    dates = sorted(m["made"] for m in every.values() if m.get("made"))
    facts = {
        "Versions": "; or ".join(dict.fromkeys(versions)),
        "Devices": ", ".join(sorted({str(m["device"]) for m in every.values() if m.get("device")})),
        "Seeds": ", ".join(map(str, sorted({one.seed for one in scored}))),
        "Made": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
    }
    kinds: dict[str, list[Content]] = {}
    for folder, manifest in every.items():
        kind = "index" if folder == here else folder.parent.name
        files = files_of(folder, here.parent, home)
        kinds.setdefault(kind, []).append({"name": folder.name, "files": files, **_tables(manifest)})
    return {
        "seed": first,
        "run": Table(["", ""], [[name, text] for name, text in facts.items() if text]),
        "kinds": [
            {"name": kind, "recipes": [a["name"] for a in artefacts if kind != "index"], "artefacts": artefacts}
            for kind, artefacts in kinds.items()
        ],
    }


def _tables(manifest: dict[str, Any]) -> dict[str, Table]:
    """Settings of an artefact, and what else its manifest says."""
    inputs = {name: f"{one['path']} {one.get('content', '')}" for name, one in (manifest.get("inputs") or {}).items()}
    facts = {**{key: manifest.get(key) for key in FACTS}, "input": inputs}
    return {
        "settings": Table(["setting", "value"], flattened(manifest.get("settings") or {})),
        "facts": Table(["fact", "value"], [row for row in flattened(facts) if row[1] not in ("null", "{}")]),
    }


def flattened(values: dict[str, Any], before: str = "") -> list[list[str]]:
    """Rows of dotted keys and values as JSON, texts without their quotes."""
    rows: list[list[str]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += flattened(value, f"{before}{key}.")
        else:
            rows.append([before + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)])
    return rows
