"""The dense CRF of a 375 x 500 picture, 10 iterations, beside pydensecrf."""

from __future__ import annotations

import numpy as np

from benchmarks.frame import Case, Kernel
from benchmarks.pictures import picture, probabilities
from wsss.refine.crf import DenseCRF, label_unary, refine_scores, score_unary
from wsss.settings import CRF_PRESETS, CrfSettings

PRUNE = 0.02  # as for predictions (wsss.stages.cams), which would load torch
LABELS, DEEPLAB = (CrfSettings.read(CRF_PRESETS[name]) for name in ("labels", "deeplab"))


def size_of(amount: float) -> tuple[int, int]:
    return round(375 * amount**0.5), round(500 * amount**0.5)


AGREEMENT = "labels differ on {:.4%} of pixels"


def share_that_differs(baseline: list[np.ndarray], ours: list[np.ndarray]) -> float:
    return np.mean([np.mean(a != b) for a, b in zip(baseline, ours, strict=True)])


def two_problems(amount: float) -> Case:
    """P-NOC's affinity labels: salient or not, then which of two classes or none."""
    size = size_of(amount)
    image = picture(size)
    unaries = [label_unary(probabilities(size, n, n, n).argmax(0), n, LABELS.confidence) for n in (2, 3)]

    def baseline() -> list[np.ndarray]:
        return [DenseCRF(image, LABELS, "pydensecrf").infer([unary])[0].argmax(0) for unary in unaries]

    def ours() -> list[np.ndarray]:
        return [found.argmax(0) for found in DenseCRF(image, LABELS, "native").infer(unaries)]

    return Case(baseline, ours, share_that_differs)


def many_labels(amount: float, keep_above: float | None) -> Case:
    """A segmentation network's probabilities, three of 21 labels likely."""
    size = size_of(amount)
    image, scores = picture(size), probabilities(size, 3, 21, 21)

    def baseline() -> list[np.ndarray]:
        return [DenseCRF(image, DEEPLAB, "pydensecrf").infer([score_unary(scores)])[0].argmax(0)]

    def ours() -> list[np.ndarray]:
        return [refine_scores(image, scores, DEEPLAB, keep_above)]

    return Case(baseline, ours, share_that_differs)


KERNELS = (
    Kernel(
        "crf-two-problems",
        "two pydensecrf calls",
        "dense CRF, two problems (2 and 3 labels)",
        AGREEMENT,
        two_problems,
    ),
    Kernel(
        "crf-21-pruned",
        "pydensecrf, all labels",
        "dense CRF, 21 labels, the likely ones",
        AGREEMENT,
        lambda amount: many_labels(amount, PRUNE),
    ),
    Kernel(
        "crf-21-exact",
        "pydensecrf",
        "dense CRF, 21 labels, all of them",
        AGREEMENT,
        lambda amount: many_labels(amount, None),
    ),
)
