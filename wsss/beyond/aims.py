"""What an attack wants of a map, and the loss that says how far it is from there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from wsss.beyond.compared import centre, cosine, top

Goal = Literal["box", "other-image", "inverted", "uniform", "top-k", "centre", "output"]
BOX = 0.3
"""Side of the box that maps are steered to, as a share of the grid's: about a tenth of the area."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a network says of an image.

    Attributes:
        map: What its explanation comes to, fp32 (h, w), not negative but while an attack is computed.
        output: Logits (1, C) of a classifier or (1, C + 1, H, W) of a segmentation network.
    """

    map: torch.Tensor
    output: torch.Tensor


@dataclass(frozen=True, eq=False)
class Aim:
    """What is wanted.

    Attributes:
        goal: Its name.
        clean: Map of the clean image (h, w).
        target: Map that is wanted (h, w); None for goals that are none: top-k, centre, output.
    """

    goal: Goal
    clean: torch.Tensor
    target: torch.Tensor | None

    def distance(self, found: torch.Tensor) -> torch.Tensor:
        """The term of the map, a scalar: 1 - cosine with the target; for ``top-k`` the sum over the clean map's
        highest tenth; for ``centre`` how far the centre has moved, in diagonals and negative (Ghorbani et al. 2019)."""
        if self.target is not None:
            return 1 - cosine(found, self.target)
        if self.goal == "top-k":
            return found[top(self.clean)].sum()
        moved = centre(found.relu()) - centre(self.clean)
        return -(moved.square().sum() + 1e-12).sqrt() / math.hypot(*found.shape)


def aim_of(goal: Goal, clean: torch.Tensor, other: torch.Tensor | None = None) -> Aim:
    """The aim of a goal for a clean map (h, w); ``other``: the map of another image, for ``other-image``."""
    target: torch.Tensor | None = None
    if goal == "box":
        target = far_corner(clean)
    elif goal == "other-image":
        target = other
    elif goal == "inverted":
        target = clean.max() - clean
    elif goal == "uniform":
        target = torch.ones_like(clean)
    if target is not None:
        target = target / target.sum().clamp(min=1e-30)
    return Aim(goal, clean, target)


def far_corner(clean: torch.Tensor) -> torch.Tensor:
    """A box of ones in the corner that is farthest from the centre of a map (h, w), zero elsewhere.

    Examples:
        >>> far_corner(torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])).tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    height, width = clean.shape
    y, x = centre(clean).tolist()
    tall, wide = (max(1, round(BOX * n)) for n in clean.shape)
    rows = slice(height - tall, height) if y <= (height - 1) / 2 else slice(0, tall)
    columns = slice(width - wide, width) if x <= (width - 1) / 2 else slice(0, wide)
    box = torch.zeros_like(clean)
    box[rows, columns] = 1
    return box


def divergence(clean: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of two networks' logits, a scalar: of a softmax, mean over pixels, for (1, C + 1, H, W); of Bernoulli
    variables, mean over classes, for (1, C). A mean, since a sum over pixels would drown the other terms."""
    if clean.ndim == 4:
        log_p, log_q = clean.float().log_softmax(1), found.float().log_softmax(1)
        return (log_p.exp() * (log_p - log_q)).sum(1).mean()
    clean, found = clean.float(), found.float()
    p = clean.sigmoid()
    yes = F.logsigmoid(clean) - F.logsigmoid(found)
    no = F.logsigmoid(-clean) - F.logsigmoid(-found)
    return (p * yes + (1 - p) * no).mean()


def disagreement(clean: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits with what the clean ones predict, a scalar: what an attack on the output makes large
    (Madry et al. 2018). The divergence would not do, for it is flat at the clean image."""
    if clean.ndim == 4:
        return F.cross_entropy(found.float(), clean.argmax(1))
    return F.binary_cross_entropy_with_logits(found.float(), (clean > 0).float())


@dataclass(frozen=True)
class Terms:
    """Weights of the loss's terms.

    L = noise ||d||^2 / (n eps^2) + output KL(clean || perturbed) + map distance, over n colours; for the goal
    ``output`` the last two are replaced by minus the cross-entropy with the clean prediction. (Three terms:
    Dombrowski et al. 2019 and Gipiskis 2023; the normalisation of each is this project's.)
    """

    noise: float = 0.1
    output: float = 10.0
    map: float = 1.0

    def loss(
        self,
        aim: Aim,
        clean: torch.Tensor,
        found: Look,
        change: torch.Tensor,
        eps: float,
        hide: Callable[[Look], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The loss, a scalar. ``clean``: logits of the clean image; ``hide``: one more term of the look, weighed like
        the map (of an attack that knows of a detector)."""
        total = self.noise * change.square().mean() / (eps**2 if eps else 1.0)
        if aim.goal == "output":
            return total - disagreement(clean, found.output)
        total = total + self.output * divergence(clean, found.output) + self.map * aim.distance(found.map)
        return total if hide is None else total + self.map * hide(found)
