"""The multi-label loss that all classifiers share."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from wsss.compute.devices import upload
from wsss.settings import ClassifierSettings

HEAVIEST = 100.0
"""Largest weight of ``positive_weight: balanced``, and the inverse of its smallest: one tag of a class with a handful
of images must not decide a step, and a class that every image has must still be learnt."""


def smooth(labels: torch.Tensor, amount: float) -> torch.Tensor:
    """Smoothed targets (1 - a) y + a/2: with a = 0.1 they are 0.05 and 0.95.

    Examples:
        >>> smooth(torch.tensor([0.0, 1.0]), 0.1)
        tensor([0.0500, 0.9500])
    """
    return labels * (1 - amount) + amount / 2


def classification_loss(
    scores: torch.Tensor, targets: torch.Tensor, positive_weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean binary cross entropy with logits over images and classes, in fp32 (equals the multi-label soft margin).

    l = mean of -(w_c y' log s(z) + (1 - y') log(1 - s(z))).

    Args:
        scores: Logits (B, C).
        targets: (B, C) in [0, 1], smoothed or not.
        positive_weight: w (C,) above 0; None: 1.

    Examples:
        >>> scores, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]])
        >>> classification_loss(scores, targets)  # (log 2 + log(1 + e^-2)) / 2
        tensor(0.4100)
    """
    return F.binary_cross_entropy_with_logits(scores.float(), targets, pos_weight=positive_weight)


def positive_weights(wanted: str | float | None, classes: int, frequencies: torch.Tensor | None) -> torch.Tensor | None:
    """Weights (C,) that a setting ``positive_weight`` stands for; None: no weights.

    Args:
        wanted: A number for all classes, or ``balanced``: (1 - f) / f of each class, kept within 1 / ``HEAVIEST``
            and ``HEAVIEST``.
        classes: C.
        frequencies: Share f of the training images that have each class, (C,) in [0, 1].

    Raises:
        ValueError: ``balanced`` without frequencies.

    Examples:
        >>> positive_weights("balanced", 3, torch.tensor([0.5, 0.1, 0.001]))  # 1:1, 9:1, at most 100
        tensor([  1.,   9., 100.])
    """
    if wanted is None:
        return None
    if wanted != "balanced":
        return torch.full((classes,), float(wanted))
    if frequencies is None:
        raise ValueError("positive_weight: balanced needs the frequencies of the classes")
    return ((1 - frequencies) / frequencies).clamp(1 / HEAVIEST, HEAVIEST).float()


class Classification:
    """The classification loss as a recipe sets it: l(z, y') with its smoothing and its weights of positives.

    Args:
        settings: The recipe.
        classes: C.
        frequencies: As for ``positive_weights``.

    Examples:
        >>> from wsss.settings import VanillaSettings
        >>> loss = Classification(VanillaSettings(label_smoothing=0.0), classes=2)
        >>> loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]]))
        tensor(0.4100)
    """

    def __init__(self, settings: ClassifierSettings, classes: int, frequencies: torch.Tensor | None = None) -> None:
        self.smoothing = settings.label_smoothing
        self.weights = positive_weights(settings.positive_weight, classes, frequencies)

    def __call__(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scalar loss of logits (B, C) for raw labels (B, C) in {0, 1}."""
        if self.weights is not None:
            self.weights = upload(self.weights, scores.device)
        return classification_loss(scores, smooth(labels, self.smoothing), self.weights)
