"""Class probabilities of pixels, limited to the classes that an image is likely to hold.

A segmentation network that saw few images knows where objects are better than which class they have; a classifier of
the same images knows the class better. What the network takes for an object stays one: the probability of the classes
that are left out goes to those that stay.
"""

from __future__ import annotations

import numpy as np


def likely(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Which classes stay, bool (C,): those whose tag probability, float (C,), reaches the threshold, and in any case
    the most probable one, of equal ones the first.

    Examples:
        >>> likely(np.array([0.05, 0.25, 0.6]), 0.2)
        array([False,  True,  True])
        >>> likely(np.array([0.01, 0.02, 0.03]), 0.2)
        array([False, False,  True])
    """
    stays: np.ndarray = probabilities >= threshold
    stays[probabilities.argmax()] = True
    return stays


def limited(scores: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """Probabilities in which the classes that do not stay have none, and those that do share theirs in proportion:
    q_c = p_c (1 - p_0) / sum of p over those that stay; the background keeps p_0.

    ``scores``: float32 (C + 1, H, W), background first, of sum 1; ``stays``: bool (C,). Where no class that stays has
    any, the background has it all. Returns float32 (C + 1, H, W).

    Examples:
        >>> scores = np.float32([0.4, 0.3, 0.2, 0.1]).reshape(4, 1, 1)
        >>> limited(scores, np.array([True, False, True])).ravel().round(2)
        array([0.4 , 0.45, 0.  , 0.15], dtype=float32)
    """
    kept = scores[1:] * stays[:, None, None]
    among = kept.sum(0)
    found = among > 0
    kept *= np.divide(1 - scores[0], among, out=np.zeros_like(among), where=found)
    background = np.where(found, scores[0], np.float32(1))
    result: np.ndarray = np.concatenate([background[None], kept])
    return result
