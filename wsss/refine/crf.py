"""Fully connected conditional random field ("dense CRF") that pulls label borders to image borders.

Kraehenbuehl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011. Every
pair of pixels i, j pays ``k(i, j)`` when their labels differ, with

    k(i, j) = w_b exp(-|p_i - p_j|^2 / (2 s_xy^2) - |I_i - I_j|^2 / (2 s_rgb^2)) + w_g exp(-|p_i - p_j|^2 / (2 s_g^2)),

p in pixels, I in grey levels (0 to 255), each kernel normalised symmetrically. Mean field: Q starts as softmax(-U) and
is replaced ``iterations`` times by softmax(-U + K Q). The Gaussian sums run on a permutohedral lattice (Adams, Baek and
Davis 2010), which approximates them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss.errors import WsssError
from wsss.refine.crf_backends import BACKENDS, usual_backend
from wsss.settings import CrfSettings

VERSION = 1
CLIP = 1e-5
"""Smallest probability that a score unary tells apart from 0."""
LARGEST = 1e30
"""Largest energy, of either sign: differences and sums of energies stay finite."""


def label_unary(labels: np.ndarray, count: int, confidence: float) -> np.ndarray:
    """Energies that trust a label map: -log(confidence) at the label, -log((1 - confidence) / (count - 1)) elsewhere.

    ``labels``: integers (H, W) in [0, count); ``confidence`` in (0, 1). Returns float32 (count, H, W); with one label
    there is nothing to choose and all energies are 0. Raises ``ValueError`` for labels out of range.

    Examples:
        >>> label_unary(np.array([[0, 1]]), count=2, confidence=0.8)[:, 0].round(2)  # -log 0.8 and -log 0.2
        array([[0.22, 1.61],
               [1.61, 0.22]], dtype=float32)
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, expected 0 to {count - 1}")
    if count == 1:
        return np.zeros((1, *labels.shape), np.float32)
    unary = np.full((count, *labels.shape), -np.log((1.0 - confidence) / (count - 1)), np.float32)
    np.put_along_axis(unary, labels[None].astype(np.int64), np.float32(-np.log(confidence)), axis=0)
    return unary


def score_unary(scores: np.ndarray) -> np.ndarray:
    """Energies -log(p) with p the share of each label in ``scores``, non-negative (L, H, W), at least 1e-5.

    Probabilities stay as they are; other scores (a constant and activation maps, say) are divided by their sum over
    the labels, which the field would not notice but for the clipping. Returns float32 (L, H, W).

    Examples:
        >>> score_unary(np.float32([[[0.3]], [[0.9]]])).ravel().round(2)  # -log of 1/4 and of 3/4
        array([1.39, 0.29], dtype=float32)
    """
    scores = np.asarray(scores, np.float32)
    share = scores / np.maximum(scores.sum(axis=0, keepdims=True), np.finfo(np.float32).tiny)
    energies: np.ndarray = -np.log(np.clip(share, CLIP, 1.0))
    return energies


class DenseCRF:
    """The field over one image; any number of problems share what is built for it.

    ``image``: uint8 (H, W, 3), RGB. ``backend``: a name of ``BACKENDS``; None: the project's own, or ``pydensecrf``
    where it is not built. Raises ``ValueError`` for another image, :class:`WsssError` when the backend is not
    installed or cannot work with these settings. With ``native``, several threads may build and use fields at once,
    the same one too.

    Examples:
        >>> from wsss.settings import CrfSettings
        >>> image = np.zeros((20, 20, 3), np.uint8)
        >>> image[:, 10:] = 255  # black on the left, white on the right
        >>> labels = (image[..., 0] > 0).astype(int)
        >>> labels[5, 5] = 1  # one wrong pixel
        >>> (probabilities,) = DenseCRF(image, CrfSettings()).infer([label_unary(labels, 2, 0.7)])
        >>> int(labels.sum()), int(probabilities.argmax(axis=0).sum())
        (201, 200)
    """

    def __init__(self, image: np.ndarray, settings: CrfSettings, backend: str | None = None) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"the image must be uint8 (H, W, 3), not {image.dtype} {image.shape}")
        self.backend = usual_backend() if backend is None else backend
        if self.backend not in BACKENDS:
            raise WsssError(f"unknown CRF backend {backend!r}; allowed: {', '.join(BACKENDS)}")
        self.shape = image.shape[:2]
        self.settings = settings
        self._solve = BACKENDS[self.backend](np.ascontiguousarray(image), settings)

    def infer(self, unaries: Sequence[np.ndarray], iterations: int | None = None) -> list[np.ndarray]:
        """Mean-field probabilities of each problem, the same whatever others are solved beside it.

        ``unaries``: float32 energies (L, H, W), finite, L >= 1 (may differ between problems); ``iterations``: default
        as in the settings; 0 gives softmax(-U). Returns float32 (L, H, W) that sum to 1 over L. Raises ``ValueError``.
        """
        iterations = self.settings.iterations if iterations is None else iterations
        if iterations < 0:
            raise ValueError(f"iterations must not be negative: {iterations}")
        ready = []
        for unary in unaries:
            if unary.ndim != 3 or not len(unary) or unary.shape[1:] != self.shape:
                raise ValueError(f"a unary must be (L, {self.shape[0]}, {self.shape[1]}), not {unary.shape}")
            ready.append(unary.astype(np.float32, copy=False))
            if not max(ready[-1].max(), -ready[-1].min()) <= LARGEST:
                raise ValueError(f"a unary holds NaN or infinite energies, or larger ones than {LARGEST:g}")
        solved = iter(self._solve([unary for unary in ready if len(unary) > 1], iterations))
        return [np.ones_like(unary) if len(unary) == 1 else next(solved) for unary in ready]


def prepare(settings: CrfSettings | None) -> dict[str, str]:
    """What the manifest of a stage says of its CRF: ``crf_backend``; nothing where there is none.

    Raises :class:`WsssError` where no backend is installed: better now than at the first image.
    """
    if settings is None:
        return {}
    return {"crf_backend": DenseCRF(np.zeros((1, 1, 3), np.uint8), settings).backend}


def holds_no_lock(settings: CrfSettings | None) -> bool:
    """Whether there is a CRF, and threads of one process can compute it at the same time."""
    return settings is not None and usual_backend() == "native"


def refine_scores(
    image: np.ndarray, scores: np.ndarray, settings: CrfSettings, keep_above: float | None = None
) -> np.ndarray:
    """Most probable label of every pixel after the dense CRF.

    ``image``: uint8 (H, W, 3); ``scores``: float32 (L, H, W), non-negative, label 0 first; ties go to the first.
    ``settings.unary`` says whether the labels or the scores are believed. ``keep_above``: leave out labels whose
    largest score is not above it and that are nowhere the best: 10 to 27 times faster with 21 to 81 labels, and
    0.01 to 0.05 % of the labels change (0.02 is a good value for probabilities; null: all labels take part).
    Returns int64 (H, W) with values in [0, L).
    """
    best = scores.argmax(axis=0)
    kept = np.arange(len(scores))
    if keep_above is not None:
        kept = np.union1d(kept[scores.max(axis=(1, 2)) > keep_above], np.unique(best))
    if len(kept) == 1:
        return np.full(best.shape, kept[0], np.int64)
    if settings.unary == "labels":
        unary = label_unary(np.searchsorted(kept, best), len(kept), settings.confidence)
    else:
        unary = score_unary(scores[kept])
    (probabilities,) = DenseCRF(image, settings).infer([unary])
    labels: np.ndarray = kept[probabilities.argmax(axis=0)]
    return labels
