"""What each step of the chain brought: the score of a result beside that of what it was made from.

Steps that made things worse are the ones to know of: a dense CRF or a random walk can lower the masks of one's own
images, and then what came before it is the better result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from wsss.data.index import SPLITS
from wsss.report.provenance import Scored
from wsss.report.tables import Table, spread
from wsss.store.manifest import read_manifest

BEFORE = {"cams": ("cams",), "saliency-masks": ("saliency",), "masks": ("cams", "masks"), "segmenters": ("masks",)}
"""Kind of a result, and of what it may be compared with among what it was made from."""
THINGS = {"cams": "maps", "saliency": "saliency maps", "saliency-masks": "saliency masks", "masks": "pseudo-labels",
          "segmenters": "network"}  # fmt: skip
NAMED = {
    "walk": "random walk",
    "feature-walk": "feature walk",
    "ensemble": "ensemble",
    "vote": "vote",
    "choice": "choice",
    "segmenter": "self-training",
    "regions": "regions",
}
"""Sources whose step has a name of its own."""
WORDS = {"train": "training", "val": "validation"}
"""Splits as one speaks of them."""
CLEAR = 0.005
"""Differences of mIoU below this say nothing."""
Name = tuple[str, str]
"""Kind and recipe of a result."""
MISSED = 0.01
"""What a threshold that was fixed beforehand may cost before it is worth a word."""
UNTOLD = "not comparable: no tags"
"""Verdict on networks: they are not told the tags, the masks they learn from are."""


@dataclass(frozen=True)
class Effect:
    """One step on one split.

    Attributes:
        step: What was done, in words.
        before, after: The results.
        split: ``train`` or ``val``.
        values: mIoU before and after as fractions, a pair for each seed.
        folders: Artefacts of the result after it, one for each seed.
    """

    step: str
    before: Name
    after: Name
    split: str
    values: tuple[tuple[float, float], ...]
    folders: tuple[Path, ...]

    @property
    def difference(self) -> float:
        """Mean over the seeds of after - before."""
        return mean(after - before for before, after in self.values)

    @property
    def verdict(self) -> str:
        """``helps`` or ``hurts`` where it is half a point or more, of one sign with every seed. Networks have a
        harder task than the masks they learn from, so they are not judged."""
        if self.after[0] == "segmenters" != self.before[0]:
            return UNTOLD
        signs = {after > before for before, after in self.values}
        if len(signs) > 1 or abs(self.difference) < CLEAR:
            return "no clear difference"
        return "helps" if signs == {True} else "hurts"


def effects(scored: Sequence[Scored]) -> list[Effect]:
    """Every step between two scored results, in the order of the chain; those of ensembles, votes and choices beside
    the best of their members."""
    by_folder = {one.artefact: one for one in scored}
    found: dict[tuple[str, Name, Name, str], list[tuple[float, float, Path]]] = {}
    for kind in BEFORE:
        for one in (s for s in scored if s.kind == kind):
            for split in reversed(SPLITS):
                pairs = [
                    (*pair, of)
                    for folder in sources(one.artefact)
                    if (of := by_folder.get(folder)) is not None and of.kind in BEFORE[kind]
                    if (pair := compared(of, one, split)) is not None
                ]
                if pairs:
                    before, after, of = max(pairs, key=lambda p: p[0])
                    key = (step_name(one), (of.kind, of.recipe), (one.kind, one.recipe), split)
                    found.setdefault(key, []).append((before, after, one.artefact))
    return [
        Effect(
            step, before, after, split, tuple((old, new) for old, new, _ in rows), tuple(folder for *_, folder in rows)
        )
        for (step, before, after, split), rows in found.items()
    ]


def sources(artefact: Path) -> Iterator[Path]:
    """The folders that an artefact was made from; predictions were made from what their network learnt from."""
    for name, given in read_manifest(artefact).get("inputs", {}).items():
        folder = (artefact / given["path"]).resolve()
        if name == "segmenter" and folder.is_dir():
            yield from sources(folder)
        else:
            yield folder


def compared(before: Scored, after: Scored, split: str) -> tuple[float, float] | None:
    """mIoU of both on a split, of maps at the threshold that the masks were made with; None where they cannot be
    compared: masks that leave pixels out, or maps without a calibrated threshold, whose units may differ."""
    old, new = (one.content["splits"].get(split, {}) for one in (before, after))
    policies = old.get("policies", {}), new.get("policies", {})
    if after.kind == "cams":
        value, result = (p.get("calibrated", {}).get("miou") for p in policies)
    else:
        result = policies[1].get("", {}).get("miou")
        if "unlabelled" in policies[1].get("", {}):
            return None
        value = at(old, threshold_of(after))
        if value is None:  # no map, no threshold, or one for each class or map
            value = next((policies[0][p].get("miou") for p in ("", "calibrated", "fixed") if p in policies[0]), None)
    return None if value is None or result is None else (value, result)


def threshold_of(masks: Scored) -> float | None:
    """The one threshold that masks were made with; None without one, or with one for each class or map."""
    manifest = read_manifest(masks.artefact)
    if masks.kind == "saliency-masks":
        value = (manifest.get("settings") or {}).get("threshold")
        return None if value == "otsu" else value
    facts = manifest.get("threshold") or {}
    of_saliency = facts.get("policy") == "saliency above"  # and no threshold of the maps
    return None if "per_class" in facts or of_saliency else facts.get("value")


def at(content: dict[str, Any], threshold: float | None) -> float | None:
    """mIoU of maps at a threshold, from their curve; None where it is not on it."""
    if threshold is None:
        return None
    curve = content.get("curve", {"threshold": [], "miou": []})
    known = [
        m for t, m in zip(curve["threshold"], curve["miou"], strict=True) if np.float32(t) == np.float32(threshold)
    ]
    return known[0] if known else None


def step_name(after: Scored) -> str:
    """What was done, in words."""
    manifest = read_manifest(after.artefact)
    settings = manifest.get("settings") or {}
    source = settings.get("source")
    if after.kind == "segmenters":
        return "training a network"
    if source in NAMED:
        return NAMED[source]
    parts = ["Otsu per map"] if (manifest.get("threshold") or {}).get("policy") == "otsu" else []
    parts += [name for key, name in (("saliency", "saliency"), ("crf", "dense CRF")) if settings.get(key)]
    return " and ".join(parts) or "threshold"


def effects_table(found: Sequence[Effect]) -> Table:
    """Steps and paths: mIoU in percent, differences in points."""
    rows = [
        [
            e.step, signed(e.difference), e.verdict, e.split, f"{THINGS[e.before[0]]} {e.before[1]}",
            f"{THINGS[e.after[0]]} {e.after[1]}", spread([b for b, _ in e.values]), spread([a for _, a in e.values]),
            len(e.values),
        ]
        for e in found
    ]  # fmt: skip
    return Table(["step", "points", "verdict", "split", "from", "to", "before", "after", "seeds"], rows)


def signed(difference: float) -> str:
    """``+2.3``, ``−0.4`` points."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def harm(scored: Sequence[Scored], folders: Sequence[Path]) -> list[str]:
    """A sentence for each step that made a result among ``folders`` and hurts, on the last split that was scored."""
    last: dict[Name, Effect] = {}
    for effect in effects(scored):  # validation images come first
        if any(folder in folders for folder in effect.folders):
            last.setdefault(effect.after, effect)
    return [
        f"{e.step[0].upper()}{e.step[1:]} makes it worse here: on the {WORDS[e.split]} images the {THINGS[e.after[0]]} "
        f"{e.after[1]} have {abs(100 * e.difference):.1f} points of mIoU less than the {THINGS[e.before[0]]} "
        f"{e.before[1]} that they were made from. Try without it."
        for e in last.values()
        if e.verdict == "hurts"
    ]


