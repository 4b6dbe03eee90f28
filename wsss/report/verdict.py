"""The report's verdict: for each part of the leading result whether it is good, the measured reason, and what to do.

This project's rules, not anybody's standard. Each reads scores that are there already; what was not measured gets no
light.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal

from wsss.data.index import SPLITS, Index
from wsss.refine.votes import LOST
from wsss.report.effects import WORDS
from wsss.report.headline import figure, recipes, scores_of, upper_bound
from wsss.report.paths import paths
from wsss.report.provenance import Scored, lineage
from wsss.report.tables import Table
from wsss.store.manifest import read_manifest
from wsss.text import listed

Level = Literal["good", "look", "bad"]
SURE, WEAK = 0.75, 0.5
"""How far a classifier's mAP lies between chance and 1: good from the first, bad below the second."""
CLEAR = 0.01
"""Differences below a point of mAP say nothing."""
CLOSE, FAR = 0.9, 0.75
"""mIoU of the network as a share of that of the same network trained on ground truth: good from the first, bad below
the second."""
EMPTY = 0.7
"""Share of the tags without a pixel, or of the objects' pixels missed, from which masks are empty."""
FULL = 0.8
"""Coverage, the share of an image that a tagged class takes, from which masks show everything and so nothing."""
FEW = 10
"""Photos of a class below which a classifier has little to learn from."""


@dataclass(frozen=True)
class Light:
    """One judgement.

    Attributes:
        level: ``good``, ``look`` (worth a look) or ``bad``.
        about: What is judged, in two or three words.
        reason: What was measured, a sentence.
        advice: What to do, a sentence; empty where all is well.
    """

    level: Level
    about: str
    reason: str
    advice: str = ""


