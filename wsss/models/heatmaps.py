"""Heatmaps of a classifier, gradient times activation at one of its layers, as they are made in training and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from wsss.errors import WsssError

LAST, INPUT = "last", "input"
"""Layers that are no module of the backbone."""


class WithBackground(Protocol):
    """A classifier that has a row for the background."""

    backbone: nn.Module

    def with_background(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C + 1, h, w), the background's first."""

    def get_submodule(self, target: str) -> nn.Module:
        """A module by its dotted name."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """All modules by their dotted names."""


class Seen(NamedTuple):
    """What one forward pass gives.

    Attributes:
        maps: Raw class activation maps (B, C + 1, h, w); the background's come first.
        point: Activations (B, K, h', w') that heatmaps are gradients of, part of the graph of ``maps``; None at the
            last stage, where the maps are the heatmaps.
    """

    maps: torch.Tensor
    point: torch.Tensor | None


def check_layer(classifier: WithBackground, layer: str) -> None:
    """See that heatmaps can be taken there. Raises ``WsssError`` where there is no such layer."""
    if layer in (LAST, INPUT):
        return
    known = [name for name, _ in classifier.named_modules() if name.startswith("backbone.")]
    if layer not in known:
        near = get_close_matches(layer, [LAST, INPUT, *known], n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise WsssError(f"guidance_layer {layer!r}: the classifier has no such layer{hint}")
    if getattr(classifier.backbone, "output_fmt", None) == "NHWC":
        raise WsssError(f"guidance_layer {layer!r}: the layers of this backbone put channels last; take last or input")


def seen_at(classifier: WithBackground, images: torch.Tensor, layer: str) -> Seen:
    """The forward pass of normalised images (B, 3, H, W), and where heatmaps are taken.

    Raises:
        WsssError: The layer runs not once, or gives no maps.
    """
    if layer == LAST:
        return Seen(classifier.with_background(images), None)
    if layer == INPUT:
        images = images.detach().requires_grad_()
        # what follows may work in place, which a leaf forbids
        return Seen(classifier.with_background(images.clone()), images)
    with _watched(classifier.get_submodule(layer)) as caught:
        maps = classifier.with_background(images)
    return Seen(maps, _only(caught, layer))


def heatmap(scores: torch.Tensor, point: torch.Tensor, classes: torch.Tensor, graph: bool) -> torch.Tensor:
    """H (B, h, w) of one class per image, N sum_k A_k dz/dA_k.

    One backward pass for all images: theirs do not mix, as long as batch normalisation is fixed.

    Args:
        scores: z (B, C + 1).
        point: A (B, K, h, w), part of their graph.
        classes: int64 (B,).
        graph: Whether it is to be differentiated; that of ``scores`` stays either way.
    """
    cells = point.shape[-2] * point.shape[-1]
    picked = scores.gather(1, classes[:, None]).sum() * cells
    (gradient,) = torch.autograd.grad(picked, point, retain_graph=True, create_graph=graph)
    return (gradient * (point if graph else point.detach())).sum(1)


def heatmaps(classifier: WithBackground, images: torch.Tensor, layer: str) -> torch.Tensor:
    """H (B, C + 1, h, w) of every class and of the background, first, without a graph, also within ``inference_mode``.

    In fp32 but for the last stage, as in training. The classifier is in evaluation mode, so that images do not mix.
    """
    if layer == LAST:
        return classifier.with_background(images)
    kind = images.device.type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False):
        maps, point = seen_at(classifier, images.clone().float(), layer)
        assert point is not None  # other layers than the last have one
        scores = maps.float().mean((2, 3))
        columns = torch.arange(scores.shape[1], device=scores.device)
        made = torch.stack([heatmap(scores, point, c.expand(len(scores)), False) for c in columns], 1)
    return made.detach()


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[Any]]:
    """Within the block what the module gives is caught, as part of the graph."""
    caught: list[Any] = []

    def catch(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, torch.Tensor) and not output.requires_grad:
            output = output.detach().requires_grad_()  # frozen weights below: the gradient begins here
        caught.append(output)
        return output.clone() if isinstance(output, torch.Tensor) else output  # as for the input

    handle = module.register_forward_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


def _only(caught: list[Any], layer: str) -> torch.Tensor:
    if len(caught) != 1:
        raise WsssError(f"guidance_layer {layer!r} runs {len(caught)} times in a forward pass; take one that runs once")
    if not isinstance(caught[0], torch.Tensor) or caught[0].ndim != 4:
        gives = tuple(caught[0].shape) if isinstance(caught[0], torch.Tensor) else type(caught[0]).__name__
        raise WsssError(
            f"guidance_layer {layer!r} gives {gives}, maps are (images, channels, height, width); take another"
        )
    return caught[0]
