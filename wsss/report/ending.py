"""How a run came out, in a few lines for the end of it: three numbers, the best and the worst photo, where to look.

``python -m wsss.report.ending results/photos``
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.report.headline import figure, final, last_split, mean_figure, recipes
from wsss.report.provenance import Scored, lineage, read_scored
from wsss.report.verdict import verdict
from wsss.steps import SCORED
from wsss.store.artefact import load
from wsss.store.masks import MaskFolder
from wsss.text import nice, pairs

SPLIT = {"train": "training", "val": "validation"}
NAMES = {"segmenters": "network", "masks": "pseudo-labels", "cams": "CAMs", "classifiers": "tags"}


def ending(base: Path) -> Iterator[str]:
    """Lines about the leading result of a dataset: the report's, or its best classifier where nothing else was made.

    Args:
        base: Its folder of results, with a finished summary.

    Raises:
        WsssError: There is none, or something that it names is gone.
    """
    made = load(base)
    scored = [read_scored(folder) for name, folder in made.inputs.items() if name.startswith("scores ")]
    leading = final(scored) or max(
        recipes(scored, "classifiers").values(), key=lambda g: mean_figure(g) or 0, default=[]
    )
    if not leading:
        return
    facts = dict(_numbers(scored, leading))
    index = Index.load(made.inputs["index"])
    for light in verdict(index, scored, leading):
        if light.level == "bad":  # one for each part, and the report has the others
            facts[f"poor {light.about.lower()}"] = f"{light.reason} {light.advice}"
    if leading[0].kind != "classifiers":
        facts |= dict(_photos(base / "report" / "pictures.csv", index, leading))
    report = base / "report.html"
    facts["report"] = nice(report if report.is_file() else base / "summary.md")
    if leading[0].kind == "segmenters":
        network = leading[0].artefact.parent.parent / "segmenters" / leading[0].artefact.name
        facts["other photos"] = f"wsss predict {nice(network)} PHOTOS --out masks"
    yield from pairs(facts)


def _numbers(scored: Sequence[Scored], leading: Sequence[Scored]) -> Iterator[tuple[str, str]]:
    """mIoU of the leading result and of the pseudo-labels before it, mAP of the tags; those that are known."""
    before = lineage(leading[0].artefact)
    groups = [list(leading)]
    for kind in ("masks", "classifiers"):
        group = next((g for g in recipes(scored, kind).values() if g[0].artefact in before), [])
        groups += [group] if group and group != groups[0] else []
    for group in groups:
        split = last_split(group)
        known = [value for one in group if (value := figure(one, split)) is not None]
        what = "mAP" if group[0].kind == "classifiers" else "mIoU"
        images = group[0].content["splits"].get(split, {}).get("images")
        on = f"{images} {SPLIT[split]} photos" if images else f"{SPLIT[split]} photos"
        if known:
            seeds = f", mean of {len(known)} seeds" if len(known) > 1 else ""
            yield NAMES[group[0].kind], f"{what} {100 * sum(known) / len(known):.1f} % ({group[0].recipe}, {on}{seeds})"
        elif group is groups[0]:
            yield NAMES[group[0].kind], f"{group[0].recipe}; no ground-truth masks to measure it by: look at the report"


def _photos(pictures: Path, index: Index, leading: Sequence[Scored]) -> Iterator[tuple[str, str]]:
    """The photos of the report with the best and the worst figure of a class, and where their masks lie."""
    try:
        with pictures.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["figure"] and row["ordered_by"] == "iou"]
    except (OSError, KeyError):
        return
    if not rows:
        return
    inside = SCORED[leading[0].kind] in ("predictions", "masks")
    for name, row in (("best photo", max(rows, key=_figure)), ("worst photo", min(rows, key=_figure))):
        masks = MaskFolder(leading[0].artefact / "masks")
        shown = f", mask {nice(str(masks.file(row['id'])))}" if inside and row["id"] in masks else ""
        yield name, f"{nice(index.item(row['id']).image)} ({row['class']} {100 * _figure(row):.0f} % IoU){shown}"


def _figure(row: dict[str, str]) -> float:
    return float(row["figure"])


def main(folders: Sequence[str]) -> int:
    """Print the ending of each dataset; what cannot be told is left out, for the run itself went well."""
    for folder in folders:
        try:
            lines = list(ending(Path(folder)))
        except (WsssError, KeyError, ValueError) as error:
            lines = [f"  {folder}: {error}"]
        print("\n".join([f"\n{folder}", *lines]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
