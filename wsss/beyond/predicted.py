"""How far two predictions of a network agree."""

from __future__ import annotations

import numpy as np
import torch

from wsss.evaluate.confusion import confusion, mean_iou, plain


def labels_of(logits: torch.Tensor) -> torch.Tensor:
    """What is predicted: int64 (H, W) of (1, C + 1, H, W), bool (C,) of (1, C)."""
    return logits[0].argmax(0) if logits.ndim == 4 else logits[0] > 0


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """Share of pixels (or classes) with the same prediction.

    Examples:
        >>> agreement(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 1, 0]))
        0.75
    """
    return float((a == b).double().mean())


def region_iou(a: torch.Tensor, b: torch.Tensor, number: int) -> float:
    """IoU of a class's predicted pixels (class from 0, label one more); of two classifiers' predictions, of the sets of
    predicted classes. 1 where both are empty."""
    if a.dtype != torch.bool:
        a, b = a == number + 1, b == number + 1
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def image_miou(labels: torch.Tensor, truth: np.ndarray, classes: int) -> float | None:
    """Mean IoU of one image's prediction (H, W) with its ground-truth mask of the same size, over the classes in
    either; None where nothing is labelled."""
    return plain(mean_iou(confusion(truth, labels.cpu().numpy(), classes)))


def entropy(logits: torch.Tensor) -> float:
    """Entropy of the prediction in nats, mean over pixels (of a softmax) or classes (of Bernoulli variables)."""
    if logits.ndim == 4:
        p = logits.double().softmax(1)
        return float(-torch.special.xlogy(p, p).sum(1).mean())
    p = logits.double().sigmoid()
    return float(-(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)).mean())


def confidence(logits: torch.Tensor) -> float:
    """Largest probability, mean over pixels; of a classifier, mean over classes of the likelier answer."""
    if logits.ndim == 4:
        return float(logits.double().softmax(1).amax(1).mean())
    p = logits.double().sigmoid()
    return float(torch.maximum(p, 1 - p).mean())
