"""Which images a training sees when: the order of each epoch, and how often each image is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from wsss.data.index import Item
from wsss.errors import WsssError

Visit = tuple[int, int]
"""(epoch, position in the list of items); together they decide the view."""

VIEW, ORDER = 1, 2
"""Ends a stream's key, so that views and order never share one. (A key that ends with 0 equals the key without it.)"""


class Order(Sampler[list[Visit]]):
    """Positions of every micro-batch from micro-step ``start`` to the end of the training.

    Each epoch is a new permutation; the last incomplete batch of an epoch is dropped (published recipes do so, and
    batch statistics stay comparable). With several devices each takes its own slice of the same global batch.

    With ``chances``, float64 (length,) of sum 1, an epoch is that many independent draws instead. What is drawn for the
    n-th time in an epoch is viewed as if in the epoch ``epoch + n epochs``, so no view is seen twice.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        epochs: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
        chances: np.ndarray | None = None,
    ) -> None:
        if length < batch_size:
            raise WsssError(
                f"only {length} training images for a batch of {batch_size}; lower batch_size to at most {length}"
            )
        if batch_size % ranks:
            raise WsssError(f"a batch of {batch_size} cannot be shared evenly by {ranks} devices; choose a multiple")
        self.length, self.batch_size, self.epochs, self.seed = length, batch_size, epochs, seed
        self.start, self.rank, self.ranks = start, rank, ranks
        self.per_epoch = length // batch_size
        self.chances = chances

    def __len__(self) -> int:
        return self.per_epoch * self.epochs - self.start

    def __iter__(self) -> Iterator[list[Visit]]:
        share = self.batch_size // self.ranks
        for epoch in range(self.start // self.per_epoch, self.epochs):
            order = self._epoch(epoch)
            first = self.start % self.per_epoch if epoch == self.start // self.per_epoch else 0
            for step in range(first, self.per_epoch):
                begin = step * self.batch_size + self.rank * share
                yield order[begin : begin + share]

    def _epoch(self, epoch: int) -> list[Visit]:
        rng = np.random.default_rng((self.seed, epoch, 0, ORDER))
        if self.chances is None:
            return [(epoch, int(p)) for p in rng.permutation(self.length)]
        visits: list[Visit] = []
        drawn: Counter[int] = Counter()
        for p in map(int, rng.choice(self.length, self.length, p=self.chances)):
            visits.append((epoch + drawn[p] * self.epochs, p))
            drawn[p] += 1
        return visits


def class_counts(items: list[Item], classes: int) -> npt.NDArray[np.int64]:
    """Number of items that have each class, int64 (C,)."""
    counts = np.zeros(classes, np.int64)
    for item in items:
        counts[list(item.labels)] += 1
    return counts


def balanced_chances(items: list[Item], classes: int) -> npt.NDArray[np.float64]:
    """Chance of each item, float64 (N,), sum 1, when a class is drawn first and then one of its items, each alike.

    P(i) = (1 / C') sum over the classes c of i of 1 / n_c, with C' the number of classes that occur. Every item must
    have a label: one without would never be drawn.
    """
    counts = class_counts(items, classes)
    chances: npt.NDArray[np.float64] = np.array([(1 / counts[list(item.labels)]).sum() for item in items])
    normalised: npt.NDArray[np.float64] = chances / chances.sum()
    return normalised


def masked_chances(
    masked: npt.NDArray[np.bool_], share: float, chances: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64] | None:
    """Chance of each image in a draw with repetition, float64 (N,), such that those with a mask are a ``share`` of it.

    Args:
        masked: Which have a mask, bool (N,).
        share: Above 0 and below 1.
        chances: As they were without, float64 (N,); None: all alike.

    Returns:
        ``chances`` itself where all have a mask, or none.
    """
    if masked.all() or not masked.any():
        return chances
    each = np.full(len(masked), 1 / len(masked)) if chances is None else chances
    parts = np.where(masked, share / each[masked].sum(), (1 - share) / each[~masked].sum())
    drawn: npt.NDArray[np.float64] = each * parts / (each * parts).sum()
    return drawn
