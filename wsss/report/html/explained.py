"""The section of explanations: what the stage ``explanations`` put together before the report was made."""

from __future__ import annotations

import base64
import csv
from pathlib import Path
from statistics import mean
from typing import Any

from wsss.report.html.links import existing
from wsss.report.html.render import Content
from wsss.report.tables import Table

METRICS = {
    "AD ↓": ("ad", "reference"),
    "AR ↑": ("ar", "reference"),
    "ADO ↑": ("ado", "multi_only"),
    "ARO ↓": ("aro", "multi_only"),
    "energy ↑": ("energy", "reference"),
    "in region ↑": ("inside", "reference"),
}
"""Heading -> metric in percent, and the policy for images with one class; those that no recipe has are left out."""
AREAS = {"deletion": "↓", "insertion": "↑"}
"""Areas under curves are shown for every fill that there is, also in percent."""

Row = dict[str, str]


def explanations(folder: Path, home: Path) -> Content | None:
    """``networks``: title and table of every network that was explained; ``pictures``: PNGs as data URIs;
    ``files_beside``: links to the page with all tables and to the folder of pictures.

    ``folder``: of the stage ``explanations``; None where it is not whole. ``home``: the folder of the page. Means over
    detections and over seeds.
    """
    if not (folder / "manifest.json").is_file():
        return None
    with open(folder / "explanations.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    networks: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        pixels = row.get("segmenter", "")
        kind = "Segmentation network" if pixels else "Classifier"
        networks.setdefault((kind, pixels or row["classifier"]), []).append(row)
    tables = [(f"{kind} {name}", _table(of)) for (kind, name), of in networks.items()]
    pictures = [_picture(path) for path in sorted((folder / "pictures").glob("*.png"))[:1]]
    named = [("explanations.md", folder.parent / "explanations.md"), ("pictures", folder / "pictures")]
    return {"networks": tables, "pictures": pictures, "files_beside": existing(named, home)} if tables else None


def _table(rows: list[Row]) -> Table:
    weighted = [row for row in rows if row["mean"] == "weighted" and row["value"]]
    known = {row["metric"] for row in weighted}
    columns = {head: (metric, others, 1.0) for head, (metric, others) in METRICS.items() if metric in known}
    for mode, sign in AREAS.items():
        for metric in sorted(known):
            if metric.startswith(f"{mode}_") and not metric.endswith("_random"):
                columns[f"{metric.replace('_', ' ')} {sign}"] = (metric, "reference", 100.0)
    recipes = dict.fromkeys((row["recipe"], row["explainer"]) for row in rows)
    cells: list[list[Any]] = []
    for recipe, explainer in recipes:
        line: list[Any] = [recipe, explainer]
        for metric, others, factor in columns.values():
            found = [
                factor * float(row["value"])
                for row in weighted
                if (row["recipe"], row["metric"], row["others"]) == (recipe, metric, others)
            ]
            line.append(f"{mean(found):.1f}" if found else "–")
        cells.append(line)
    return Table(["recipe", "explainer", *columns], cells)


def _picture(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
