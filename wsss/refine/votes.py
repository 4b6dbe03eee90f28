"""Votes: pseudo-labels that several others decide on, pixel by pixel. A vote of 255 (ignore) is an abstention."""

from __future__ import annotations

import numpy as np

from wsss.data.palette import IGNORE

LOST = 0.25
"""Share of the pixels that members have of a class on average, below which a vote has as good as lost the class."""


def majority(masks: np.ndarray) -> np.ndarray:
    """The label that most members give; 255 where two or more labels lead, or all members abstain.

    ``masks``: uint8 (M, H, W); returns uint8 (H, W).

    Examples:
        >>> majority(np.uint8([[[1, 1, 0]], [[1, 2, 255]], [[0, 3, 255]]]))  # the second pixel is a tie
        array([[  1, 255,   0]], dtype=uint8)
    """
    labels = np.setdiff1d(masks, [IGNORE])
    if not len(labels):
        return np.full(masks.shape[1:], IGNORE, np.uint8)
    votes = np.stack([(masks == label).sum(axis=0) for label in labels])
    most = votes.max(axis=0)
    decided = (most > 0) & ((votes == most).sum(axis=0) == 1)
    return np.where(decided, labels[votes.argmax(axis=0)], IGNORE).astype(np.uint8)


def agreement(masks: np.ndarray) -> np.ndarray:
    """The label that all members give who do not abstain; 255 where they differ, or all abstain.

    ``masks``: uint8 (M, H, W); returns uint8 (H, W).

    Examples:
        >>> agreement(np.uint8([[[1, 1, 0]], [[1, 2, 255]]]))
        array([[  1, 255,   0]], dtype=uint8)
    """
    low, high = masks.min(axis=0), np.where(masks == IGNORE, 0, masks).max(axis=0)
    return np.where(low == high, low, IGNORE).astype(np.uint8)


RULES = {"majority": majority, "agreement": agreement}
