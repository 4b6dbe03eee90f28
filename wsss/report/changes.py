"""Two runs side by side: which recipes changed, and what that did to their scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from wsss.data.index import SPLITS
from wsss.errors import WsssError
from wsss.report.effects import WORDS, signed
from wsss.report.headline import figure, recipes
from wsss.report.html.chain import KINDS as THINGS
from wsss.report.provenance import Scored, read_scored
from wsss.report.tables import TITLES, Table, spread
from wsss.store.kept import KEPT
from wsss.store.manifest import NAME, read_manifest
from wsss.text import nice
from wsss.workflow.values import counted, differences, literal

MOST = 4
"""Differences that a row names."""
SAME, OTHER, NEW, GONE = "same", "changed", "new", "gone"
EXPLANATION = (
    "Each result of this run beside the one of the same name in the earlier run: mIoU in percent (classifiers: mAP), "
    "and the difference in points, which is the mean over the seeds that both have. 'same': made from the same "
    "settings, files and versions. Settings are given as before → now, with the recipe that they belong to."
)


@dataclass(frozen=True)
class Change:
    """A result in two runs.

    Attributes:
        kind, recipe: As in the scores.
        state: ``same``, ``changed``, ``new`` (only now) or ``gone`` (only before).
        causes: What differs on the way to it, in words.
        split: The last split that both have a figure of, or the one that there is.
        before, now: mIoU (mAP) by seed, as fractions.
    """

    kind: str
    recipe: str
    state: str
    causes: tuple[str, ...]
    split: str
    before: dict[int, float]
    now: dict[int, float]

    @property
    def difference(self) -> float | None:
        """Mean over the seeds of both; None where there is none."""
        both = [self.now[seed] - self.before[seed] for seed in self.now if seed in self.before]
        return mean(both) if both else None


def read_results(folder: Path) -> list[Scored]:
    """All scores below the folder of a dataset's results. Raises :class:`WsssError` where there are none, or one is
    not whole."""
    found = [read_scored(path.parent) for path in sorted(Path(folder).glob(f"s*/scores/*/*/{NAME}"))]
    if not found:
        inside = sorted(nice(path.parents[4]) for path in Path(folder).glob(f"*/s*/scores/*/*/{NAME}"))
        hint = f"; did you mean {inside[0]}?" if inside else ", such as results/photos"
        raise WsssError(f"{folder}: holds no scores; name the folder of one dataset's results{hint}")
    return found


def read_kept(folder: Path) -> list[Scored]:
    """Of each result below such a folder, the newest scores that were kept when it was made anew; those that there are
    where it was not. Raises :class:`WsssError` where none were kept."""
    newest: dict[Path, tuple[str, Path]] = {}
    for path in Path(folder).glob(f"s*/scores/*/{KEPT}/[!.]*/{NAME}"):
        about = read_manifest(path.parent)
        place = path.parents[2] / json.loads((path.parent / "scores.json").read_text("utf-8"))["recipe"]
        newest[place] = max(newest.get(place, ("", path)), (str(about.get("made", "")), path.parent))
    if not newest:
        raise WsssError(f"{folder}: no earlier scores were kept here; name another run's folder in place of 'kept'")
    stayed = [one for one in read_results(folder) if one.folder not in newest]
    return [_kept(at, place) for place, (_, at) in sorted(newest.items())] + stayed


def _kept(folder: Path, place: Path) -> Scored:
    """Scores that were moved from ``place``."""
    about, content = read_manifest(folder), json.loads((folder / "scores.json").read_text("utf-8"))
    given = about["inputs"]["artefact"]
    artefact = standing((place / given["path"]).resolve(), given.get("content")) or folder
    return Scored(folder, content["kind"], content["recipe"], int(about["seed"]), content, artefact)


def standing(place: Path, content: str | None) -> Path | None:
    """Where the artefact of this content is that was made at a place: there, or among what was kept beside it; the
    place where none has it, None where nothing is there either."""
    kept = sorted(path.parent for path in (place.parent / KEPT).glob(f"[!.]*/{NAME}"))
    there = [place, *kept] if (place / NAME).is_file() else kept
    found = next((one for one in there if read_manifest(one).get("content") == content), None)
    return found or (place if place in there else None)


def made_from(one: Scored) -> dict[tuple[str, str], dict[str, Any]]:
    """Manifests of a result and of all it was made from, by kind and recipe, what came first of the chain first; of
    inputs that were made again since, those that were kept."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    place = one.artefact
    pending = [(place.parents[1] / one.recipe if place.parent.name == KEPT else place, place)]
    while pending:
        place, folder = pending.pop(0)
        key = place.parent.name, place.name
        if key in found:
            continue
        found[key] = read_manifest(folder)
        for name, given in found[key].get("inputs", {}).items():
            if name.partition(".")[0] not in ("index", "scores"):
                at = (place / given["path"]).resolve()
                if (now := standing(at, given.get("content"))) is not None:
                    pending.append((at, now))
    return dict(reversed(found.items()))


