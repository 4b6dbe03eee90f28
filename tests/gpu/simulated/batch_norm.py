"""What torch has for GPUs alone, written for the CPU from the definitions: batch normalisation in parts."""

from __future__ import annotations

import torch


def _spread(vector: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return vector.view(1, -1, *[1] * (like.ndim - 2))


def _sums(values: torch.Tensor) -> torch.Tensor:
    return values.sum((0, *range(2, values.ndim)))


def batch_norm_stats(x, eps):
    """Mean and 1 / sqrt(variance + eps) of each channel."""
    count = x.numel() / x.shape[1]
    mean = _sums(x) / count
    return mean, (_sums((x - _spread(mean, x)) ** 2) / count + eps).rsqrt()


def batch_norm_gather_stats_with_counts(x, means, scales, running_mean, running_var, momentum, eps, counts):
    """The same of all parts together, from those of the parts (P, C); running statistics follow."""
    weights, count = counts[:, None] / counts.sum(), counts.sum()
    mean = (weights * means).sum(0)
    variance = (weights * (scales**-2 - eps + (means - mean) ** 2)).sum(0)
    if running_mean is not None:
        running_mean.mul_(1 - momentum).add_(momentum * mean)
        running_var.mul_(1 - momentum).add_(momentum * variance * count / (count - 1))
    return mean, (variance + eps).rsqrt()


def batch_norm_elemt(x, weight, bias, mean, scale, eps):
    """(x - mean) scale weight + bias."""
    normal = (x - _spread(mean, x)) * _spread(scale, x)
    return normal if weight is None else normal * _spread(weight, x) + _spread(bias, x)


def batch_norm_backward_reduce(gradient, x, mean, scale, weight, of_input, of_weight, of_bias):
    """Sums of the gradient, of gradient x (x - mean), and the gradients of weight and bias."""
    along, across = _sums(gradient), _sums(gradient * (x - _spread(mean, x)))
    return along, across, across * scale if of_weight else None, along if of_bias else None


def batch_norm_backward_elemt(gradient, x, mean, scale, weight, along, across, counts):
    """The gradient of x, from the sums over all parts."""
    count = counts.sum()
    found = gradient - _spread(along / count, x) - (x - _spread(mean, x)) * _spread(scale**2 * across / count, x)
    return found * _spread(scale if weight is None else scale * weight, x)
