"""What one pass of a network costs: operations and bytes, counted on tensors without data (device ``meta``).

Shapes follow as in a real pass, the way back included, and nothing is computed. So networks and batches that this
machine could not hold are counted too, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Way = Literal["train", "through", "forward"]
"""``train``: forwards, and backwards to the weights; ``through``: the weights are frozen, the gradient goes back to the
images; ``forward``: without gradients."""
_FREE = ("aten::empty", "aten::new_empty", "aten::detach")
"""Operations that read and write nothing."""


@dataclass
class Counted:
    """What a pass costs, in float32.

    Attributes:
        operations: (floating point operations, bytes read and written) of each operation, in order. A multiplication
            with its addition are two.
        saved: Bytes that the way forwards keeps for the way back, besides the weights.
        largest: Bytes of the operation that reads and writes the most.
        weights: Numbers in the weights of the network.
        trained: Those of them that get a gradient.
    """

    operations: list[tuple[int, int]] = field(default_factory=list)
    saved: int = 0
    largest: int = 0
    weights: int = 0
    trained: int = 0

    @property
    def flops(self) -> int:
        """Floating point operations of the pass."""
        return sum(flops for flops, _ in self.operations)

    @property
    def traffic(self) -> int:
        """Bytes that the pass reads and writes, each operation for itself."""
        return sum(size for _, size in self.operations)

    def floor(self, flops_a_second: float, bytes_a_second: float) -> tuple[float, float]:
        """Least seconds of the pass: each operation takes as long as its arithmetic or its bytes, whichever is more.

        Returns:
            Seconds of the operations that arithmetic limits, and of those that memory limits.

        Examples:
            >>> Counted([(8, 1), (0, 6)]).floor(flops_a_second=4, bytes_a_second=2)
            (2.0, 3.0)
        """
        pairs = [(flops / flops_a_second, size / bytes_a_second) for flops, size in self.operations]
        return sum(a for a, b in pairs if a > b), sum(b for a, b in pairs if a <= b)


def bytes_of(value: Any) -> int:
    """Bytes of all tensors in a nest of containers."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Notes every operation that touches memory."""

    def __init__(self, counted: Counted) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = counted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if not func.is_view and not func.name().startswith(_FREE):
            count = flop_registry.get(func.overloadpacket)
            flops = 0 if count is None else int(count(*args, **given, out_val=result))
            size = bytes_of((args, given, result))
            self.counted.operations.append((flops, size))
            self.counted.largest = max(self.counted.largest, size)
        return result


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Networks that leave autocast name their device, and ``meta`` has none to leave."""
    with mock.patch.object(torch, "autocast", lambda *_, **__: nullcontext()):
        yield


def count_pass(network: nn.Module, shape: Sequence[int], way: Way) -> Counted:
    """Count one pass of a network, which has no data afterwards.

    Args:
        network: Anything that takes images.
        shape: Of the images, (B, 3, H, W).
        way: How far the pass goes.

    Returns:
        Counts of the whole batch.
    """
    network = network.to("meta").train(way == "train")
    parameters = list(network.parameters())
    wanted = [parameter.requires_grad for parameter in parameters]
    own = {parameter.untyped_storage()._cdata for parameter in parameters}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    found = Counted(weights=sum(parameter.numel() for parameter in parameters))
    images = torch.empty(*shape, device="meta", requires_grad=way == "through")
    try:
        for parameter, trained in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(trained and way == "train")
        found.trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        with (
            _without_autocast(),
            _Watch(found),
            torch.set_grad_enabled(way != "forward"),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            leaves = [leaf for leaf in tree_leaves(network(images)) if isinstance(leaf, torch.Tensor)]
            found.saved = sum(storage.nbytes() for storage in kept.values())
            if way != "forward":
                torch.autograd.backward([leaf.sum() for leaf in leaves if leaf.requires_grad])
    finally:
        for parameter, trained in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(trained)
            parameter.grad = None
    return found
