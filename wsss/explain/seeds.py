"""Any explainer in the chain: what a ``cams`` recipe stores of its maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.explain.base import Explainer
from wsss.explain.methods import find
from wsss.explain.metrics.measuring import one_channel
from wsss.explain.subject import Subject, subject_of
from wsss.explain.targets import Classes, Target
from wsss.settings import ExplainedSettings

VERSION = 1
CELL = 4
"""Maps of pixels are stored as means of cells of so many pixels a side: views at stride 4 are the finest that later
stages read, and pixels take 16 times the room."""
PROBE = 64
"""Side of an image that an explainer is tried with, in pixels."""


def explainer_of(settings: ExplainedSettings) -> Explainer:
    """The explainer that settings name, with their options; see ``built``."""
    return built(settings.explainer, settings.explainer_options)


def built(name: str, options: dict[str, Any]) -> Explainer:
    """An explainer with its options as they stand in a configuration: lists for tuples, names for explainers.

    Raises:
        WsssError: There is none of this name, an option is unknown or has a value that the explainer does not take, or
            its library is missing.
    """
    method = find(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    if name.startswith("external:"):
        return method(options)
    known: tuple[Field[Any], ...] = fields(method) if is_dataclass(method) else ()
    for field in known:
        if field.type == "Explainer" and isinstance(options.get(field.name), str):
            options[field.name] = find(options[field.name])()
    try:
        return method(**options)
    except (TypeError, ValueError) as error:
        raise WsssError(f"options of {name}: {error}") from error


def tried(explainer: Explainer, subject: Subject, target: Target, seed: int) -> tuple[int, bool]:
    """Input pixels a cell of the stored maps, and whether maps are made at the input's size, found with an image of
    zeros.

    Raises:
        WsssError: The explainer cannot be used on this network.
    """
    probe = torch.zeros(1, 3, PROBE, PROBE, device=subject.device or torch.device("cpu"))
    maps = explainer(subject, probe, target, ids=["probe"], seed=seed).maps
    pixels = maps.shape[-1] == PROBE
    return (CELL if pixels else PROBE // maps.shape[-1]), pixels


def tagged(items: list[Item], classes: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Tags of images, bool (B, C)."""
    labels = torch.zeros(len(items), classes, dtype=torch.bool)
    for row, item in enumerate(items):
        labels[row, list(item.labels)] = True
    return labels.to(device)


class SeedMaker:
    """Maps of the tagged classes by an explainer, in the place of a classifier's own.

    Args:
        network: A classifier of this project in evaluation mode, on its device.
        settings: Explainer and options.
        classes: Number of classes C.
        seed: The run's seed, for explainers with noise.

    Attributes:
        stride: Input pixels a cell of the maps.

    Raises:
        WsssError: The explainer cannot be used on this network.
    """

    def __init__(self, network: nn.Module, settings: ExplainedSettings, classes: int, seed: int) -> None:
        self.subject: Subject = subject_of(network)
        self.explainer, self.classes, self.seed = explainer_of(settings), classes, seed
        target = Classes("gt", torch.eye(classes, dtype=torch.bool)[:1])
        self.stride, self.pixels = tried(self.explainer, self.subject, target, seed)

    def __call__(self, images: torch.Tensor, items: list[Item]) -> torch.Tensor:
        """Raw signed maps fp32 (B, C, h, w) of normalised images (B, 3, H, W), zero for classes that are no tags.

        ``images`` holds those of ``items``, and after them perhaps their mirrors.
        """
        copies = len(images) // len(items)
        labels = tagged(items, self.classes, images.device).repeat(copies, 1)
        ids = [f"{item.id} {copy}" if copy else item.id for copy in range(copies) for item in items]
        made = self.explainer(self.subject, images, Classes("gt", labels), ids=ids, seed=self.seed)
        maps, broken = one_channel(self.explainer, made.maps)
        if bool(broken.any()):
            row = int(broken.nonzero()[0, 0])
            raise WsssError(
                f"{self.explainer.name}: the map of image {items[int(made.image_idx[row]) % len(items)].id!r} holds "
                "NaN or infinity; see that the classifier's training did not diverge, or take another explainer"
            )
        if self.pixels:
            maps = F.avg_pool2d(maps[:, None], CELL, ceil_mode=True)[:, 0]
        found = maps.new_zeros(len(images), self.classes, *maps.shape[1:])
        found[made.image_idx, made.class_idx] = maps
        return found


def maps_by(
    network: nn.Module, settings: ExplainedSettings, classes: int, seed: int
) -> tuple[int, Callable[[torch.Tensor, list[Item]], torch.Tensor]]:
    """Stride of the maps in input pixels, and what makes them; see ``SeedMaker``."""
    maker = SeedMaker(network, settings, classes, seed)
    return maker.stride, maker
