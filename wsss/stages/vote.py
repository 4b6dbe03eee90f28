"""Masks by a vote of other masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.evaluate.agreement import FILE, Agreement, count_pairs
from wsss.parts.folder import items_of
from wsss.parts.masks import Written, write_masks
from wsss.refine.votes import LOST, RULES
from wsss.runtime.run import Run
from wsss.settings import VoteSettings
from wsss.store.masks import MaskFolder
from wsss.system.log import log
from wsss.system.workers import over
from wsss.text import listed


@dataclass(frozen=True)
class VoteImage:
    """Lets the members vote on one image and writes the result: what a worker does.

    The tally: the counts of their agreement, the number of pixels left out, and for each object class its pixels in the
    result and in all members together. Raises :class:`WsssError` when a
    member's mask is missing, has another size than the image, or holds labels that the dataset does not have.
    """

    names: tuple[str, ...]
    members: tuple[MaskFolder, ...]
    rule: str
    classes: int
    masks: MaskFolder

    def __call__(self, item: Item) -> Written:
        wrong, votes = [], []
        for name, folder in zip(self.names, self.members, strict=True):
            if item.id not in folder:
                wrong.append(f"{name} has no mask of it")
                continue
            mask = folder.read(item.id)
            strange = np.setdiff1d(mask, [*range(self.classes + 1), IGNORE])
            if mask.shape != (item.height, item.width):
                wrong.append(f"{name} has a mask of {mask.shape[0]} x {mask.shape[1]} pixels, it is "
                             f"{item.height} x {item.width}")  # fmt: skip
            elif len(strange):
                wrong.append(f"{name} has the values {strange.tolist()} in it; allowed are 0 to {self.classes} and 255")
            votes.append(mask)
        if wrong:
            raise WsssError("; ".join(wrong))
        result = RULES[self.rule](np.stack(votes))
        tally = (
            count_pairs(votes),
            int((result == IGNORE).sum()),
            *(self._pixels(m) for m in (result, np.stack(votes))),
        )
        return Written(item.id, self.masks.write(item.id, result), tally)

    def _pixels(self, masks: np.ndarray) -> list[int]:
        counts: list[int] = np.bincount(masks.ravel(), minlength=256)[1 : self.classes + 1].tolist()
        return counts


def make(run: Run) -> None:
    """Write the mask of every image of the splits, and ``agreement.csv``. The folder appears when all are there.

    Raises :class:`WsssError` naming the images that a member has no fitting mask of.
    """
    settings: VoteSettings = run.settings
    index = Index.load(run.inputs["index"])
    folders = run.one_each("members", settings.members)
    members = tuple(MaskFolder(folder / "masks") for folder in folders)
    items = items_of(run, index)

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        work = VoteImage(settings.members, members, settings.rule, len(index.classes), masks)
        return lambda part: over(part, work, run.args.threads, "votes", lambda item: item.id)

    tallies = write_masks(run, items, begin)
    if tallies is None:
        return
    pairs, ignored = Agreement(settings.members, len(index.classes)), 0
    kept, had = np.zeros((2, len(index.classes)), np.int64)
    for counted, left_out, of_result, of_members in tallies:
        pairs.add(counted)
        ignored += left_out
        kept += of_result
        had += of_members
    total = max(1, sum(item.height * item.width for item in items))
    run.note(ignored_share=round(ignored / total, 4))
    run.note(agreement=pairs.write(run.out / FILE))
    shares = kept * len(members) / np.maximum(1, had)
    run.note(kept={name: round(float(share), 4) for name, share in zip(index.classes, shares, strict=True)})
    lost = [f"{name} ({100 * share:.0f} %)" for name, share in zip(index.classes, shares, strict=True) if share < LOST]
    if lost:
        log.warning(
            f"the vote of {listed(settings.members)} keeps less than a quarter of the pixels that its members have on "
            f"average for {listed(lost)}; what learns from it may not see the class: rule 'majority' keeps more"
        )
