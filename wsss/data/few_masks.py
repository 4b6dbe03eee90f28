"""Which ground-truth masks a training with few of them looks at, and what it sees of all other images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError

STREAM = 0xFE3A
"""Ends the key of the draw, so that it is not that of another one with the same seed."""


def few_masks(index: Index, count: int | Literal["all"], seed: int) -> list[Item]:
    """The training images whose ground-truth masks may be looked at, in the index's order.

    They are among the tagged ones that have a mask, and chosen one after the other: of the class that the fewest of
    those chosen so far have, an image at random (published: of the class in largest need, by draws that also weigh the
    needs of the image's other classes). Rare classes are so not left out, and the 20 are among the 100.

    Args:
        index: The dataset.
        count: How many; ``all``: every tagged training image that has a mask.
        seed: The run's seed.

    Raises:
        WsssError: There are fewer.
    """
    able = [item for item in index.labelled("train") if item.mask is not None]
    if count == "all" and able:
        return able
    if count == "all" or count > len(able):
        raise WsssError(
            f"{index.folder}: 'gt_masks: {count}' needs as many tagged training images with a ground-truth mask, and "
            f"there are {len(able)}; lower it, or add masks to the dataset"
        )
    rng = np.random.default_rng([seed, STREAM])
    order = rng.permutation(len(able)).tolist()
    ties = rng.permutation(len(index.classes)).tolist()
    waiting = {c: [n for n in reversed(order) if c in able[n].labels] for c in ties}
    chosen: set[int] = set()
    having: Counter[int] = Counter()
    while len(chosen) < count:
        for numbers in waiting.values():
            while numbers and numbers[-1] in chosen:
                numbers.pop()
        rarest = min((c for c in ties if waiting[c]), key=lambda c: having[c])
        number = waiting[rarest].pop()
        chosen.add(number)
        having.update(able[number].labels)
    return [able[number] for number in sorted(chosen)]


@dataclass(frozen=True)
class Targets:
    """The masks of some images, by id. Call with an item: its mask, or nothing but 255.

    A class, as loader processes may be sent it: Python 3.14 starts them without a copy of this process.
    """

    masks: dict[str, Path]

    def __call__(self, item: Item) -> Path | np.ndarray:
        known = self.masks.get(item.id)
        return np.full((item.height, item.width), IGNORE, np.uint8) if known is None else known


def masks_of(chosen: Iterable[Item]) -> Targets:
    """The target of an image, for ``TrainingViews``: the mask of one that was chosen, nothing but 255 for another."""
    return Targets({item.id: item.mask for item in chosen if item.mask is not None})
