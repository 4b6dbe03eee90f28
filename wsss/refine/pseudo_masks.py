"""Pseudo-labels: maps against a background score, then the dense CRF over the classes of the image's tags.

The background score is a constant, a constant for every class or map (see ``wsss.refine.thresholds``), the complement
of saliency (Xie et al. 2022), or saliency decides alone. With an ignore band the maps are read twice and what the two
readings disagree on is left out (IRN, Ahn et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss.data.palette import IGNORE
from wsss.refine.crf import DenseCRF, label_unary, score_unary
from wsss.refine.thresholds import Band
from wsss.settings import AffinityLabelSettings, CrfSettings, IgnoreBand

Background = float | np.ndarray
"""A constant; float (n,), a constant for every map; or float (H, W), a score for every pixel."""


def best_labels(maps: np.ndarray, background: Background) -> np.ndarray:
    """0 where no map exceeds the background score, k + 1 where map k is the largest of those that do.

    ``maps``: float32 (n, H, W); the background score is rounded to float32 first. A map that equals it does not exceed
    it; among equal maps the first wins. With a constant for every map, each map is compared with its own, so the
    largest map may yield to a smaller one that exceeds its lower threshold. Returns int64 (H, W).

    Examples:
        >>> maps = np.float32([[[0.9, 0.2, 0.3]], [[0.4, 0.6, 0.1]]])
        >>> best_labels(maps, 0.3)
        array([[1, 2, 0]])
        >>> best_labels(maps, np.array([0.95, 0.3]))  # a threshold for each map: the first one claims nothing
        array([[2, 2, 0]])
    """
    maps = maps.astype(np.float32, copy=False)
    limits = np.asarray(background, np.float32)
    if limits.ndim == 1:
        claims = np.where(maps > limits[:, None, None], maps, -1)
        planes = np.concatenate([np.full((1, *maps.shape[1:]), -0.5, np.float32), claims])
    else:
        planes = np.concatenate([np.broadcast_to(limits, (1, *maps.shape[1:])), maps])
    best: np.ndarray = planes.argmax(axis=0)
    return best


def object_or_not(saliency: np.ndarray, threshold: float) -> np.ndarray:
    """A background score that lets saliency alone decide: where it exceeds the threshold every map exceeds the score,
    elsewhere none does. ``saliency``: float (H, W), 0 to 1. Returns float32 (H, W).

    Examples:
        >>> score = object_or_not(np.float32([[0.6, 0.5]]), 0.5)
        >>> best_labels(np.float32([[[0.1, 0.9]], [[0.0, 1.0]]]), score)
        array([[1, 0]])
    """
    score: np.ndarray = np.where(saliency > np.float32(threshold), np.float32(-1), np.float32(np.inf))
    return score


def readings(
    maps: np.ndarray, backgrounds: Sequence[Background], image: np.ndarray | None = None, crf: CrfSettings | None = None
) -> list[np.ndarray]:
    """Labels int64 (H, W), 0 to n, of the same maps (n, H, W), n >= 1, read against several background scores.

    The dense CRF, where there is one, sees the background and all n maps, whether or not a map exceeds the background
    score anywhere; its lattice is built once for all readings. ``image``: uint8 (H, W, 3), needed with ``crf``.

    Examples:
        >>> strict, generous = readings(np.float32([[[0.9, 0.2, 0.0]]]), [0.4, 0.1])
        >>> strict, generous
        (array([[1, 0, 0]]), array([[1, 1, 0]]))
    """
    if crf is None:
        return [best_labels(maps, background) for background in backgrounds]
    if image is None:
        raise ValueError("the dense CRF needs the image")
    unaries = []
    for background in backgrounds:
        if crf.unary == "labels":
            unaries.append(label_unary(best_labels(maps, background), len(maps) + 1, crf.confidence))
        else:
            plane = np.broadcast_to(np.asarray(background, np.float32), (1, *maps.shape[1:]))
            unaries.append(score_unary(np.concatenate([plane, maps])))
    return [probabilities.argmax(axis=0) for probabilities in DenseCRF(image, crf).infer(unaries)]


def pseudo_mask(
    maps: np.ndarray,
    classes: np.ndarray,
    background: Background,
    image: np.ndarray | None = None,
    crf: CrfSettings | None = None,
) -> np.ndarray:
    """Mask of one image.

    ``maps``: float32 (n, H, W) in [0, 1]; ``classes``: int (n,), 0-based; the rest as for :func:`readings`. Returns
    uint8 (H, W): 0 background, c + 1 object class c; without classes all is background.

    Examples:
        >>> maps = np.float32([[[0.9, 0.2]], [[0.4, 0.6]]])
        >>> pseudo_mask(maps, classes=np.array([2, 14]), background=0.3)
        array([[ 3, 15]], dtype=uint8)
    """
    if len(maps) == 0:
        return np.zeros(maps.shape[1:], np.uint8)
    mask: np.ndarray = mask_values(classes)[readings(maps, [background], image, crf)[0]]
    return mask


def banded_mask(
    maps: np.ndarray,
    classes: np.ndarray,
    band: IgnoreBand | AffinityLabelSettings | Band,
    image: np.ndarray | None = None,
    crf: CrfSettings | None = None,
) -> np.ndarray:
    """Mask of one image with an ignore band.

    The maps are read against ``band.foreground`` and against ``band.background``, each with its own CRF: the class
    where the first sees an object, 0 where neither does, 255 elsewhere. Arguments and result as for
    :func:`pseudo_mask`.

    Examples:
        >>> from wsss.settings import IgnoreBand
        >>> banded_mask(np.float32([[[0.9, 0.2, 0.0]]]), np.array([2]), IgnoreBand(foreground=0.4, background=0.1))
        array([[  3, 255,   0]], dtype=uint8)
    """
    if len(maps) == 0:
        return np.zeros(maps.shape[1:], np.uint8)
    sure, generous = readings(maps, [band.foreground, band.background], image, crf)
    return np.where((sure == 0) & (generous > 0), np.uint8(IGNORE), mask_values(classes)[sure])


def mask_values(classes: np.ndarray) -> np.ndarray:
    """Mask value of each label: uint8 (n + 1,).

    Examples:
        >>> mask_values(np.array([2, 14]))
        array([ 0,  3, 15], dtype=uint8)
    """
    return np.concatenate([[0], np.asarray(classes) + 1]).astype(np.uint8)
