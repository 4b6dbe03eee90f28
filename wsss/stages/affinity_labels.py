"""Affinity labels from maps: sure foreground, sure background, and what is ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wsss.data.images import read_upright
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.parts.masks import Written, write_masks
from wsss.refine.affinity_labels import labels_by_thresholds, labels_with_saliency
from wsss.refine.crf import prepare
from wsss.refine.thresholds import described, otsu, otsu_of_each
from wsss.runtime.run import Run
from wsss.settings import AffinityLabelSettings
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.workers import over


@dataclass(frozen=True)
class AffinityLabelWriter:
    """Makes and writes the labels of one image: what a worker process does. Call with an item of the index.

    The tally: the numbers of background, object and 255 pixels; with policy ``otsu`` also a list of the thresholds of
    the maps, and one of that of the saliency. Raises :class:`WsssError` naming the file when sizes differ.
    """

    store: MapStore
    saliency: MapStore | None
    masks: MaskFolder
    settings: AffinityLabelSettings

    def __call__(self, item: Item) -> Written:
        maps = self.store.full_of(item)
        refined = self.settings.crf is not None and (len(maps) or self.saliency is not None)
        image = read_upright(item.image, maps.shape[1:]) if refined else None
        classes = self.store[item.id].classes
        limits = [otsu_of_each(maps).tolist()] if self.settings.policy == "otsu" else []
        if self.saliency is None:
            labels = labels_by_thresholds(maps, classes, self.settings, image)
        else:
            saliency = self.saliency.saliency_of(item)
            labels = labels_with_saliency(maps, classes, saliency, self.settings, image)
            limits += [[float(otsu(saliency))]] if limits else []
        background, ignored = int((labels == 0).sum()), int((labels == IGNORE).sum())
        tally = (background, labels.size - background - ignored, ignored, *limits)
        return Written(item.id, self.masks.write(item.id, labels), tally)


def make(run: Run) -> None:
    """Write the labels of every image of the training split, which is what an edge network is trained on.

    An image without tags gets a file too, so that the folder is whole: background, and 255 where it is salient. The
    folder appears when all are there.

    Raises :class:`WsssError` with the ids of the images that have no maps or no saliency, or could not be done.
    """
    import wsss.store.views  # noqa: F401  loads torch once, before worker processes fork

    settings: AffinityLabelSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = index.split("train")
    store = MapStore(run.inputs["cams"])
    saliency = MapStore(run.inputs["saliency"]) if "saliency" in run.inputs else None
    if saliency is None and settings.crossed:
        raise WsssError(
            f"--settings: background ({settings.background}) must not exceed foreground ({settings.foreground}) "
            "without saliency"
        )
    for known in (store,) if saliency is None else (store, saliency):
        known.require(items)
    run.record(**prepare(settings.crf))

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        work = AffinityLabelWriter(store, saliency, masks, settings)
        return lambda part: over(part, work, run.args.threads, "affinity labels", lambda item: item.id)

    tallies = write_masks(run, items, begin)
    if tallies is not None:
        counts = np.array([tally[:3] for tally in tallies], np.int64).reshape(-1, 3).sum(axis=0)
        shares = counts / max(1, counts.sum())
        names = ("background_share", "object_share", "ignored_share")
        run.note(**{name: round(float(share), 4) for name, share in zip(names, shares, strict=True)})
        if settings.policy == "otsu":
            run.note(threshold=described(tally[3] for tally in tallies))
            if saliency is not None:
                run.note(saliency_threshold=described(tally[4] for tally in tallies))