def changes(before: Sequence[Scored], now: Sequence[Scored]) -> list[Change]:
    """A change for each result of either run, in the order of the chain, those of this run first."""
    found = []
    for kind in TITLES:
        old, new = recipes(before, kind), recipes(now, kind)
        for key in dict.fromkeys((*new, *old)):
            was, is_now = ({one.seed: one for one in groups.get(key, ())} for groups in (old, new))
            split, values = _figures(was, is_now)
            both = [(was[seed], is_now[seed]) for seed in is_now if seed in was]
            causes = tuple(dict.fromkeys(cause for pair in both for cause in _causes(*pair)))
            same = all(identity(a) == identity(b) is not None for a, b in both) and not causes
            state = NEW if not was else GONE if not is_now else SAME if same and both else OTHER
            found.append(Change(*key, state, causes, split, *values))
    return found


def identity(one: Scored) -> str | None:
    """What the artefact of a score was made from and with; None where that is not recorded."""
    found: str | None = read_manifest(one.artefact).get("identity")
    return found


def _figures(was: dict[int, Scored], now: dict[int, Scored]) -> tuple[str, tuple[dict[int, float], dict[int, float]]]:
    """The last split that both have figures of (or one has, where that is all), and the figures by seed."""
    values: dict[str, tuple[dict[int, float], dict[int, float]]] = {}
    for split in reversed(SPLITS):
        old, new = (
            {seed: value for seed, one in group.items() if (value := figure(one, split)) is not None}
            for group in (was, now)
        )
        values[split] = old, new
    ranked = sorted(values, key=lambda split: -sum(map(bool, values[split])))  # sorting keeps the last split first
    return (ranked[0], values[ranked[0]]) if any(values[ranked[0]]) else ("", ({}, {}))


def _causes(before: Scored, now: Scored) -> Iterator[str]:
    """What differs among all that two results were made from."""
    if before.artefact == now.artefact:
        return
    old, new = made_from(before), made_from(now)
    for key, about in new.items():
        if key in old:
            yield from _settings(key, old[key], about)
        else:
            yield f"{_thing(key)} is new"
    yield from (f"{_thing(key)} is gone" for key in old if key not in new)


def _settings(key: tuple[str, str], old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Settings, versions and files of one recipe that differ."""
    stage = new.get("stage", "")
    was, now = (counted(about.get("stage", ""), about.get("settings") or {}) for about in (old, new))
    for name, a, b in differences(was, now):
        yield f"{_thing(key)}: {name} {literal(a)} → {literal(b)}"
    if old.get("stage") != stage:
        yield f"{_thing(key)}: stage {old.get('stage')} → {stage}"
    for name, a, b in differences(old.get("declared", {}), new.get("declared", {})):
        yield f"{_thing(key)}: version of {name} {literal(a)} → {literal(b)}"
    if old.get("files") != new.get("files"):
        yield f"{_thing(key)}: your files"


def _thing(key: tuple[str, str]) -> str:
    return f"{THINGS.get(key[0], key[0])} {key[1]}"


def changes_table(found: Sequence[Change]) -> Table:
    """A row for each result."""
    rows = []
    for one in found:
        named = [*one.causes[:MOST], *([f"and {len(one.causes) - MOST} more"] if len(one.causes) > MOST else [])]
        rows.append(
            [
                f"{THINGS.get(one.kind, one.kind)} {one.recipe}",
                one.state,
                WORDS.get(one.split, "–"),
                spread(list(one.before.values())),
                spread(list(one.now.values())),
                "–" if one.difference is None else signed(one.difference),
                "; ".join(named) or "–",
            ]
        )
    return Table(["result", "state", "images", "before", "now", "points", "what changed"], rows)
