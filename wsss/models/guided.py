"""A classifier that is trained by its heatmaps: beside its maps it gives the place where heatmaps are taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import Trainable
from wsss.models.classifier import Classifier

LAST, INPUT = "last", "input"
"""Layers that are no module of the backbone."""


class Seen(NamedTuple):
    """What one forward pass gives.

    Attributes:
        maps: Raw class activation maps (B, C + 1, h, w); the background's come first.
        point: Activations (B, K, h', w') that heatmaps are gradients of, part of the graph of ``maps``; None at the
            last stage, where the maps are the heatmaps.
    """

    maps: torch.Tensor
    point: torch.Tensor | None


class Guided(Trainable):
    """A guided classifier as it is trained.

    Args:
        classifier: What is trained; it has a row for the background.
        layer: ``last``, ``input``, or a module below ``backbone`` that gives maps (B, K, h, w).

    Raises:
        WsssError: There is no such layer; the message has the nearest names.
    """

    def __init__(self, classifier: Classifier, layer: str = LAST) -> None:
        super().__init__()
        self.classifier, self.layer = classifier, layer
        if layer in (LAST, INPUT):
            return
        known = [name for name, _ in classifier.named_modules() if name.startswith("backbone.")]
        if layer not in known:
            near = get_close_matches(layer, [LAST, INPUT, *known], n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise WsssError(f"guidance_layer {layer!r}: the classifier has no such layer{hint}")
        if getattr(classifier.backbone, "output_fmt", None) == "NHWC":
            raise WsssError(
                f"guidance_layer {layer!r}: the layers of this backbone put channels last; take last or input"
            )

    def forward(self, images: torch.Tensor) -> Seen:
        """See ``Seen``; images are normalised, (B, 3, H, W).

        Raises:
            WsssError: The layer runs not once, or gives no maps.
        """
        if self.layer == LAST:
            return Seen(self.classifier.with_background(images), None)
        if self.layer == INPUT:
            images = images.detach().requires_grad_()
            # what follows may work in place, which a leaf forbids
            return Seen(self.classifier.with_background(images.clone()), images)
        with self._watched() as caught:
            maps = self.classifier.with_background(images)
        return Seen(maps, self._only(caught))

    @contextmanager
    def _watched(self) -> Iterator[list[Any]]:
        """Within the block what the layer gives is caught."""
        caught: list[Any] = []

        def catch(_: nn.Module, __: Any, output: Any) -> Any:
            caught.append(output)
            return output.clone() if isinstance(output, torch.Tensor) else output  # as for the input

        handle = self.classifier.get_submodule(self.layer).register_forward_hook(catch)
        try:
            yield caught
        finally:
            handle.remove()

    def _only(self, caught: list[Any]) -> torch.Tensor:
        if len(caught) != 1:
            raise WsssError(
                f"guidance_layer {self.layer!r} runs {len(caught)} times in a forward pass; take one that runs once"
            )
        if not isinstance(caught[0], torch.Tensor) or caught[0].ndim != 4:
            gives = tuple(caught[0].shape) if isinstance(caught[0], torch.Tensor) else type(caught[0]).__name__
            raise WsssError(
                f"guidance_layer {self.layer!r} gives {gives}, maps are (images, channels, height, width); take another"
            )
        return caught[0]

    def is_new(self, name: str) -> bool:
        return name.startswith(("classifier.head.", "classifier.background."))
