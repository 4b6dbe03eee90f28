"""A step of class-incremental segmentation: which classes and images it has, and the exemplars that it replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from wsss.data.index import Item
from wsss.data.palette import IGNORE, encode_mask
from wsss.errors import WsssError
from wsss.store.exemplars import Exemplar, Exemplars, png
from wsss.system.files import atomic_path
from wsss.text import listed, nearest

Outside = Literal["learn", "ignore", "background-only"]
REPLAYED = "replay/"
"""Begins the ids of exemplars among the images of a step."""


@dataclass(frozen=True)
class Step:
    """The classes of a step, from 0, ascending.

    Attributes:
        own: Those that it learns.
        before: Those that are known already.
        disjoint: Whether images with later classes are left out.
    """

    own: tuple[int, ...]
    before: tuple[int, ...] = ()
    disjoint: bool = False

    @property
    def known(self) -> tuple[int, ...]:
        """Those that are known after it."""
        return tuple(sorted(self.own + self.before))

    def images(self, items: Sequence[Item]) -> list[Item]:
        """The images of the step, with its own classes for tags: all others are for other steps to tell."""
        known = set(self.known)
        found = []
        for item in items:
            tags = tuple(c for c in item.labels if c in self.own)
            if tags and not (self.disjoint and set(item.labels) - known):
                found.append(replace(item, labels=tags))
        return found


def numbers(names: Sequence[str], classes: Sequence[str], where: str) -> tuple[int, ...]:
    """Numbers of classes, ascending. Raises ``WsssError`` for a name that is not among ``classes``, or stands twice."""
    for name in names:
        if name not in classes:
            near = nearest(name, classes)
            raise WsssError(f"{where}: the dataset has no class {name!r}{near} (there: {listed(classes)})")
    if len(set(names)) < len(names):
        raise WsssError(f"{where}: a class is named twice in {listed(names)}")
    return tuple(sorted(list(classes).index(name) for name in names))


def step_of(
    own: Sequence[str], disjoint: bool, before: Sequence[Sequence[str]], classes: Sequence[str], where: str
) -> Step:
    """The step that learns the classes ``own`` after steps of the classes ``before``.

    Raises:
        WsssError: A class is not in the dataset, or known already.
    """
    known = {name for names in before for name in names}
    if again := [name for name in own if name in known]:
        raise WsssError(f"{where}: {listed(again)} was learnt before; name new classes, or another warm_start")
    return Step(numbers(own, classes, where), numbers(sorted(known), classes, where), disjoint)


def in_reach(labels: np.ndarray, reliable: np.ndarray, outside: Outside) -> np.ndarray:
    """Labels of an exemplar as they are learnt: outside what is reliable all, none (255), or the background alone.

    Args:
        labels: uint8 (H, W).
        reliable: bool (H, W).
        outside: What becomes of the labels of other pixels.
    """
    if outside == "learn":
        return labels
    lost = ~reliable if outside == "ignore" else ~reliable & (labels > 0)
    return np.where(lost, np.uint8(IGNORE), labels)


def unpacked(memory: Exemplars, folder: Path, outside: Outside, known: Sequence[int]) -> list[Item]:
    """Write the exemplars of a memory as images and masks below ``folder``, and tell of them as of images.

    Raises:
        WsssError: An exemplar shows a class that is not among ``known``.
    """
    found = []
    for number, one in enumerate(memory):
        if strange := sorted(set(one.tags) - set(known)):
            raise WsssError(
                f"{memory.path}: exemplar {one.id!r} shows class number {strange[0]}, which the network of the step "
                "before does not know; name the memory of that network"
            )
        image, mask = (folder / f"{number:06d}{end}.png" for end in ("", "-mask"))
        for path, data in ((image, png(one.image())), (mask, encode_mask(labels_of(one, outside)))):
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        found.append(Item(f"{REPLAYED}{one.id}", "train", image, mask, *one.size, one.tags, False))
    return found


def labels_of(one: Exemplar, outside: Outside) -> np.ndarray:
    """The labels of an exemplar as they are learnt, uint8 (H, W)."""
    return in_reach(one.labels(), one.reliable(), outside)


def repeats(own: int, exemplars: int, share: float) -> int:
    """How often exemplars stand in the list of an epoch, so that ``share`` of it, drawn from them, leaves about as many
    draws for the ``own`` images as there are.

    Examples:
        >>> repeats(500, 7, 0.5), repeats(500, 900, 0.5), repeats(500, 100, 0.75)
        (71, 1, 15)
    """
    return max(1, round(own * share / (1 - share) / exemplars)) if exemplars else 0