def missed(scored: Sequence[Scored], folders: Sequence[Path]) -> list[str]:
    """A sentence for each set of pseudo-labels among ``folders`` whose threshold was fixed beforehand, where one that
    is calibrated on a few masks is clearly better for their maps, on the last split that was scored."""
    by_folder, said = {one.artefact: one for one in scored}, {}
    for one in scored:
        policy = (read_manifest(one.artefact).get("threshold") or {}).get("policy")
        if one.kind != "masks" or one.artefact not in folders or policy != "fixed" or one.recipe in said:
            continue
        for maps in (m for folder in sources(one.artefact) if (m := by_folder.get(folder)) and m.kind == "cams"):
            split = next((s for s in reversed(SPLITS) if "curve" in maps.content["splits"].get(s, {})), "")
            content = maps.content["splits"].get(split, {})
            better, now = content.get("policies", {}).get("calibrated"), at(content, threshold_of(one))
            if better and now is not None and better["miou"] - now >= MISSED:
                said[one.recipe] = (
                    f"The threshold of the pseudo-labels {one.recipe}, {threshold_of(one):g}, was fixed beforehand. At "
                    f"{better['threshold']:g}, calibrated on {better['threshold_images']} ground-truth masks of "
                    f"training images, the maps {maps.recipe} have {100 * (better['miou'] - now):.1f} points of mIoU "
                    f"more on the {WORDS[split]} images: 'threshold: {{policy: calibrated}}' would look at these masks."
                )
    return list(said.values())
