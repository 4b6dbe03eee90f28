"""The scores of two results side by side: which figures moved, and those of which classes most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss.data.index import SPLITS
from wsss.errors import WsssError
from wsss.report.changes import SAME, changes, changes_table, read_results
from wsss.report.effects import WORDS, signed
from wsss.report.headline import POLICIES
from wsss.report.provenance import Scored, read_scored
from wsss.steps import SCORED
from wsss.store.artefact import Artefact, load
from wsss.text import count, nice, table

FIGURES = {"map": "mAP", "miou": "mIoU", "miou_fg": "mIoU of objects", "boundary_iou": "boundary IoU"}
OF_CLASS = {"ap": "AP", "iou": "IoU"}
MOST = 5
"""Classes that are named."""
LEAST = 0.0005
"""Moves that are told: what rounds to a tenth of a point."""
WHOLE_RUNS = {"summary": 0, "report": 1}
"""Artefacts that show all scores of a dataset, and how far above them its folder is."""


def moved(a: Artefact, b: Artefact) -> list[str]:
    """Lines on the scores of two artefacts; of two summaries, on those of all results. None where neither is scored."""
    if {a.stage, b.stage} <= WHOLE_RUNS.keys():
        return _of_runs(*((one.folder, *one.folder.parents)[WHOLE_RUNS[one.stage]] for one in (a, b)))
    found: list[Scored] = []
    notes = []
    for one in (a, b):
        try:
            scores = scores_about(one)
        except WsssError as error:
            notes.append(f"scores of {one.title}: not compared: {error}")
            continue
        if scores is None:
            notes.append(f"scores of {one.title}: none")
        else:
            found.append(scores)
    if len(found) == 2:
        return list(moves(*found))
    return ["", *notes] if found or any("not compared" in note for note in notes) else []


def scores_about(artefact: Artefact) -> Scored | None:
    """The scores of an artefact, or of what its network predicts; None where it is not scored, or they are itself.

    Raises :class:`WsssError` where they are not whole, or of another result that lay there before."""
    if artefact.stage == "scores":
        return read_scored(artefact.folder)
    kind, name = artefact.folder.parent.name, artefact.folder.name
    for scored, folder in SCORED.items():
        place = artefact.folder.parents[1] / "scores" / scored / name
        if kind not in (scored, folder) or not (place / "scores.json").is_file():
            continue
        scores = load(place)
        if not scores.unchanged("artefact"):
            raise WsssError(f"{nice(place)} is of an earlier result; wsss run scores this one")
        return read_scored(place)
    return None


def moves(a: Scored, b: Scored) -> Iterator[str]:
    """Lines on the splits that both are scored on."""
    if a.content["classes"] != b.content["classes"]:
        yield from ("", "scores: not compared, for they are of other classes")
        return
    for split in reversed(SPLITS):
        found = [_main(one, split) for one in (a, b)]
        if lines := [*_figures(*found), *_classes(*(scores.get("per_class", {}) for _, scores in found))]:
            yield from ("", f"scores on {WORDS[split]} images: {nice(a.folder)} | {nice(b.folder)}")
            yield from (f"  {line}" for line in lines)


def _main(one: Scored, split: str) -> tuple[str, Mapping[str, Any]]:
    """The policy by which the threshold of the main scores was chosen (empty without thresholds), and these."""
    policies = one.content["splits"].get(split, {}).get("policies", {})
    return next(((policy, policies[policy]) for policy in POLICIES if policy in policies), ("", {}))


def _figures(one: tuple[str, Mapping[str, Any]], other: tuple[str, Mapping[str, Any]]) -> Iterator[str]:
    (policy, a), (second, b) = one, other
    for key, name in FIGURES.items():
        if a.get(key) is not None and b.get(key) is not None:
            yield f"{name}: {_side_by_side(a[key], b[key])}"
    if "threshold" in a and "threshold" in b and (policy, a["threshold"]) != (second, b["threshold"]):
        yield f"threshold: {a['threshold']:g} ({policy}) | {b['threshold']:g} ({second})"
    if a and b and a["images"] != b["images"]:
        yield f"images: {a['images']} | {b['images']}"


def _classes(a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The classes that moved most, one to a line."""
    for key, name in OF_CLASS.items():
        pairs = {c: (a[c].get(key), b.get(c, {}).get(key)) for c in a}
        known = {c: (x, y) for c, (x, y) in pairs.items() if x is not None and y is not None and abs(y - x) >= LEAST}
        largest = sorted(known, key=lambda c: (-abs(known[c][1] - known[c][0]), c))
        for c in largest[:MOST]:
            yield f"{name} of {c}: {_side_by_side(*known[c])}"
        if len(largest) > MOST:
            yield f"({count(len(largest) - MOST, 'more class', 'more classes')} moved less)"


def _side_by_side(a: float, b: float) -> str:
    return f"{100 * a:.1f} | {100 * b:.1f} ({signed(b - a) if abs(b - a) >= LEAST else 'same'})"


def _of_runs(before: Path, after: Path) -> list[str]:
    """A table of the results that are not the same."""
    found = changes(read_results(before), read_results(after))
    different = [one for one in found if one.state != SAME or abs(one.difference or 0) >= LEAST]
    if not different:
        return ["", f"scores: {len(found)} results, none moved"]
    shown = changes_table(different)
    rows = table(shown.heads[:-1], [row[:-1] for row in shown.rows], right=(3, 4, 5))
    return ["", "scores, mIoU in percent (classifiers: mAP):", *(f"  {row}".rstrip() for row in rows)]
