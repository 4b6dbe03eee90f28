"""The chain as a picture: every recipe a box with its score, an arrow from each to what was made of it.

Boxes stand in columns, each right of everything it was made from. The rows of a column follow the mean height of what
they come from (barycentres), as Sugiyama, Tagawa and Toda (1981) order the layers of a graph; an arrow over several
columns keeps a row free in those between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import mean

from wsss.report.effects import UNTOLD, WORDS, Effect, effects, signed
from wsss.report.headline import figure, from_true_masks, last_split, recipes
from wsss.report.html.render import Content
from wsss.report.provenance import Scored, lineage
from wsss.report.tables import ORDER, Table, spread

KINDS = {
    "classifiers": "classifier",
    "cams": "CAMs",
    "saliency": "saliency",
    "affinity": "affinity",
    "masks": "pseudo-labels",
    "segmenters": "network",
}
"""Folders of artefacts, and how their boxes are called."""
WITHIN = {"predictions": "segmenters", "saliency-maps": "saliency", "saliency-masks": "saliency"}
"""Folders that have no box of their own, and the kind of the input whose box stands for them."""
PASSED = "affinity-labels"
"""What a step is about that lies between two others and has no score: arrows go through it."""
SCORES = {"segmenters": ("segmenters",), "saliency": ("saliency-masks", "saliency")}
"""Kinds of the scores of a box, the first that there is; elsewhere that of its folder."""
WIDTH, HEIGHT, ACROSS, APART, THIN, MARGIN = 152, 46, 48, 16, 14, 8
"""In user units: of a box, between columns, between rows, a row for an arrow alone, around the drawing."""
SWEEPS = 4
LETTERS = {"name": 17, "named beside a figure": 11}
"""Letters of a name that a box has room for."""
Key = tuple[str, str]
"""Kind and name of a box."""
Place = Key | tuple[str, str, int]
"""A box, or a free row: of the arrow from the first box's name, in a column."""


@dataclass(frozen=True)
class Box:
    """A box at ``x``, ``y`` (its upper left corner): what it is, its recipe as it fits and in full, its score in
    percent, and whether the result that the report leads with rests on it."""

    x: float
    y: float
    kind: str
    name: str
    title: str
    score: str
    leading: bool


@dataclass(frozen=True)
class Arrow:
    """A path as SVG writes it; ``points``: what the step brought, at ``x``, ``y``; empty where that cannot be said."""

    path: str
    leading: bool
    points: str = ""
    x: float = 0.0
    y: float = 0.0


@dataclass
class Graph:
    """Boxes with what they were made from, their artefacts of all seeds, and the boxes that the leading result rests
    on."""

    parents: dict[Key, set[Key]] = field(default_factory=dict)
    folders: dict[Key, list[Path]] = field(default_factory=dict)
    leading: set[Key] = field(default_factory=set)


def chain(scored: Sequence[Scored], leading: Sequence[Scored]) -> Content | None:
    """Content of the section: ``width``, ``height``, ``boxes``, ``arrows``, ``description`` for those who do not see
    them, ``table_of_steps`` with the same in words; None where fewer than two boxes were made."""
    graph = graph_of(scored, leading)
    if len(graph.parents) < 2:
        return None
    scores = {key: score_of(scored, key) for key in graph.parents}
    places, size = laid_out(graph.parents)
    steps = last_effects(scored)
    truth = {key for key, folders in graph.folders.items() if not graph.parents[key] and _supervised(key, folders)}
    boxes = [_box(graph, key, *places[key], scores[key][0], key in truth) for key in graph.parents]
    arrows = [
        _arrow(graph, parent, key, places, steps.get((parent, key)))
        for key in graph.parents
        for parent in sorted(graph.parents[key])
    ]
    arrows.sort(key=lambda arrow: arrow.leading)
    best = " to ".join(
        f"{KINDS.get(kind, kind)} {name}" for kind, name in graph.parents if (kind, name) in graph.leading
    )
    return {
        "width": size[0],
        "height": size[1],
        "boxes": boxes,
        "arrows": arrows,
        "shapes": {"width": WIDTH, "height": HEIGHT},
        "description": f"The steps of this run as {len(boxes)} boxes with {len(arrows)} arrows between them. "
        f"The leading result goes from {best}. The table below has the same in words.",
        "table_of_steps": _table(graph, scores, steps),
    }


