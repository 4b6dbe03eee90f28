"""Affinity labels: the pixels of an image that maps (and saliency) are sure of, as a class, background, or 255."""

from __future__ import annotations

import numpy as np

from wsss.data.palette import IGNORE
from wsss.refine.pseudo_masks import banded_mask, mask_values, readings
from wsss.refine.thresholds import otsu_band, otsu_of_each
from wsss.settings import AffinityLabelSettings


def labels_with_saliency(
    maps: np.ndarray,
    classes: np.ndarray,
    saliency: np.ndarray,
    settings: AffinityLabelSettings,
    image: np.ndarray | None = None,
) -> np.ndarray:
    """Saliency says what is background, the maps say which class the rest is (P-NOC, David et al. 2024).

    The salient region is saliency above ``settings.background``, after its own CRF of two labels. Outside it all is 0.
    Inside, maps that exceed ``settings.foreground`` name the class, again after a CRF; salient pixels that no class
    claims are 255. With policy ``otsu`` both are Otsu's thresholds, of the saliency map and of each whole map.

    Args:
        maps: float32 (n, H, W) in [0, 1].
        classes: int (n,), 0-based.
        saliency: float32 (H, W) in [0, 1].
        settings: Thresholds and CRF.
        image: uint8 (H, W, 3), needed with a CRF.

    Returns:
        uint8 (H, W): 0 background, c + 1 object class c, 255.

    Examples:
        >>> from wsss.settings import AffinityLabelSettings
        >>> settings = AffinityLabelSettings(foreground=0.4, background=0.1, crf=None)
        >>> maps, saliency = np.float32([[[0.9, 0.2, 0.9]]]), np.float32([[0.8, 0.8, 0.0]])
        >>> labels_with_saliency(maps, np.array([4]), saliency, settings)  # sure, salient but unclaimed, background
        array([[  5, 255,   0]], dtype=uint8)
    """
    by_otsu = settings.policy == "otsu"
    limit = otsu_of_each(saliency[None]) if by_otsu else settings.background
    (salient,) = readings(saliency[None], [limit], image, settings.crf)
    if not len(maps):
        return np.where(salient > 0, IGNORE, 0).astype(np.uint8)
    limits = otsu_of_each(maps) if by_otsu else settings.foreground
    (found,) = readings(maps * salient.astype(np.float32), [limits], image, settings.crf)
    return np.where((found == 0) & (salient > 0), IGNORE, mask_values(classes)[found]).astype(np.uint8)


def labels_by_thresholds(
    maps: np.ndarray, classes: np.ndarray, settings: AffinityLabelSettings, image: np.ndarray | None = None
) -> np.ndarray:
    """The maps are read twice, strictly and generously (IRN, Ahn et al. 2019), each with its own CRF.

    Where the strict reading (background score ``settings.foreground``) sees a class it is that class; where neither it
    nor the generous one (``settings.background``) sees any it is 0; else 255. With policy ``otsu`` the scores are those
    of ``wsss.refine.thresholds.otsu_band``. Without classes all is 0. Arguments and result as for
    :func:`labels_with_saliency`.

    Examples:
        >>> from wsss.settings import AffinityLabelSettings
        >>> settings = AffinityLabelSettings(foreground=0.4, background=0.1, crf=None)
        >>> labels_by_thresholds(np.float32([[[0.9, 0.2, 0.0]]]), np.array([4]), settings)
        array([[  5, 255,   0]], dtype=uint8)
    """
    band = otsu_band(maps) if settings.policy == "otsu" else settings
    return banded_mask(maps, classes, band, image, settings.crf)
