"""SmoothGrad (Smilkov et al. 2017) around any explainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from wsss.errors import WsssError
from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.methods.gradient import Gradient

VERSION = 1


@dataclass(frozen=True)
class SmoothGrad(Explainer):
    """Mean of the base's maps over n copies x + N(0, s^2). Rows and regions are those of the image without noise.

    An image's noise follows from the run's seed and its name alone, not from the batch that it is in.
    """

    base: Explainer = field(default_factory=Gradient)
    n: int = 25
    sigma: float = 0.15
    """Standard deviation, as a share of the image's range max(x) - min(x), or absolute."""
    relative: bool = True
    """Whether ``sigma`` is a share of the range."""
    abs_when: Literal["after", "before"] = "after"
    """``after``: signed maps are averaged, and whoever looks at them takes their size; ``before``: their absolute
    values are averaged."""
    chunk: int = 1
    """Copies of the batch in one pass; the result does not depend on it."""

    def __post_init__(self) -> None:
        if self.n < 1 or self.sigma < 0:
            raise WsssError(f"smooth-grad: n ({self.n}) must be at least 1 and sigma ({self.sigma}) at least 0")

    @property
    def differentiates(self) -> bool:
        return self.base.differentiates

    @property
    def channels(self) -> str | None:
        return self.base.channels

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.plain()
        images = forward.images
        generators = [forward.generator(image) for image in range(len(images))]
        scale = images.new_full((len(images), 1, 1, 1), self.sigma)
        if self.relative:
            scale = scale * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)).detach()
        total = images.new_zeros((), dtype=torch.float32)
        for first in range(0, self.n, self.chunk):
            copies = min(self.chunk, self.n - first)
            noise = torch.stack([_noise(images.shape[1:], each, copies) for each in generators], 1).flatten(0, 1)
            noisy = images.repeat(copies, 1, 1, 1) + noise.to(images) * scale.repeat(copies, 1, 1, 1)
            rows = forward.rows.repeated(copies, len(images))
            some = ForwardPass(
                forward.subject,
                noisy,
                forward.target,
                None,
                forward.seed,
                forward.differentiable,
                rows,
            )
            maps = self.base.explain(some)
            forward.cost.update(some.cost)
            if not forward.differentiable:
                maps = maps.detach()
            maps = maps.abs() if self.abs_when == "before" else maps
            total = total + maps.view(copies, len(forward.rows), *maps.shape[1:]).sum(0)
        return total / self.n


def _noise(shape: torch.Size, generator: torch.Generator, copies: int) -> torch.Tensor:
    # one draw a copy, so that the numbers do not depend on how copies are grouped
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(copies)])