def verdict(index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> list[Light]:
    """The lights of a report, the worst first, in the order of the chain among equals."""
    if not leading:
        return []
    found = [
        *_photos(index),
        *_tags(index, scored, leading),
        *_pseudo_labels(scored, leading),
        *_lost_classes(leading),
        *_network(scored, leading),
        *_path(scored, leading),
    ]
    return sorted(found, key=lambda light: ("bad", "look", "good").index(light.level))


def lights_table(found: Sequence[Light]) -> Table:
    """The verdict as a table of words."""
    words = {"good": "good", "look": "look", "bad": "poor"}
    rows = [[words[light.level], light.about, light.reason, light.advice] for light in found]
    return Table(["", "part", "measured", "what to do"], rows)


def below_linear(scored: Sequence[Scored]) -> dict[str, tuple[float, float, str]]:
    """Trained classifiers that are worse at the tags than a linear layer on a frozen backbone of the same run: recipe
    to its mAP, the linear one's (fractions, means over the seeds, last split scored) and the latter's recipe."""
    groups = {name: group for (_, name), group in recipes(scored, "classifiers").items()}
    linear = [name for name, group in groups.items() if _objective(group[0]) == "linear"]
    worse: dict[str, tuple[float, float, str]] = {}
    for name, group in groups.items():
        for split in reversed(SPLITS) if name not in linear else ():
            own = _mean(group, split)
            others = [(value, one) for one in linear if (value := _mean(groups[one], split)) is not None]
            if own is not None and others:
                value, best = max(others)
                if own < value - CLEAR:
                    worse[name] = own, value, best
                break
    return worse


def _photos(index: Index) -> Iterator[Light]:
    """Classes with few photos to learn from."""
    have = [sum(c in item.labels for item in index.labelled("train")) for c in range(len(index.classes))]
    few = [f"{name} ({number})" for name, number in zip(index.classes, have, strict=True) if number < FEW]
    if few:
        some = few if len(few) <= 6 else [*few[:5], f"{len(few) - 5} more"]
        yield Light("look", "Photos", f"Few training photos have the tag {listed(some)}.",
                    "Tag more photos of them; some dozens per class are a good start.")  # fmt: skip


def _tags(index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> Iterator[Light]:
    """The classifier whose maps the leading result rests on, beside chance and beside a linear layer."""
    rests_on = lineage(leading[0].artefact)
    worse = below_linear(scored)
    groups = [(name, group) for (_, name), group in recipes(scored, "classifiers").items()]
    used = next(((name, group) for name, group in groups if group[0].artefact in rests_on), None)
    if used is not None:
        name, group = used
        split = next((s for s in reversed(SPLITS) if _mean(group, s) is not None), None)
        if split is not None:
            value = _mean(group, split)
            assert value is not None
            chance = _chance(index, split)
            share = (value - chance) / (1 - chance) if chance < 1 else 1.0
            level: Level = "good" if share >= SURE else "look" if share >= WEAK else "bad"
            yield Light(
                level, "Classifier",
                f"{name} knows the tags of {WORDS[split]} images with mAP {_percent(value)}; a guess would have "
                f"{_percent(chance)}.",
                "" if level == "good" else "Masks cannot be better than it. More photos, ImageNet weights, or a "
                "classifier with 'objective: linear' help most.",
            )  # fmt: skip
    for name, (own, value, best) in worse.items():
        yield Light(
            "bad" if used is not None and name == used[0] else "look", "Training",
            f"The trained classifier {name} has mAP {_percent(own)}, a linear layer on a frozen backbone ({best}) "
            f"{_percent(value)}.",
            f"Its training loses what the backbone knew. Make the CAMs of {best}, or start from it: "
            f"'warm_start: {best}' with a low learning rate.",
        )  # fmt: skip


def _pseudo_labels(scored: Sequence[Scored], leading: Sequence[Scored]) -> Iterator[Light]:
    """Pseudo-labels of training images that show nothing, or everything; told without any ground truth."""
    rests_on = {leading[0].artefact, *lineage(leading[0].artefact)}
    group = next((g for g in recipes(scored, "masks").values() if g[0].artefact in rests_on), None)
    about = None if group is None else _blind(group[0], "train")
    if group is None or about is None:
        return
    empty, coverage = 1 - about["tagged_present"], about["coverage"]
    if empty >= EMPTY:
        yield Light("bad", "Pseudo-labels", f"{_percent(empty)} of the tags have no pixel in {group[0].recipe}.",
                    "The threshold is too high or the CAMs are empty: look at the pictures, and try "
                    "'threshold: {policy: otsu}'.")  # fmt: skip
    elif coverage >= FULL:
        yield Light("bad", "Pseudo-labels", f"A tagged class takes {_percent(coverage)} of an image in "
                    f"{group[0].recipe}.", "They show everything, so nothing: the threshold is too low, or all photos "
                    "have the tag.")  # fmt: skip


def _lost_classes(leading: Sequence[Scored]) -> Iterator[Light]:
    """Classes that a vote among the pseudo-labels has lost: precision bought with a class."""
    for folder, manifest in lineage(leading[0].artefact).items():
        lost = [f"{name} ({_percent(share)})" for name, share in manifest.get("kept", {}).items() if share < LOST]
        if lost:
            yield Light(
                "look", "Vote",
                f"The members of {folder.name} hardly agree on {listed(lost)}: so much is kept of the pixels that they "
                "have on average.",
                "The network may not see the class. Look at the pictures, or take 'rule: majority'.",
            )  # fmt: skip


def _network(scored: Sequence[Scored], leading: Sequence[Scored]) -> Iterator[Light]:
    """The network beside the same one trained on ground truth, and whether it sees objects at all."""
    split = next((s for s in reversed(SPLITS) if _mean(leading, s) is not None), None)
    if leading[0].kind != "segmenters":
        return
    blind = _blind(leading[0], "val")
    missed = scores_of(leading[0], split).get("fn_rate") if split else None
    if blind is not None and 1 - blind["tagged_present"] >= EMPTY:
        yield Light("bad", "Network", f"{_percent(1 - blind['tagged_present'])} of the tags of validation images have "
                    "no pixel in its predictions.", "It sees background only: train it longer, and look at the "
                    "pseudo-labels it learns from.")  # fmt: skip
        return
    if missed is not None and missed >= EMPTY:
        yield Light("bad", "Network", f"{_percent(missed)} of the objects' area is missed.", "It sees background only: "
                    "train it longer, and look at the pseudo-labels it learns from.")  # fmt: skip
        return
    bound = upper_bound(scored)
    value, best = (_mean(group, split) if split else None for group in (leading, bound))
    if value is not None and best and bound != list(leading):
        share = value / best
        level: Level = "good" if share >= CLOSE else "look" if share >= FAR else "bad"
        yield Light(
            level, "Network",
            f"mIoU {_percent(value)}: {100 * share:.0f} % of the {_percent(best)} of the one trained on ground truth.",
            "" if level == "good" else "Better pseudo-labels are what it lacks; the network itself can do more.",
        )  # fmt: skip


def _path(scored: Sequence[Scored], leading: Sequence[Scored]) -> Iterator[Light]:
    """Whether fewer steps would have led to a better result of the same kind, on the last split that was scored."""
    rests_on = {leading[0].artefact, *lineage(leading[0].artefact)}
    last: dict[tuple[str, str], Any] = {}
    for effect in paths(scored):
        if rests_on & set(effect.folders):
            last.setdefault(effect.after, effect)
    thing = {"masks": "pseudo-labels", "segmenters": "networks"}
    for (kind, name), effect in last.items():
        if effect.verdict == "hurts":
            yield Light(
                "look", "Path",
                f"The {thing[kind]} {effect.before[1]}, which fewer steps led to, have {-100 * effect.difference:.1f} "
                f"points of mIoU more than {name} on {WORDS[effect.split]} images.",
                f"Use {effect.before[1]} in place of {name}.",
            )  # fmt: skip


def _objective(one: Scored) -> str | None:
    objective: str | None = (read_manifest(one.artefact).get("settings") or {}).get("objective")
    return objective


def _mean(group: Sequence[Scored], split: str) -> float | None:
    known = [value for one in group if (value := figure(one, split)) is not None]
    return mean(known) if known else None


def _blind(one: Scored, split: str) -> dict[str, float] | None:
    """``coverage_metrics`` of a split without ground-truth masks; None where there are masks, or nothing is tagged."""
    found = scores_of(one, split)
    known = found.get("coverage") is not None and found.get("tagged_present") is not None
    return found if known else None


def _chance(index: Index, split: str) -> float:
    """What average precision a random order has, mean over the classes that occur: the share of images with the tag."""
    items = index.labelled(split)
    have = [sum(c in item.labels for item in items) for c in range(len(index.classes))]
    return mean(number / len(items) for number in have if number)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