def graph_of(scored: Sequence[Scored], leading: Sequence[Scored]) -> Graph:
    """All that the scored results were made from, the seeds of a recipe in one box, in the order of the chain."""
    manifests = {folder: facts for one in scored for folder, facts in lineage(one.artefact).items()}
    inputs = {
        folder: [
            given
            for name, entry in facts.get("inputs", {}).items()
            if name.partition(".")[0] not in ("index", "scores")
            and (given := (folder / entry["path"]).resolve()) in manifests
        ]
        for folder, facts in manifests.items()
    }

    def boxes(folder: Path) -> list[Key]:
        """The box of a folder, or those that stand for it."""
        kind = folder.parent.name
        if kind == PASSED:
            return [key for given in inputs[folder] for key in boxes(given)]
        within = [key for given in inputs[folder] for key in boxes(given) if key[0] == WITHIN.get(kind)]
        return within[:1] or [(WITHIN.get(kind, kind), folder.name)]

    graph = Graph()
    found: dict[Key, set[Key]] = {}
    for folder in manifests:
        if folder.parent.name != PASSED:
            (key,) = boxes(folder)
            graph.folders.setdefault(key, []).append(folder)
            given = {parent for one in inputs[folder] for parent in boxes(one)}
            found.setdefault(key, set()).update(given - {key})
    graph.parents = {key: found[key] for key in sorted(found, key=lambda key: (_order(key), key))}
    rests_on = {folder for one in leading for folder in lineage(one.artefact)}
    graph.leading = {key for key, folders in graph.folders.items() if rests_on & set(folders)}
    return graph


def _order(key: Key) -> int:
    return ORDER.index(key[0]) if key[0] in ORDER else len(ORDER)


def _supervised(key: Key, folders: Sequence[Path]) -> bool:
    return key[0] == "segmenters" and from_true_masks(folders[0])


def score_of(scored: Sequence[Scored], key: Key) -> tuple[str, str]:
    """The figure of a box in percent, over all its seeds, and the last split that it is known of; empty without one."""
    for kind in SCORES.get(key[0], (key[0],)):
        group = recipes(scored, kind).get((kind, key[1]), [])
        split = last_split(group) if group else ""
        values = [figure(one, split) for one in group]
        if any(value is not None for value in values):
            return spread(values), split
    return "", ""


def last_effects(scored: Sequence[Scored]) -> dict[tuple[Key, Key], Effect]:
    """What steps brought, by their boxes, on the last split; without those whose ends cannot be compared."""
    found: dict[tuple[Key, Key], Effect] = {}
    for effect in effects(scored):  # validation images come first
        before, after = ((WITHIN.get(kind, kind), name) for kind, name in (effect.before, effect.after))
        if effect.verdict != UNTOLD and before != after:
            found.setdefault((before, after), effect)
    return found


def laid_out(parents: Mapping[Key, set[Key]]) -> tuple[dict[Place, tuple[float, float]], tuple[float, float]]:
    """Left end and middle of every box and free row, and the size of the whole."""
    depth: dict[Key, int] = {}

    def column(key: Key) -> int:
        if key not in depth:
            depth[key] = 1 + max((column(parent) for parent in parents[key]), default=-1)
        return depth[key]

    columns: list[list[Place]] = [[] for _ in range(1 + max(map(column, parents)))]
    for key in parents:
        columns[column(key)].append(key)
    before: dict[Place, list[Place]] = {key: [] for key in parents}
    for key, given in parents.items():
        for parent in sorted(given):
            route = routed(parent, key, depth)
            for one, other in pairwise(route):
                if len(other) == 3 and other not in before:
                    columns[other[2]].append(other)
                if one not in before.setdefault(other, []):
                    before[other].append(one)
    after: dict[Place, list[Place]] = {}
    for place, given_places in before.items():
        for one in given_places:
            after.setdefault(one, []).append(place)
    for sweep in range(SWEEPS):
        _sorted(columns if sweep % 2 == 0 else columns[::-1], before if sweep % 2 == 0 else after)
    return _placed(columns, before)


def routed(parent: Key, key: Key, depth: Mapping[Key, int]) -> list[Place]:
    """The way from a box to another: the free rows of all columns between them. Arrows of one box share theirs."""
    return [parent, *((*parent, k) for k in range(depth[parent] + 1, depth[key])), key]


