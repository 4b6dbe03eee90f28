"""The ablation study of the line of work as recipes, put beside those of a configuration.

The study asks what each step is worth, on whatever dataset and with whatever ``defaults`` a configuration has. A step
that the configuration already holds under another name (the same settings, leading to the same recipes) is taken from
there, so that nothing is computed twice. A recipe that the configuration itself calls ``ablation-puzzle``, say, stands
for the study's: so a study gets other schedules, or maps of fewer images.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wsss.config.loader import Config, load, merge
from wsss.errors import WsssError
from wsss.settings import KINDS, AblationSettings, FolderSettings, Settings, classes_of, default_variant, variants
from wsss.settings.check import check
from wsss.settings.fields import references

PREFIX = "ablation-"
"""Begins the names of the study's own recipes."""


@dataclass(frozen=True)
class Row:
    """A line of the study's table.

    Attributes:
        part: Which table it stands in: ``priors`` or ``chain``.
        title: What it is.
        shown: Column -> (kind of scores, recipe).
    """

    part: str
    title: str
    shown: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Study:
    """The configuration with the study's recipes in it, and the table's rows."""

    config: Config
    rows: tuple[Row, ...]

    @property
    def recipes(self) -> list[tuple[str, str]]:
        """(kind of scores, recipe) of everything that is shown."""
        return list(dict.fromkeys(pair for row in self.rows for pair in row.shown.values()))


def study_of(raw: dict[str, Any]) -> Study | str:
    """The study, or why it cannot be had: a run that does not ask for it goes on without."""
    try:
        return with_study(raw)
    except WsssError as error:
        return str(error)


def recipes_of(settings: AblationSettings, blind: bool) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """The study's recipes by kind and name, references after what they name, and the rows of its table.

    ``blind``: some dataset has no ground-truth masks, so thresholds are fixed and nothing is learnt from ground-truth
    masks.
    """
    plain = {"label_smoothing": 0.0}
    jitter = {} if settings.augment is None else {"augment": list(settings.augment)}
    judged = {"ordinary": settings.ordinary, **jitter}
    classifiers: dict[str, Any] = {
        "vanilla": {"objective": "vanilla", "augment": [], **plain},
        "vanilla-ra": {"objective": "vanilla", "augment": ["randaugment"], **plain},
        "oc-cse": {"objective": "oc-cse", **judged, **plain},
        "puzzle": {"objective": "puzzle", **jitter, **plain},
        "p-oc": {"objective": "p-oc", **judged, **plain},
        "p-noc": {"objective": "p-noc", **judged, **plain},
        "p-noc-ls": {"objective": "p-noc", **judged, "label_smoothing": 0.1},
    }
    threshold = {"policy": "fixed" if blind else "calibrated"}
    cams: dict[str, Any] = {name: {"source": "classifier", "classifier": name} for name in classifiers}
    masks: dict[str, Any] = {
        name: {"source": "cams", "cams": name, "threshold": threshold, "crf": "labels"} for name in classifiers
    }
    best = settings.best
    start = {"warm_start": settings.ordinary} if settings.warm_start else {}
    saliency = {"c2am-h": {"objective": "c2am-h", "hints": best, **start}}
    masks["saliency"] = {"source": "cams", "cams": best, "saliency": "c2am-h", "crf": None}
    masks["saliency-crf"] = {"source": "cams", "cams": best, "saliency": "c2am-h", "crf": "labels"}
    affinity = {"walk": {"cams": best, "saliency": "c2am-h", **start}}
    cams["walk"] = {"source": "walk", "cams": best, "affinity": "walk"}
    masks["walk"] = {"source": "cams", "cams": "walk", "threshold": threshold, "crf": "labels-1"}
    segmenters: dict[str, Any] = {"crf": {"masks": best}, "walk": {"masks": "walk"}}
    if not blind:
        segmenters["supervised"] = {"supervision": "masks"}
    titles = {
        "vanilla": "vanilla", "vanilla-ra": "vanilla + RandAugment", "oc-cse": "OC-CSE", "puzzle": "Puzzle",
        "p-oc": "P-OC", "p-noc": "P-NOC", "p-noc-ls": "P-NOC + label smoothing",
    }  # fmt: skip
    rows = [
        Row("priors", title, {"tags": ("classifiers", n), "CAM": ("cams", n), "CAM + dCRF": ("masks", n)})
        for n, title in titles.items()
    ]
    rows += [
        Row("saliency", "C2AM-H", {"saliency": ("saliency", "c2am-h")}),
        Row("saliency", "C2AM-H + dCRF", {"saliency": ("saliency-masks", "c2am-h")}),
        Row("chain", f"CAM of {titles[best]}", {"masks": ("cams", best)}),
        Row("chain", "+ dCRF", {"masks": ("masks", best)}),
        Row("chain", "+ C2AM-H as background", {"masks": ("masks", "saliency")}),
        Row("chain", "+ C2AM-H as background + dCRF", {"masks": ("masks", "saliency-crf")}),
        Row("chain", "random walk", {"masks": ("cams", "walk")}),
        Row("chain", "random walk + dCRF", {"masks": ("masks", "walk")}),
        Row("chain", "segmentation network on CAM + dCRF", {"masks": ("segmenters", "crf")}),
        Row("chain", "segmentation network on random walk + dCRF", {"masks": ("segmenters", "walk")}),
    ]
    if not blind:
        rows.append(Row("chain", "segmentation network on ground-truth masks", {"masks": ("segmenters", "supervised")}))
    blocks = {"classifiers": classifiers, "cams": cams, "saliency": saliency, "affinity": affinity, "masks": masks}
    return {**blocks, "segmenters": segmenters}, rows


