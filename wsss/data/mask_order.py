"""Whether masks number the classes as the configuration does, judged by the tags: where a mask shows a value, its image
should have that class as a tag.

A disagreement is a pair of image and class that has the tag and not the pixels, or the pixels and not the tag. With the
wrong order of classes most pairs disagree, with noisy tags some do; so another order is proposed only where it halves
the disagreements at least.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IMAGES = 3
"""Images with a mask, at least, and so many with a disagreement that is gone in the other order."""


@dataclass(frozen=True)
class OtherOrder:
    """An order of classes that fits the masks much better.

    Attributes:
        order: The class (its number in the present order, from 0) of mask value 1, 2, ..., C.
        before: Disagreements in the present order, ``after``: in this one.
        pairs: Pairs of image and class that have the tag.
    """

    order: tuple[int, ...]
    before: int
    after: int
    pairs: int


def disagreements(tagged: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Images in which a mask value and a tag disagree.

    Args:
        tagged: bool (N, C): image n has class c as a tag.
        shown: bool (N, C): the mask of image n has pixels of value v + 1.

    Returns:
        int64 (C, C): entry (v, c) counts the images that have exactly one of value v + 1 and tag c.
    """
    tags, values = tagged.astype(np.int64), shown.astype(np.int64)
    both = values.T @ tags
    found: np.ndarray = values.sum(axis=0)[:, None] + tags.sum(axis=0)[None] - 2 * both
    return found


def other_order(tagged: np.ndarray, shown: np.ndarray) -> OtherOrder | None:
    """The order of classes with the fewest disagreements, if it is another one and has at most half of those of the
    present order, ``IMAGES`` fewer at least; among equal ones that which moves the fewest classes.

    ``tagged`` and ``shown``: see ``disagreements``."""
    from scipy.optimize import linear_sum_assignment  # seldom needed, and slow to import

    images, classes = tagged.shape
    if images < IMAGES:
        return None
    cost = disagreements(tagged, shown)
    # staying decides between equal ones: C diagonal entries together weigh less than one disagreement
    values, order = linear_sum_assignment(cost * (classes + 1) - np.eye(classes, dtype=np.int64))
    before, after = int(np.trace(cost)), int(cost[values, order].sum())
    wrong = (tagged != shown).any(axis=1)
    still = (tagged[:, order] != shown).any(axis=1)
    if 2 * after > before or int((wrong & ~still).sum()) < IMAGES:
        return None
    return OtherOrder(tuple(order.tolist()), before, after, int(tagged.sum()))


def mask_order_problem(classes: Sequence[str], other: OtherOrder) -> str:
    """What is wrong, in words."""
    now, then = (", ".join(f"{value} {name}" for value, name in enumerate(names, 1))
                 for names in (classes, [classes[c] for c in other.order]))  # fmt: skip
    return (
        f"mask values and tags disagree {other.before} times on {other.pairs} tags with {now}, and only {other.after} "
        f"times with {then}"
    )


def mask_order_cure(classes: Sequence[str], other: OtherOrder) -> str:
    """How to fix it, in words."""
    order = json.dumps([classes[c] for c in other.order], ensure_ascii=False)
    return (
        f"if that is the order of the masks, write 'classes: {order}' in the dataset's settings; if the present one is "
        "right, fix the tags, or write 'mask_order: trust'"
    )
