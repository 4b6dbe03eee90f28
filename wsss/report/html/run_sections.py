"""The sections that say how the results were made: training curves, time and memory, settings and provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss.data.index import Index
from wsss.report.html.charts import Line, line_chart
from wsss.report.html.markup import Html, bar, duration, folded, plain_table, section, table, tag
from wsss.report.provenance import Scored, lineage
from wsss.report.tables import ORDER, cost_table, costs
from wsss.store.manifest import read_manifest

NO_LOSS = ("step", "epoch", "lr", "loss")
TRAINED = {"classifiers": "Classifier", "saliency": "Saliency network", "affinity": "Affinity network",
           "segmenters": "Segmentation network"}  # fmt: skip
MOST_PARTS = 6


def manifests(scored: Sequence[Scored]) -> dict[Path, dict[str, Any]]:
    """Manifests of all that the scores rest on, in the order of the chain."""
    found: dict[Path, dict[str, Any]] = {}
    for one in scored:
        found |= lineage(one.artefact)

    def place(folder: Path) -> tuple[int, str, str]:
        kind = folder.parent.name
        return ORDER.index(kind) if kind in ORDER else len(ORDER), folder.name, folder.parents[1].name

    return {folder: found[folder] for folder in sorted(found, key=place)}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl``; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def training(scored: Sequence[Scored]) -> Html:
    """Losses of every training over its epochs."""
    runs: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for folder in manifests(scored):
        if folder.parent.name in TRAINED and (records := read_metrics(folder / "metrics.jsonl")):
            runs.setdefault((folder.parent.name, folder.name), []).append(records)
    charts = []
    for (kind, name), seeds in runs.items():
        lines = [Line("" if k else "loss", *_series(r, "loss"), 0, thin=k > 0) for k, r in enumerate(seeds)]
        parts = list(dict.fromkeys(key for r in seeds[0] for key in r if key not in NO_LOSS))
        lines += [
            Line(p.replace("_", " "), *_series(seeds[0], p), k, thin=True) for k, p in enumerate(parts[:MOST_PARTS], 1)
        ]
        charts.append(line_chart(lines, f"{TRAINED[kind]} {name}", "epoch", "loss and its parts"))
    said = (
        "The loss that each training brought down (thick; with several seeds, the others thin) and the parts it is "
        "made of. A line that still falls at the end would gain from more epochs; one that jumps, from a lower "
        "learning rate."
    )
    content = tag("div", charts, class_="charts") if charts else None
    return section("training", "Training", said, folded(f"{len(charts)} trainings", content, opened=len(charts) <= 6)
                   if content else None)  # fmt: skip


def _series(records: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    known = [(r["epoch"], r[key]) for r in records if isinstance(r.get(key), int | float) and math.isfinite(r[key])]
    return [a for a, _ in known], [b for _, b in known]


def spent(index: Index, scored: Sequence[Scored]) -> Html:
    """Time and memory of every stage."""
    found = costs(index, list(scored))
    if not found:
        return Html()
    total, most = sum(sum(c.seconds) for c in found), max(c.memory for c in found)
    by_kind: dict[str, float] = {}
    for cost in found:
        by_kind[cost.kind] = by_kind.get(cost.kind, 0.0) + sum(cost.seconds)
    longest = max(by_kind.values())
    rows = [
        tag("li", tag("span", kind, class_="name"), tag("span", bar(s / longest, duration(s)), class_="bars"))
        for kind, s in by_kind.items()
    ]
    said = (
        f"All stages together took {duration(total)} of wall time, one after the other; the most memory that one held "
        f"was {most:,} MiB. Bars: every stage with all its recipes and seeds."
    )
    every = folded("Every recipe", plain_table(cost_table(index, list(scored)), "Time and memory of every stage"))
    return section("costs", "Time and memory", said, tag("ul", rows, class_="plot"), every)


def provenance(index: Index, scored: Sequence[Scored]) -> Html:
    """Settings, versions and hashes of every artefact of the first seed."""
    first = min((one.seed for one in scored), default=0)
    own = {folder: m for folder, m in manifests(scored).items() if m.get("seed", first) == first}
    every = {index.folder.resolve(): read_manifest(index.folder), **own}
    versions = list(dict.fromkeys(_versions(m) for m in every.values() if m.get("versions")))
    dates = sorted(m["made"] for m in every.values() if m.get("made"))
    facts = [
        ["Versions", "; or ".join(versions)],
        ["Devices", ", ".join(sorted({str(m["device"]) for m in every.values() if m.get("device")}))],
        ["Seeds", ", ".join(map(str, sorted({one.seed for one in scored})))],
        ["Made", " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else ""],
    ]
    groups: dict[str, list[Html]] = {}
    for folder, m in every.items():
        kind = "index" if folder == index.folder.resolve() else folder.parent.name
        groups.setdefault(kind, []).append(folded(folder.name, _settings(m)))
    items = [
        folded([kind, tag("span", ", ".join(f.name for f in every if f.parent.name == kind), class_="aside")],
               tag("div", inside, class_="inside"))
        for kind, inside in groups.items()
    ]  # fmt: skip
    said = (
        "Enough to make each result again: settings, seed, versions, and digests of everything that was read. "
        f"Shown is seed {first}; each artefact's folder holds the same in its manifest.json."
    )
    return section("provenance", "Settings and provenance", said,
                   table(["", ""], [f for f in facts if f[1]], "Run", class_="facts"), items)  # fmt: skip


def _versions(manifest: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())


def _settings(manifest: dict[str, Any]) -> list[Html]:
    flat = [[key, tag("code", value)] for key, value in flattened(manifest.get("settings") or {})]
    told = ("stage", "identity", "declared", "files", "content", "images", "threshold", "wall_seconds", "made")
    made = {key: manifest.get(key) for key in told}
    inputs = {name: f"{one['path']} {one.get('content', '')}" for name, one in (manifest.get("inputs") or {}).items()}
    facts = [[k, tag("code", v)] for k, v in flattened({**made, "input": inputs}) if v not in ("null", "{}")]
    return [table(["setting", "value"], flat, "Settings", class_="facts"),
            table(["fact", "value"], facts, "Facts", class_="facts")]  # fmt: skip


def flattened(values: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Dotted keys and values as JSON, texts without their quotes."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += flattened(value, f"{before}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found.append((before + key, text))
    return found