def with_study(raw: dict[str, Any]) -> Study:
    """The configuration with the study beside its own recipes.

    Args:
        raw: The mapping that YAML gives, which ``load`` takes.

    Raises:
        WsssError: The study's recipes do not go with the configuration's defaults; the message says which.
    """
    own = load(raw)
    chosen = [own.recipes["datasets"][name] for name in own.dataset]
    blind = any(isinstance(s, FolderSettings) and s.masks is None for s in chosen)
    wanted, rows = recipes_of(own.ablation, blind)
    both = {**raw, **{kind: dict(raw.get(kind) or {}) for kind in KINDS}}
    names: dict[tuple[str, str], str] = {}
    for kind, name in _ordered(wanted):
        if f"{PREFIX}{name}" in own.recipes[kind]:
            names[kind, name] = f"{PREFIX}{name}"
            continue
        values = _renamed(kind, wanted[kind][name], names)
        settings = _settings(kind, values, (raw.get("defaults") or {}).get(kind) or {})
        same = [n for n, one in own.recipes[kind].items() if one == settings]
        names[kind, name] = same[0] if same else f"{PREFIX}{name}"
        if not same:
            both[kind][names[kind, name]] = values
    score_kind = {"saliency-masks": "saliency"}
    table = tuple(
        Row(r.part, r.title, {c: (k, names[score_kind.get(k, k), n]) for c, (k, n) in r.shown.items()}) for r in rows
    )
    try:
        return Study(load(both), table)
    except WsssError as error:
        raise WsssError(f"the study does not go with this configuration:\n{error}") from None


def _settings(kind: str, values: dict[str, Any], low: dict[str, Any]) -> Settings | None:
    """A recipe's settings with the kind's defaults; None where they are refused (``load`` will say why)."""
    merged = merge(low, values)
    key, classes = classes_of(KINDS[kind])
    if key is not None and (usual := default_variant(KINDS[kind])) is not None:
        merged.setdefault(key, usual)
    cls = classes["" if key is None else merged[key]]
    settings: Settings | None = check(cls, {k: v for k, v in merged.items() if k in cls.model_fields})[0]
    return settings


def _ordered(wanted: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """All recipes, each after those it names."""
    done: dict[tuple[str, str], None] = {}
    todo = [(kind, name) for kind, block in wanted.items() for name in block]
    while todo:
        ready = [node for node in todo if all(target in done for target in _targets(*node, wanted))]
        done |= dict.fromkeys(ready)
        todo = [node for node in todo if node not in done]
    return list(done)


def _fields(kind: str, values: dict[str, Any]) -> dict[str, str]:
    """Field -> kind of recipe, for the references of a recipe."""
    classes = variants(kind).values()
    known = {f: target for cls in classes for f, target in references(cls).items()}
    return {f: known[f] for f, v in values.items() if isinstance(v, str) and f in known}


def _targets(kind: str, name: str, wanted: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    values = wanted[kind][name]
    return [(target, values[f]) for f, target in _fields(kind, values).items()]


def _renamed(kind: str, values: dict[str, Any], names: dict[tuple[str, str], str]) -> dict[str, Any]:
    merged: dict[str, Any] = merge(values, {f: names[target, values[f]] for f, target in _fields(kind, values).items()})
    return merged


def layout(study: Study) -> str:
    """The table's rows as one canonical string."""
    return json.dumps([[r.part, r.title, r.shown] for r in study.rows], ensure_ascii=False)
