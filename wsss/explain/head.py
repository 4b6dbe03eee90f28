"""The part of a network after the explained layer, run again and again on altered activations.

Modules that a forward pass has finished before it reaches the layer cannot depend on its output. What they gave is
remembered, and given again while the head runs: whatever the network is, only what comes after the layer is computed
(and functions outside modules, which are cheap). Remembered tensors of as many entries as the batch has images are
taken for batches.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from wsss.errors import WsssError
from wsss.explain.forward_pass import ForwardPass, hooked, replaced


class Head:
    """Remembers one forward pass; a context manager, within which the head can be run.

    Args:
        forward: Its batch runs here, without a graph; it then has its output, rows and activations.

    Raises:
        WsssError: The layer runs never or more than once.
    """

    def __init__(self, forward: ForwardPass) -> None:
        self.forward_pass, self.subject = forward, forward.subject
        self.batch = len(forward.images)
        self.remembered: list[tuple[nn.Module, Any]] = []
        self._record()

    def _record(self) -> None:
        open_calls: list[list[tuple[nn.Module, Any]]] = [[]]
        layer, reached = self.subject.module, False

        def begins(_: nn.Module, __: Any) -> None:
            if not reached:
                open_calls.append([])

        def ends(module: nn.Module, _: Any, output: Any) -> None:
            if reached:
                return
            open_calls.pop()  # what ran inside a module that is finished need not be remembered
            if module is not layer:
                open_calls[-1].append((module, tree_map(_copy, output)))

        def reach(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal reached
            if reached:
                raise WsssError(
                    f"layer {self.subject.layer} runs more than once in a forward pass; name one that runs once"
                )
            reached = True
            self.activations = tensor.clone()
            return tensor

        self.rest: Any = None

        def whole(_: nn.Module, __: Any, output: Any) -> None:
            self.rest = tree_map(_copy, output)

        with ExitStack() as stack:
            for module in self.subject.network.modules():
                stack.callback(module.register_forward_pre_hook(begins).remove)
                stack.callback(module.register_forward_hook(ends).remove)
            if self.subject.at == "output":
                stack.callback(layer.register_forward_hook(whole).remove)
            stack.enter_context(hooked(self.subject, reach))
            self.forward_pass.plain()
        if not reached:
            raise WsssError(f"layer {self.subject.layer} does not run in a forward pass; name one that does")
        self.forward_pass.activations = self.forward_pass.gridded(self.activations)
        self.remembered = [call for calls in open_calls for call in calls]

    def __enter__(self) -> Head:
        self.copies, self.altered = 1, self.activations
        self.queues: dict[nn.Module, deque[Any]] = defaultdict(deque)
        with ExitStack() as stack:
            for module in {id(module): module for module, _ in self.remembered}.values():
                stack.enter_context(_Instead(module, self._remembering(module, module.forward)))
            if self.subject.at == "output":
                layer = self.subject.module
                stack.enter_context(_Instead(layer, lambda *_, **__: replaced(self._spread(self.rest), self._altered)))
            else:
                stack.enter_context(hooked(self.subject, self._altered))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _altered(self, _: torch.Tensor) -> torch.Tensor:
        return self.altered.clone()

    def _remembering(self, module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            waiting = self.queues[module]
            return self._spread(waiting.popleft()) if waiting else original(*args, **kwargs)

        return forward

    def _spread(self, value: Any) -> Any:
        """A remembered value, for ``copies`` copies of the batch."""

        def one(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            if leaf.ndim and len(leaf) == self.batch and self.copies > 1:
                return leaf.repeat(self.copies, *[1] * (leaf.ndim - 1))
            return leaf.clone()  # what follows may work in place

        return tree_map(one, value)

    def run(self, altered: torch.Tensor) -> torch.Tensor:
        """What the subject reads out of the network's output for altered activations.

        Args:
            altered: (copies B, ...): the layer's tensor in its own order of axes for the batch, for the batch again,
                and so on.
        """
        self.copies, self.altered = len(altered) // self.batch, altered
        self.queues = defaultdict(deque)
        for module, output in self.remembered:
            self.queues[module].append(output)
        self.forward_pass.cost["head_forwards"] += len(altered)
        with torch.no_grad():
            images = self.forward_pass.images
            return self.subject.read(self.subject.network(images.repeat(self.copies, *[1] * (images.ndim - 1))))


class _Instead:
    """Within the block a module runs another ``forward``."""

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self.module, self.forward = module, forward
        self.own = vars(module).get("forward")

    def __enter__(self) -> None:
        self.module.forward = self.forward

    def __exit__(self, *_: object) -> None:
        if self.own is None:
            del self.module.forward
        else:
            self.module.forward = self.own


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
