"""Any number of a network's output as a target: the callables of pytorch-grad-cam, and of whoever writes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wsss.errors import WsssError
from wsss.explain.targets import Rows, Target


@dataclass(frozen=True, eq=False)
class Scalars(Target):
    """One row per image, explained by what a function makes of the image's output.

    Args:
        functions: One for each image of the batch, or one for all: from the output of one image (C,) or (C', H', W') to
            one number, by operations that have a gradient. ``class_idx`` of the rows is the function's number.
    """

    functions: Sequence[Callable[[torch.Tensor], torch.Tensor]] | Callable[[torch.Tensor], torch.Tensor]
    perturbed = "logit"

    def rows(self, output: torch.Tensor, single_label: bool = False) -> Rows:
        numbers = torch.arange(len(output), device=output.device)
        if callable(self.functions):
            return Rows(numbers, torch.zeros_like(numbers))
        if len(self.functions) != len(output):
            raise WsssError(
                f"{len(self.functions)} functions for {len(output)} images; give one for each, or one for all"
            )
        return Rows(numbers, numbers)

    def score(self, output: torch.Tensor, rows: Rows, kind: str = "logit", single_label: bool = False) -> torch.Tensor:
        if kind not in ("logit", "probability"):
            raise WsssError(f"score {kind!r}: a function has one value, and no other")
        functions = [self.functions] if callable(self.functions) else self.functions
        pairs = zip(rows.image_idx.tolist(), rows.class_idx.tolist(), strict=True)
        values = [functions[number](output[image]).float().reshape(()) for image, number in pairs]
        return torch.stack(values) if values else output.new_zeros(0, dtype=torch.float32)

    def about(self) -> dict[str, Any]:
        functions = [self.functions] if callable(self.functions) else self.functions
        return {"target": "scalars", "policy": [getattr(f, "__name__", type(f).__name__) for f in functions]}
