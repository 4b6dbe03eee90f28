"""Pseudo-labels from maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.images import read_upright
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.parts.folder import items_of
from wsss.parts.masks import Written, write_masks
from wsss.refine.agreeing import agreeing_threshold, salient_counts
from wsss.refine.crf import prepare
from wsss.refine.pseudo_masks import Background, banded_mask, object_or_not, pseudo_mask
from wsss.refine.thresholds import described, otsu_of_each
from wsss.runtime.run import Run
from wsss.settings import CrfSettings, IgnoreBand, MasksSettings, Threshold
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.workers import over

COMPARED = 300
"""Training images on which a threshold of saliency is chosen, at most."""


@dataclass(frozen=True)
class PseudoMaskWriter:
    """Makes and writes the mask of one image: what a worker process does. Call with an item of the index.

    ``background``: a constant, or float (C,), one for every object class of the dataset, or None: Otsu's threshold of
    every map. ``saliency``: maps of one class; its complement is the background score then, or with ``salient`` what
    exceeds that is an object and nothing else is. The tally: the numbers of foreground pixels and of pixels left out,
    and with Otsu the thresholds. Raises :class:`WsssError` naming the file when sizes differ or the maps are missing.
    """

    store: MapStore
    masks: MaskFolder
    background: Background | None
    crf: CrfSettings | None
    band: IgnoreBand | None = None
    saliency: MapStore | None = None
    salient: float | None = None

    def __call__(self, item: Item) -> Written:
        record, maps = self.store[item.id], self.store.full_of(item)
        refined = self.crf is not None and len(record.classes)
        image = read_upright(item.image, record.size) if refined else None
        limits: list[list[float]] = []
        if self.band is not None:
            mask = banded_mask(maps, record.classes, self.band, image, self.crf)
        else:
            score = self._score(item, maps, record.classes)
            mask = pseudo_mask(maps, record.classes, score, image, self.crf)
            limits = [np.asarray(score).tolist()] if self.background is None else []
        ignored = int((mask == IGNORE).sum())
        tally = (int((mask > 0).sum()) - ignored, ignored, *limits)
        return Written(item.id, self.masks.write(item.id, mask), tally)

    def _score(self, item: Item, maps: np.ndarray, classes: np.ndarray) -> Background:
        if self.background is None:
            return otsu_of_each(maps)
        if self.saliency is None:
            return self.background[classes] if isinstance(self.background, np.ndarray) else self.background
        if not len(classes):
            return 0.0
        saliency = self.saliency.saliency_of(item)
        if self.salient is not None:
            return object_or_not(saliency, self.salient)
        score: np.ndarray = np.clip(1 - saliency, 0, None)
        return score


def chosen_threshold(
    settings: Threshold, scores: Path | None, classes: Sequence[str] = ()
) -> tuple[Background, dict[str, Any]]:
    """The background score and, for the manifest, how it was chosen.

    For policies with one threshold for all images: all but ``otsu``. ``scores``: folder of the maps' scores, needed
    unless the policy is ``fixed``; ``classes``: names of the object classes, needed with ``per_class``, when the score
    is float32 (C,). Raises :class:`WsssError` when the scores are not given, hold no such threshold (a dataset without
    masks), or are those of other classes.
    """
    policy = settings.policy
    if policy == "fixed":
        return settings.value, {"value": settings.value, "policy": policy}
    if scores is None:
        raise WsssError(f"threshold.policy is {policy!r}: give the scores of the maps with --scores DIR")
    path = Path(scores) / "scores.json"
    try:
        train = json.loads(path.read_text("utf-8"))["splits"]["train"]
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(
            f"{path} holds no scores of the training split ({error!r}); make the maps of it and score them"
        ) from None
    chosen = train.get("policies", {}).get(policy)
    if chosen is None:
        raise WsssError(f"{path} has no {policy} threshold: no training image has a mask; use threshold.policy: fixed")
    facts = {"value": chosen["threshold"], "policy": policy, "masks_looked_at": chosen["threshold_images"]}
    if not settings.per_class:
        return chosen["threshold"], facts
    each = chosen.get("thresholds_per_class", {})
    if list(each) != list(classes):
        raise WsssError(f"{path} has no thresholds of the classes {', '.join(classes)}; score the maps again")
    return np.array(list(each.values()), np.float32), {**facts, "per_class": each}


def agreed(index: Index, store: MapStore, saliency: MapStore, threads: int) -> tuple[float, dict[str, Any]]:
    """The threshold of saliency that agrees best with the maps of tagged training images, at most ``COMPARED`` of them
    at even distances, and for the manifest how it was chosen.

    Raises :class:`WsssError` where an image has no maps or saliency, or no training image has a tag.
    """
    tagged = [item for item in index.split("train") if item.labels]
    items = tagged[:: -(-len(tagged) // COMPARED)] if tagged else []
    if not items:
        raise WsssError(
            "saliency_threshold 'agreement' is chosen on tagged training images, and there is none; give a number"
        )
    for each in (store, saliency):
        each.require(items)

    def compared(item: Item) -> np.ndarray:
        return salient_counts(saliency.saliency_of(item), store.full_of(item))

    value = agreeing_threshold(over(items, compared, threads, "threshold of saliency", lambda item: item.id))
    return value, {"policy": "saliency above", "value": value, "agrees_with": "maps", "images_looked_at": len(items)}


def make(run: Run) -> None:
    """Write the mask of every image of the splits. The folder appears when all are there.

    Raises :class:`WsssError` with the ids of the images that have no maps, no saliency, or could not be done.
    """
    import wsss.store.views  # noqa: F401  loads torch once, before worker processes fork

    settings: MasksSettings = run.settings
    index = Index.load(run.inputs["index"])
    store = MapStore(run.inputs["cams"])
    items = items_of(run, index)
    store.require(items)
    saliency, salient, band = None, None, settings.ignore
    background: Background | None = 0.0
    facts: dict[str, Any]
    if settings.saliency is not None:
        if "saliency" not in run.inputs:
            raise WsssError(f"the settings name the saliency {settings.saliency!r}: give its maps with --saliency DIR")
        saliency, facts = MapStore(run.inputs["saliency"]), {"policy": "1 - saliency"}
        saliency.require(item for item in items if item.labels)
        if settings.saliency_threshold == "agreement":
            salient, facts = agreed(index, store, saliency, run.args.threads)
        elif settings.saliency_threshold is not None:
            salient = settings.saliency_threshold
            facts = {"policy": "saliency above", "value": salient}
    elif band is not None:
        facts = {"policy": "ignore band", "foreground": band.foreground, "background": band.background}
    elif settings.threshold.policy == "otsu":
        background, facts = None, {}
    else:
        background, facts = chosen_threshold(settings.threshold, run.inputs.get("scores"), index.classes)
    if settings.crf is not None and any(item.labels for item in items):
        run.record(**prepare(settings.crf))

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        work = PseudoMaskWriter(store, masks, background, settings.crf, band, saliency, salient)
        return lambda part: over(part, work, run.args.threads, "masks", lambda item: item.id)

    tallies = write_masks(run, items, begin)
    if tallies is None:
        return
    foreground, ignored = (sum(tally[n] for tally in tallies) for n in range(2))
    total = max(1, sum(item.height * item.width for item in items))
    if background is None:
        facts = described(tally[2] for tally in tallies)
    left_out = {"ignored_share": round(ignored / total, 4)} if band is not None else {}
    run.note(threshold=facts, foreground_share=round(foreground / total, 4), **left_out)
