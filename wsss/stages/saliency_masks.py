"""Saliency maps to masks of two labels: a threshold, then the dense CRF over salient and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wsss.data.images import read_upright
from wsss.data.index import Index, Item
from wsss.parts.masks import Written, write_masks
from wsss.refine.crf import prepare
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.refine.thresholds import described, otsu
from wsss.runtime.run import Run
from wsss.settings import SaliencyMaskSettings
from wsss.store.manifest import read_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.workers import over


@dataclass(frozen=True)
class SaliencyMaskWriter:
    """Makes and writes the mask of one image. Call with an item of the index.

    The tally: its salient pixels; with Otsu's threshold a list of these and of the thresholds, one or, without tags,
    none.
    An image without tags holds no object: its mask is 0 throughout. Raises :class:`WsssError` naming the file when
    sizes differ.
    """

    store: MapStore
    masks: MaskFolder
    settings: SaliencyMaskSettings

    def __call__(self, item: Item) -> Written:
        mask = np.zeros((item.height, item.width), np.uint8)
        limits: list[float] = []
        if item.labels:
            maps = self.store.full_of(item)
            image = read_upright(item.image, mask.shape) if self.settings.crf is not None else None
            threshold = otsu(maps) if self.settings.threshold == "otsu" else self.settings.threshold
            mask = pseudo_mask(maps, np.zeros(1, np.int64), float(threshold), image, self.settings.crf)
            limits = [float(threshold)]
        salient = int(mask.sum())
        tally = [salient, limits] if self.settings.threshold == "otsu" else salient
        return Written(item.id, self.masks.write(item.id, mask), tally)


def make(run: Run) -> None:
    """Write a mask, 0 or 1, for every image that the maps were made of. The folder appears when all are there.

    Raises :class:`WsssError` with the ids of the images that could not be done.
    """
    import wsss.store.views  # noqa: F401  loads torch once, before worker processes fork

    settings: SaliencyMaskSettings = run.settings
    index = Index.load(run.inputs["index"])
    store = MapStore(run.inputs["maps"])
    splits = read_manifest(run.inputs["maps"])["settings"]["splits"]
    items = [item for split in splits for item in index.split(split)]
    store.require(items)
    if settings.crf is not None and any(item.labels for item in items):
        run.record(**prepare(settings.crf))

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        work = SaliencyMaskWriter(store, masks, settings)
        return lambda part: over(part, work, run.args.threads, "saliency masks", lambda item: item.id)

    tallies = write_masks(run, items, begin)
    if tallies is not None:
        if settings.threshold == "otsu":
            run.note(threshold=described(limits for _, limits in tallies))
            tallies = [salient for salient, _ in tallies]
        share = sum(tallies) / max(1, sum(item.height * item.width for item in items))
        run.note(splits=splits, salient_share=round(share, 4))
