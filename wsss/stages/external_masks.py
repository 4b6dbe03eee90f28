"""Masks that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wsss.data.images import read_mask
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.parts.folder import items_of
from wsss.parts.masks import Written, write_masks
from wsss.refine.tags import Judged, judge, without_untagged
from wsss.runtime.run import Run
from wsss.settings import ExternalMasksSettings
from wsss.stages.external_cams import note_tags, seeded
from wsss.store.masks import MaskFolder
from wsss.system.workers import over


@dataclass(frozen=True)
class CopyMask:
    """Checks and copies the mask of one image, without what ``veto`` takes out: what a worker does. The tally: the
    numbers of foreground pixels and of pixels left out (255), then what the tags say of the mask."""

    source: MaskFolder
    masks: MaskFolder
    classes: int
    settings: ExternalMasksSettings

    def __call__(self, item: Item) -> Written:
        if item.id not in self.source:
            raise WsssError(f"{self.source.file(item.id)} is missing")
        mask = read_mask(self.source.file(item.id))
        strange = np.setdiff1d(mask, [*range(self.classes + 1), IGNORE])
        wrong = []
        if mask.shape != (item.height, item.width):
            wrong.append(
                f"the image is {item.height} x {item.width} pixels, its mask {mask.shape[0]} x {mask.shape[1]}"
            )
        if len(strange):
            wrong.append(f"its mask holds the values {strange.tolist()}; allowed are 0 to {self.classes} and 255")
        if wrong:
            raise WsssError("; ".join(wrong))
        judged = judge(mask, item.labels)
        if self.settings.veto is not None:
            mask = without_untagged(mask, judged, self.settings.vetoed)
        ignored = int((mask == IGNORE).sum())
        tally = (int((mask > 0).sum()) - ignored, ignored, *judged)
        return Written(item.id, self.masks.write(item.id, mask), tally)


def make(run: Run) -> None:
    """Check and copy the mask of every image of the splits, with ``veto`` without untagged classes. The folder appears
    when all are there.

    Raises :class:`WsssError` with all images that have no fitting mask.
    """
    settings: ExternalMasksSettings = run.settings
    index = Index.load(run.inputs["index"])
    path = seeded(settings.path, run.args.seed)
    if not path.is_dir():
        raise WsssError(f"{path} is no folder; 'path' is a folder of masks, one ID.png an image")
    items = items_of(run, index)

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        work = CopyMask(MaskFolder(path), masks, len(index.classes), settings)

        def copies_of(part: list[Item]) -> Iterator[Written]:
            try:
                yield from over(part, work, run.args.threads, "checking masks", lambda item: item.id)
            except WsssError as error:
                raise WsssError(f"{path} does not fit the index {index.folder}: {error}") from None

        return copies_of

    tallies = write_masks(run, items, begin)
    if tallies is None:
        return
    foreground, ignored = (sum(tally[n] for tally in tallies) for n in range(2))
    total = max(1, sum(item.height * item.width for item in items))
    run.note(supervision=settings.supervision)
    run.record(external=str(path.resolve()))
    note_tags(run, index, items, [Judged(*tally[2:]) for tally in tallies])
    run.note(foreground_share=round(foreground / total, 4), ignored_share=round(ignored / total, 4))
