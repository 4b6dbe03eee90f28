"""How alike the weights of a head's classes are (David, Pedrini and Dias 2023, figures of kernel usage)."""

from __future__ import annotations

import torch


def weight_correlation(weight: torch.Tensor) -> float | None:
    """Mean over pairs of classes of the size of the correlation of their weights, in [0, 1]: near 0 where each channel
    is used by few classes. None for one class, or for classes with constant weights alone.

    Args:
        weight: W floating (C, K), with kernel usage regularisation the effective one.
    """
    if len(weight) < 2:
        return None
    centred = weight.double() - weight.double().mean(1, keepdim=True)
    length = centred.norm(dim=1)
    known = length > 0
    if int(known.sum()) < 2:
        return None
    unit = centred[known] / length[known, None]
    sizes = (unit @ unit.T).abs()
    pairs = torch.ones_like(sizes, dtype=torch.bool).triu(1)
    return float(sizes[pairs].mean())