def _sorted(columns: Sequence[list[Place]], neighbours: Mapping[Place, Sequence[Place]]) -> None:
    """Order every column by the mean place of what its members stand beside in the columns before."""
    rank: dict[Place, float] = {}
    for members in columns:
        own = {place: float(k) for k, place in enumerate(members)}
        known = {p: [rank[n] for n in neighbours.get(p, ()) if n in rank] for p in members}
        members.sort(key=lambda place: mean(known[place]) if known[place] else own[place])
        rank |= {place: k / max(1, len(members) - 1) if len(members) > 1 else 0.5 for k, place in enumerate(members)}


def _placed(
    columns: Sequence[Sequence[Place]], before: Mapping[Place, Sequence[Place]]
) -> tuple[dict[Place, tuple[float, float]], tuple[float, float]]:
    """Places of columns in their order, each as near as may be to the mean height of what it comes from."""
    found: dict[Place, tuple[float, float]] = {}
    for k, members in enumerate(columns):
        x, free = MARGIN + k * (WIDTH + ACROSS), 0.0
        for place in members:
            half = (THIN if len(place) == 3 else HEIGHT) / 2
            wanted = [found[one][1] for one in before[place]]
            y = max(free + half, mean(wanted) if wanted else 0.0)
            found[place] = x, y
            free = y + half + APART
    top = min(y for _, y in found.values()) - HEIGHT / 2 - MARGIN
    found = {place: (x, round(y - top, 1)) for place, (x, y) in found.items()}
    height = max(y for _, y in found.values()) + HEIGHT / 2 + MARGIN
    return found, (2 * MARGIN + len(columns) * (WIDTH + ACROSS) - ACROSS, height)


def _box(graph: Graph, key: Key, x: float, y: float, score: str, truth: bool) -> Box:
    kind = KINDS.get(key[0], key[0]) + (", fully supervised" if truth else "")
    most = LETTERS["named beside a figure" if score else "name"] - max(0, len(score) - 4)
    name = key[1] if len(key[1]) <= most else f"{key[1][: most - 1]}…"
    title = f"{kind} {key[1]}" + (f": {'mAP' if key[0] == 'classifiers' else 'mIoU'} {score} %" if score else "")
    return Box(x, y - HEIGHT / 2, kind, name, title, score, key in graph.leading)


def _arrow(
    graph: Graph, parent: Key, key: Key, places: Mapping[Place, tuple[float, float]], effect: Effect | None
) -> Arrow:
    """From the right end of a box through its free rows to the left end of the other."""
    columns = {places[one][0]: one for one in ((*parent, k) for k in range(len(places))) if one in places}
    start, end = places[parent], places[key]
    stops = [(start[0] + WIDTH, start[1])]
    for x in sorted(columns):
        if start[0] < x < end[0]:
            y = places[columns[x]][1]
            stops += [(x, y), (x + WIDTH, y)]
    stops.append((end[0], end[1]))
    path = f"M{stops[0][0]:g} {stops[0][1]:g}"
    for (x, y), (u, v) in pairwise(stops):
        middle = (x + u) / 2
        path += f"C{middle:g} {y:g} {middle:g} {v:g} {u:g} {v:g}"
    leading = {parent, key} <= graph.leading
    if effect is None:
        return Arrow(path, leading)
    return Arrow(path, leading, signed(effect.difference), end[0] - 12, end[1] - 7)


def _table(graph: Graph, scores: Mapping[Key, tuple[str, str]], steps: Mapping[tuple[Key, Key], Effect]) -> Table:
    """A row for each box."""
    rows = []
    for key, given in graph.parents.items():
        value, split = scores[key]
        known = [(parent, steps[parent, key]) for parent in sorted(given) if (parent, key) in steps]
        rows.append(
            [
                f"{KINDS.get(key[0], key[0])} {key[1]}",
                ", ".join(f"{KINDS.get(kind, kind)} {name}" for kind, name in sorted(given, key=_order)) or "–",
                value or "–",
                WORDS.get(split, "–"),
                ", ".join(f"{signed(effect.difference)} over {parent[1]}" for parent, effect in known) or "–",
            ]
        )
    return Table(["step", "made from", "mIoU (classifiers: mAP), %", "images", "points"], rows)
