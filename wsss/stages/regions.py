"""Masks snapped to regions that were cut out elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.parts.folder import items_of
from wsss.parts.masks import Written, write_masks
from wsss.refine.regions import find_regions, merged, read_regions
from wsss.runtime.run import Run
from wsss.settings import RegionMasksSettings
from wsss.stages.external_cams import seeded
from wsss.store.masks import MaskFolder
from wsss.system.workers import over


@dataclass(frozen=True)
class MergeImage:
    """Snaps the mask of one image to its regions and writes the result: what a worker does.

    The tally: the numbers of regions, of those that took a class, of pixels that got another label, and of pixels left
    out. An image without an object in its mask needs no regions: no region can take a class.
    """

    regions: Path
    given: MaskFolder
    masks: MaskFolder
    classes: int
    settings: RegionMasksSettings

    def __call__(self, item: Item) -> Written:
        mask = self.given.read(item.id)
        strange = np.setdiff1d(mask, [*range(self.classes + 1), IGNORE])
        if mask.shape != (item.height, item.width):
            raise WsssError(
                f"its mask has {mask.shape[0]} x {mask.shape[1]} pixels, the image {item.height} x {item.width}"
            )
        if len(strange):
            raise WsssError(f"its mask holds the values {strange.tolist()}; allowed are 0 to {self.classes} and 255")
        result, number, taken = mask, 0, 0
        if np.isin(mask, [0, IGNORE], invert=True).any():
            path = find_regions(self.regions, item.id)
            if path is None:
                raise WsssError(f"{self.regions / item.id}.json is missing, and .png too")
            regions = read_regions(path, (item.height, item.width))
            s = self.settings
            result, number, taken = merged(mask, regions, covered=s.covered, covering=s.covering, whole=s.whole)
        tally = (number, taken, int((result != mask).sum()), int((result == IGNORE).sum()))
        return Written(item.id, self.masks.write(item.id, result), tally)


def make(run: Run) -> None:
    """Write the mask of every image of the splits. The folder appears when all are there.

    Facts for the manifest: ``regions`` and ``regions_taken`` (over all images), ``changed_share`` and
    ``ignored_share`` (of all pixels).

    Raises:
        WsssError: The folder of regions is missing; or images have no fitting mask or regions, all of them named.
    """
    settings: RegionMasksSettings = run.settings
    index = Index.load(run.inputs["index"])
    path = seeded(settings.regions, run.args.seed)
    if not path.is_dir():
        raise WsssError(f"{path} is no folder; 'regions' is a folder with a file ID.json or ID.png for each image")
    given, items = MaskFolder(run.inputs["masks"] / "masks"), items_of(run, index)
    given.require(items, f"let the splits of masks.{settings.masks} include those of the regions")

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        work = MergeImage(path, given, masks, len(index.classes), settings)
        return lambda part: over(part, work, run.args.threads, "regions", lambda item: item.id)

    tallies = write_masks(run, items, begin)
    if tallies is None:
        return
    number, taken, changed, ignored = (sum(tally[n] for tally in tallies) for n in range(4))
    total = max(1, sum(item.height * item.width for item in items))
    run.note(regions=number, regions_taken=taken)
    run.note(changed_share=round(changed / total, 4), ignored_share=round(ignored / total, 4))
