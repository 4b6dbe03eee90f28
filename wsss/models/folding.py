"""Batch normalisation folded into the convolutions before it, for inference.

In evaluation mode a batch normalisation multiplies each channel with a constant and adds another, so a convolution can
do it: w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta. Which convolution stands before which batch
normalisation is seen in one forward pass, not guessed from names or from the order of modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
"""Exact types: their subclasses do things to their weights."""


class _Uses(TorchFunctionMode):
    """Counts by how many functions each tensor is read, by identity. Functions that give no tensor (sizes, checks) do
    not count."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self.kept: list[torch.Tensor] = []  # an identity is one only as long as the tensor lives

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            self.read(args, kwargs)
        return result

    def read(self, *values: Any) -> None:
        for leaf in tree_leaves(values):
            if isinstance(leaf, torch.Tensor):
                self.count[id(leaf)] += 1
                self.kept.append(leaf)


@torch.no_grad()
def fold_batch_norm(network: nn.Module, probe: torch.Tensor) -> int:
    """Fold what can be folded, in place. Outputs stay the same up to rounding (about 1e-6 of the largest).

    A pair is folded when its convolution's output goes into the batch normalisation and nowhere else, and both run
    once in a forward pass. The network is for inference from then on: it has lost the layers' statistics.

    Args:
        network: In evaluation mode.
        probe: A small input (B, 3, H, W) on the network's device; its values do not matter.

    Returns:
        The number of pairs.

    Raises:
        ValueError: The network is in training mode.
    """
    if network.training:
        raise ValueError("batch normalisation can be folded in evaluation mode only")
    made: dict[int, nn.Conv2d] = {}
    taken: list[tuple[str, nn.BatchNorm2d, int]] = []
    runs: Counter[nn.Module] = Counter()
    uses = _Uses()

    def after(module: nn.Conv2d, _: Any, output: torch.Tensor) -> None:
        made[id(output)] = module
        runs[module] += 1
        uses.kept.append(output)

    def before(name: str) -> Callable[[nn.BatchNorm2d, tuple[torch.Tensor, ...]], None]:
        def note(module: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
            taken.append((name, module, id(inputs[0])))
            runs[module] += 1

        return note

    hooks = []
    for name, module in network.named_modules():
        if type(module) in CONVOLUTIONS:
            hooks.append(module.register_forward_hook(after))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats and not module.training:
            hooks.append(module.register_forward_pre_hook(before(name)))
    try:
        with uses:
            output = network(probe)
    finally:
        for hook in hooks:
            hook.remove()
    uses.read(output)
    pairs = [
        (name, made[tensor], module)
        for name, module, tensor in taken
        if tensor in made and uses.count[tensor] == 1 and runs[made[tensor]] == runs[module] == 1
    ]
    for name, convolution, module in pairs:
        _fold(convolution, module)
        rest = nn.Sequential(module.drop, module.act) if isinstance(module, BatchNormAct2d) else nn.Identity()
        network.set_submodule(name, rest)
    return len(pairs)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    factor = torch.rsqrt(norm.get_buffer("running_var").double() + norm.eps)
    offset = -norm.get_buffer("running_mean").double()
    if convolution.bias is not None:
        offset += convolution.bias.double()
    if norm.affine:
        factor *= norm.weight.double()
    offset *= factor
    if norm.affine:
        offset += norm.bias.double()
    weight = convolution.weight
    layout = torch.channels_last if weight.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    folded = (weight.double() * factor[:, None, None, None]).to(weight.dtype).contiguous(memory_format=layout)
    convolution.weight = nn.Parameter(folded, requires_grad=False)
    convolution.bias = nn.Parameter(offset.to(weight.dtype), requires_grad=False)
