"""A perturbation within eps of every colour that steers an explanation and leaves the prediction.

For audits of one's own networks. The attack sees a network only through a function that looks at an image, so that it
can be tried on functions that are known by formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from wsss.beyond.aims import Aim, Look, Terms

VERSION = 1
Looks = Callable[[torch.Tensor, int], Look]
"""Gives the look of colours (1, 3, H, W) at a step, with the graph of both its parts if the colours want gradients."""


@dataclass(frozen=True)
class Attack:
    """How a perturbation is sought.

    Attributes:
        eps: Largest change of a colour (colours are in [0, 1]).
        steps: Steps.
        step: Largest change in a step; None: 2.5 eps / steps (Madry et al. 2018).
        optimizer: ``sign``: d - a sign(gradient), projected (Ghorbani et al. 2019); ``adam``: Adam with rate ``step``,
            projected after each step (Dombrowski et al. 2019).
        terms: Weights of the loss.
        bounds: Colours that there are; None: any number.
    """

    eps: float
    steps: int = 100
    step: float | None = None
    optimizer: Literal["sign", "adam"] = "sign"
    terms: Terms = field(default_factory=Terms)
    bounds: tuple[float, float] | None = (0.0, 1.0)

    @property
    def rate(self) -> float:
        """Largest change of a colour in a step."""
        return 2.5 * self.eps / self.steps if self.step is None else self.step


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What an attack found.

    Attributes:
        change: d, of the image's shape: within eps, and the colours with it within their bounds.
        steerable: Whether the map had any derivative at the first step. Without one, only the other terms acted:
            gradient methods on a network of ReLUs that are not softened, or a map that is the same for every image.
    """

    change: torch.Tensor
    steerable: bool


def projected(
    image: torch.Tensor, change: torch.Tensor, eps: float, bounds: tuple[float, float] | None
) -> torch.Tensor:
    """The change, cut to eps, and then so that no colour leaves its bounds."""
    change = change.clamp(-eps, eps)
    return change if bounds is None else (image + change).clamp(*bounds) - image


def signed_step(
    image: torch.Tensor,
    change: torch.Tensor,
    gradient: torch.Tensor,
    rate: float,
    eps: float,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> torch.Tensor:
    """The change after one step down the gradient's sign."""
    return projected(image, change - rate * gradient.sign(), eps, bounds)


def perturb(
    looks: Looks,
    image: torch.Tensor,
    aim: Aim,
    attack: Attack,
    reference: Callable[[int], torch.Tensor],
    start: torch.Tensor | None = None,
    hide: Callable[[torch.Tensor, Look, int], torch.Tensor] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Perturbation:
    """Seek a perturbation of colours (1, 3, H, W); the last step's is given.

    Args:
        looks: The network, as it is (or is softened) at a step.
        image: Clean colours.
        aim: What is wanted of the map.
        attack: How it is sought.
        reference: Logits of the clean image at a step, by the same (softened) network: those of the true one differ
            from them although nothing was changed.
        start: Where to begin, of the image's shape; None: at no change.
        hide: One more term of (perturbed colours, their look, step).
        check: Called before each step; raises to stop.
    """
    change = torch.zeros_like(image) if start is None else projected(image, start, attack.eps, attack.bounds)
    change = change.detach()
    mean, square, steerable = torch.zeros_like(image), torch.zeros_like(image), True
    for number in range(attack.steps if attack.eps > 0 else 0):
        check()
        moved = change.clone().requires_grad_()
        with torch.enable_grad():
            shown = image + moved
            found = looks(shown, number)
            if number == 0 and aim.goal != "output":
                steerable = _has_derivative(aim.distance(found.map), moved)
            term = None if hide is None else lambda look, shown=shown, number=number: hide(shown, look, number)
            loss = attack.terms.loss(aim, reference(number), found, moved, attack.eps, term)
            (gradient,) = torch.autograd.grad(loss, moved)
        gradient = torch.nan_to_num(gradient)
        if attack.optimizer == "adam":
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient.square()
            root = (square / (1 - 0.999 ** (number + 1))).sqrt() + 1e-8
            stepped = change - attack.rate * (mean / (1 - 0.9 ** (number + 1))) / root
            change = projected(image, stepped, attack.eps, attack.bounds)
        else:
            change = signed_step(image, change, gradient, attack.rate, attack.eps, attack.bounds)
    return Perturbation(change, steerable)


def _has_derivative(distance: torch.Tensor, change: torch.Tensor) -> bool:
    if not distance.requires_grad:
        return False
    (found,) = torch.autograd.grad(distance, change, retain_graph=True, allow_unused=True)
    return found is not None and bool(found.any())


def eight_bits(colours: torch.Tensor) -> torch.Tensor:
    """Colours as a file of 8 bits would have them: rounded to 255ths, within [0, 1]."""
    return (colours.clamp(0, 1) * 255).round() / 255


def noise_of(image: torch.Tensor, size: float, generator: torch.Generator) -> torch.Tensor:
    """The control of equal L_inf: every colour ``size`` up or down by a coin, within [0, 1]; like ``image``."""
    signs = torch.randint(0, 2, image.shape, generator=generator).to(image) * 2 - 1
    return projected(image, signs * size, size, (0.0, 1.0))


def shuffled(image: torch.Tensor, change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The control of equal rms: a perturbation (1, 3, H, W) with its pixels in other places, within [0, 1]."""
    order = torch.randperm(change[0, 0].numel(), generator=generator).to(change.device)
    moved = change.flatten(2)[..., order].view(change.shape)
    return projected(image, moved, float(change.abs().max()), (0.0, 1.0))
