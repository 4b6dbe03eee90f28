"""Batch normalisation over the images of all processes.

Several processes that train together share a micro-batch. Here each layer takes its mean and variance from the whole of
it, so that the result of a training does not depend on how many processes it is spread over (but for rounding: sums are
taken in another order). torch's own ``SyncBatchNorm`` does the same, on GPUs only; there its kernels are used here,
too, but for its look at the counts, for which the host would wait in every layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from wsss.errors import WsssError


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) over all processes, with mean, biased variance and count, which have no gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> tuple[torch.Tensor, ...]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        dims, shape = _layout(x)
        count = wide.new_full((1,), x.numel() / x.shape[1])
        local = wide.mean(dims)
        told = torch.cat([local, (wide - local.view(shape)).square().sum(dims), count])
        heard = [torch.empty_like(told) for _ in range(dist.get_world_size())]
        dist.all_gather(heard, told)
        means, squares, counts = torch.split(torch.stack(heard), [len(local), len(local), 1], dim=1)
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        # the spread inside each process, and that of their means (Chan et al. 1979): no cancellation, one message
        variance = (squares + counts * (means - mean).square()).sum(0) / count
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return ((wide - mean.view(shape)) * scale.view(shape)).to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None]:
        x, mean, scale, count = ctx.saved_tensors
        dims, shape = _layout(x)
        gradient = gradient.to(mean.dtype)
        normal = (x.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        sums = torch.stack([gradient.sum(dims), (gradient * normal).sum(dims)])
        dist.all_reduce(sums)
        along, across = (sums / count).unbind()
        moved = gradient - along.view(shape) - normal * across.view(shape)
        return (moved * scale.view(shape)).to(x.dtype), None


class _NormaliseOnGPU(torch.autograd.Function):
    """The same with scale and offset, in fused passes over ``x``: one for its statistics, one that normalises it, and
    two on the way back. Gives the normalised batch, and takes the running statistics along."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        means: torch.Tensor | None,
        variances: torch.Tensor | None,
        eps: float,
        momentum: float,
    ) -> torch.Tensor:
        x = _dense(x)
        mean, scale = torch.batch_norm_stats(x, eps)
        told = torch.cat([mean, scale, mean.new_full((1,), x.numel() / x.shape[1])])
        heard = [torch.empty_like(told) for _ in range(dist.get_world_size())]
        dist.all_gather(heard, told)
        every_mean, every_scale, counts = torch.split(torch.stack(heard), [len(mean), len(mean), 1], dim=1)
        mean, scale = torch.batch_norm_gather_stats_with_counts(
            x, every_mean, every_scale, means, variances, momentum, eps, counts.reshape(-1)
        )
        ctx.save_for_backward(x, weight, mean, scale, counts.reshape(-1).to(torch.int32))
        return torch.batch_norm_elemt(x, weight, bias, mean, scale, eps)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, scale, counts = ctx.saved_tensors
        channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        along, across, of_weight, of_bias = torch.batch_norm_backward_reduce(
            gradient, x, mean, scale, weight, True, weight is not None, weight is not None
        )
        sums = torch.stack([along, across])
        dist.all_reduce(sums)
        along, across = sums.unbind()
        of_x = torch.batch_norm_backward_elemt(gradient, x, mean, scale, weight, along, across, counts)
        return of_x, of_weight, of_bias, None, None, None, None


def _dense(x: torch.Tensor) -> torch.Tensor:
    """``x`` without gaps, in its own order of axes where the kernels know it."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def _layout(x: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes that statistics are taken over, and the shape that spreads a vector of channels over ``x``."""
    return (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))


def _normalised(layer: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """What a layer in training mode makes of its process's part ``x`` (B, C, H, W) of the batch."""
    if x.is_cuda:
        return _normalised_on_gpu(layer, x)
    seen: tuple[torch.Tensor, ...] = _Normalise.apply(x, layer.eps)
    normal, mean, variance, count = seen
    batches, means, variances = layer.num_batches_tracked, layer.running_mean, layer.running_var
    if layer.track_running_stats and batches is not None and means is not None and variances is not None:
        with torch.no_grad():
            batches.add_(1)
            share = 1 / float(batches) if layer.momentum is None else layer.momentum
            means.lerp_(mean.to(means.dtype), share)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            variances.lerp_(unbiased.to(variances.dtype), share)
    if layer.affine:
        _, shape = _layout(x)
        normal = torch.addcmul(layer.bias.view(shape), normal, layer.weight.view(shape)).to(x.dtype)
    return normal


def _normalised_on_gpu(layer: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    share = layer.momentum
    if layer.track_running_stats and layer.num_batches_tracked is not None:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
        share = 1 / float(layer.num_batches_tracked) if share is None else share
    means, variances = (layer.running_mean, layer.running_var) if layer.track_running_stats else (None, None)
    found: torch.Tensor = _NormaliseOnGPU.apply(x, layer.weight, layer.bias, means, variances, layer.eps, share or 0.0)
    return found


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over all processes; in eval mode it is that."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normalised(self, x) if self.training else super().forward(x)


class SynchronisedBatchNormAct2d(BatchNormAct2d):
    """timm's ``BatchNormAct2d`` over all processes; in eval mode it is that."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            out: torch.Tensor = self.act(self.drop(_normalised(self, x)))
        else:
            out = super().forward(x)  # type: ignore[no-untyped-call]  # timm gives it no types
        return out


TWINS = {nn.BatchNorm2d: SynchronisedBatchNorm2d, BatchNormAct2d: SynchronisedBatchNormAct2d}


def synchronise(network: nn.Module) -> None:
    """Let the batch normalisation of a network see all processes, in place; names and shapes of its weights stay.

    Raises:
        WsssError: A layer is of a kind that is not known here.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and type(layer) not in TWINS.values():
            if type(layer) not in TWINS:
                raise WsssError(
                    f"batch_norm: layer {name} is a {type(layer).__name__}, which cannot be shared by several "
                    "processes; train in one, or set 'batch_norm' to per-process or fixed"
                )
            layer.__class__ = TWINS[type(layer)]
