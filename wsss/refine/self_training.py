"""Labels that trained segmentation networks correct: tag-restricted predictions, mixed with the masks at hand.

For an image with tags K, over the labels L = {background} + K, at every pixel:

    q  mean of the networks' probabilities (over networks, scales and mirror), restricted to L and divided by its sum,
    o  0.9 one-hot(prior) + 0.1 / |L|, and 1 / |L| where the prior has no label of L (255 ignore, say),
    s  (1 - w) q + w o,

and the new label is the argmax of the dense CRF with unary -log s, or of s itself. Labels that are not tags cannot
appear.

Sources: that predictions on the training images, restricted to their tags, become the masks of the next training is as
old as PSA (Ahn and Kwak, CVPR 2018, retraining) and cyclic pseudo-masks (Li et al., PMM, ICCV 2021); what is left out
because two sources disagree, as in ORANDNet and ST++ (Yang et al., CVPR 2022); the guard against tags that vanish is
that of ADELE (Liu et al., CVPR 2022), which corrects masks where a network is sure. The mixture is this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wsss.data.palette import IGNORE
from wsss.refine.crf import refine_scores
from wsss.settings import SegmenterMasksSettings

TRUST = 0.9
"""Share of a prior's label in its distribution; the rest is spread evenly over all labels."""
KEPT = 0.5
"""A tag that is left with less than this share of its pixels in the prior ..."""
SMALL = 0.05
"""... and with less than this share of the image gets its pixels of the prior back."""


class Corrected(NamedTuple):
    """``mask``: uint8 (H, W), 0 background, c + 1 the object class c, 255 left out; ``guarded``: number of tags that
    got their pixels of the prior back."""

    mask: np.ndarray
    guarded: int


def labels_of(classes: Sequence[int]) -> np.ndarray:
    """Mask values of the background and the tagged classes, uint8 (|K| + 1,)."""
    return np.array([0, *(c + 1 for c in classes)], np.uint8)


def restrict(probabilities: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """q: probabilities of background and tags alone, divided by their sum.

    ``probabilities``: float (C + 1, H, W), at least 0, background first; ``classes``: tagged classes, from 0.
    Returns float32 (|K| + 1, H, W) that sum to 1 over the labels; where all of these are 0, they become equal.

    Examples:
        >>> restrict(np.float32([[[0.2]], [[0.5]], [[0.3]]]), [1]).ravel()  # class 0 is not tagged
        array([0.4, 0.6], dtype=float32)
    """
    kept = np.asarray(probabilities[labels_of(classes)], np.float32)
    total = kept.sum(axis=0, keepdims=True)
    share = kept / np.maximum(total, np.finfo(np.float32).tiny)
    return np.where(total > 0, share, np.float32(1 / len(kept)))


def soft_prior(prior: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """o: what a mask says of background and tags; nothing where its value is none of them.

    ``prior``: uint8 (H, W); ``classes``: tagged classes, from 0. Returns float32 (|K| + 1, H, W) that sum to 1 over
    the labels.

    Examples:
        >>> soft_prior(np.uint8([[0, 2, 255]]), [1])[:, 0]
        array([[0.95, 0.05, 0.5 ],
               [0.05, 0.95, 0.5 ]], dtype=float32)
    """
    labels = labels_of(classes)
    one_hot = prior[None] == labels[:, None, None]
    soft = TRUST * one_hot + (1 - TRUST) / len(labels)
    return np.where(one_hot.any(axis=0), soft, 1 / len(labels)).astype(np.float32)


def corrected_mask(
    q: np.ndarray,
    classes: Sequence[int],
    prior: np.ndarray | None,
    image: np.ndarray | None,
    settings: SegmenterMasksSettings,
) -> Corrected:
    """The new mask of an image: mixture, dense CRF, what is left out, guard, in this order.

    With ``ignore: agreement`` a pixel whose new label differs from the prior's value (255 differs from every label)
    is left out where ``max q < sure``. The guard compares numbers of pixels of a tag in the mask that would be written
    and in the prior; all tags are counted before any gets its pixels back. An image without tags is all background.

    Args:
        q: float32 (|K| + 1, H, W), as ``restrict`` gives it.
        classes: Tagged classes K, from 0.
        prior: uint8 (H, W), or None: ``prior_weight`` counts as 0, and nothing is left out or guarded.
        image: uint8 (H, W, 3); needed for a dense CRF.
        settings: ``prior_weight``, ``crf``, ``ignore``, ``sure`` and ``guard`` are used.

    Raises:
        ValueError: Sizes differ, or there is a CRF and no image.

    Examples:
        >>> q = np.float32([[[0.3, 0.95, 0.2]], [[0.7, 0.05, 0.8]]])
        >>> settings = SegmenterMasksSettings(segmenters=("a",), prior="b", crf=None, guard=False, prior_weight=0.1)
        >>> corrected_mask(q, [0], np.uint8([[1, 1, 0]]), None, settings).mask  # the second is sure, the third is not
        array([[  1,   0, 255]], dtype=uint8)
    """
    size = q.shape[1:]
    if prior is not None and prior.shape != size:
        raise ValueError(f"the prior is {prior.shape}, the probabilities are {size}")
    if not len(classes):
        return Corrected(np.zeros(size, np.uint8), 0)
    weight = np.float32(0 if prior is None else settings.prior_weight)
    scores = q if prior is None else (1 - weight) * q + weight * soft_prior(prior, classes)
    if settings.crf is None:
        best = scores.argmax(axis=0)
    elif image is None:
        raise ValueError("a dense CRF needs the image")
    else:
        best = refine_scores(image, scores, settings.crf)
    mask = labels_of(classes)[best]
    if prior is None:
        return Corrected(mask, 0)
    if settings.ignore == "agreement":
        mask[(mask != prior) & (q.max(axis=0) < settings.sure)] = IGNORE
    lost = vanishing(mask, prior, classes) if settings.guard else []
    for label in lost:
        mask[prior == label] = label
    return Corrected(mask, len(lost))


def vanishing(mask: np.ndarray, prior: np.ndarray, classes: Sequence[int]) -> list[int]:
    """Mask values of the tags that have less than ``KEPT`` of their pixels in the prior, and less than ``SMALL`` of
    the image. Both masks uint8 (H, W).

    Examples:
        >>> vanishing(np.zeros((10, 10), np.uint8), np.uint8([[1] * 10] * 10), [0, 1])  # the prior has no label 2
        [1]
    """
    found = []
    for label in (c + 1 for c in classes):
        now, before = (int((one == label).sum()) for one in (mask, prior))
        if now < KEPT * before and now < SMALL * mask.size:
            found.append(label)
    return found
