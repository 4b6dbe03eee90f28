"""Batch normalisation over all processes against one layer that sees the whole batch."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from tests.engine.process_group import together
from wsss.compute.batch_norm import TWINS, synchronise
from wsss.errors import WsssError

PARTS = (3, 2, 1)
"""Images of each process: they need not be as many."""


def layer_of(kind: type[nn.BatchNorm2d], momentum: float | None, dtype: torch.dtype) -> nn.BatchNorm2d:
    layer = kind(4, momentum=0.1).to(dtype)
    layer.momentum = momentum
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.3]))
        layer.bias.copy_(torch.tensor([0.0, 0.1, -0.2, 0.3]))
    return layer


def batch_of(step: int, dtype: torch.dtype) -> torch.Tensor:
    rng = torch.Generator().manual_seed(step)
    # processes whose images have means far apart: the spread between them counts
    return (torch.randn(sum(PARTS), 4, 5, 3, generator=rng) + torch.arange(6.0).view(6, 1, 1, 1)).to(dtype)


def two_steps(layer: nn.BatchNorm2d, dtype: torch.dtype, part: slice) -> dict[str, torch.Tensor]:
    """Outputs, gradients and statistics after two training steps and one in eval mode."""
    found = {}
    for step in range(2):
        x = batch_of(step, dtype)[part].requires_grad_()
        y = layer(x)
        (y * torch.linspace(-1, 1, 15).to(dtype).view(5, 3).cos() * y.detach().sin()).sum().backward()
        found |= {f"y{step}": y.detach(), f"x{step}": x.grad}
    found |= {"weight": layer.weight.grad, "bias": layer.bias.grad}
    found |= {f"buffer {k}": v.clone() for k, v in layer.named_buffers()}
    found["eval"] = layer.eval()(batch_of(2, dtype)[part]).detach()
    return found


def in_parts(rank: int, kind: type[nn.BatchNorm2d], momentum: float | None, dtype: torch.dtype) -> dict:
    layer = layer_of(kind, momentum, dtype)
    synchronise(layer)
    assert type(layer) is TWINS[kind]
    begin = sum(PARTS[:rank])
    found = two_steps(layer, dtype, slice(begin, begin + PARTS[rank]))
    for name in ("weight", "bias"):
        dist.all_reduce(found[name])
    return {k: v.numpy() for k, v in found.items()}


@pytest.mark.parametrize(
    "kind, momentum, dtype, tolerance",
    [
        (nn.BatchNorm2d, 0.1, torch.float64, 1e-12),
        (BatchNormAct2d, None, torch.float64, 1e-12),
        (nn.BatchNorm2d, 0.1, torch.float32, 1e-5),
    ],
)
def test_parts_of_a_batch_are_normalised_like_the_whole(kind, momentum, dtype, tolerance):
    """Outputs, gradients of images, scale and offset, running statistics. Not to the bit: sums of parts are added."""
    whole = {k: v.numpy() for k, v in two_steps(layer_of(kind, momentum, dtype), dtype, slice(None)).items()}
    parts = together(3, in_parts, kind, momentum, dtype)
    for key, expected in whole.items():
        expected = torch.from_numpy(expected)
        if key in ("weight", "bias") or key.startswith("buffer"):
            for part in parts:
                torch.testing.assert_close(torch.from_numpy(part[key]), expected, atol=tolerance, rtol=tolerance)
        else:
            found = torch.cat([torch.from_numpy(part[key]) for part in parts])
            torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    assert abs(whole["x0"]).max() > 1e-2 and abs(whole["weight"]).min() > 1e-2


def half(rank: int) -> tuple[str, str, float]:
    layer = nn.BatchNorm2d(4)
    synchronise(layer)
    x = batch_of(0, torch.bfloat16)[2 * rank : 2 * rank + 2].requires_grad_()
    y = layer(x)
    y.float().square().sum().backward()
    return str(y.dtype), str(x.grad.dtype), float(layer.running_mean.std())


def test_half_precision_goes_in_and_out_and_statistics_are_full():
    (first, second) = together(2, half)
    assert first == second and first[:2] == ("torch.bfloat16", "torch.bfloat16")


def test_a_layer_of_an_unknown_kind_is_refused_by_name():
    class Other(nn.BatchNorm2d):
        pass

    with pytest.raises(WsssError, match="layer 1 is a Other.*per-process or fixed"):
        synchronise(nn.Sequential(nn.ReLU(), Other(3)))
