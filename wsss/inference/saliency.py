"""Saliency of images, and which side of a disentangler is the foreground."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.buckets import Buckets
from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.inference.batches import arrays_of
from wsss.models.disentangler import Disentangler
from wsss.models.saliency_net import FINE_STRIDE
from wsss.settings import InferenceSettings, SaliencyMapSettings
from wsss.store.map_shards import Maps

SIGN_IMAGES = 64
"""Training images that decide which side of a disentangler is the foreground."""


@torch.inference_mode()
def border_test(
    network: Disentangler, items: list[Item], side: int, device: torch.device, threads: int
) -> tuple[float, float]:
    """Mean of sigmoid(P) over the outermost cells and over the others, each the mean of up to 64 evenly spaced images.

    Nothing ties the foreground to sigmoid(P) rather than to its complement, but photographers put objects inside: the
    side that is stronger along the border is the background. (C2AM asks whether the border is above 0.5, on the last
    batch it happened to see; against the interior the answer does not depend on how much is foreground at all.)

    Args:
        network: In eval mode, on ``device``.
        items: Training images.
        side: Longest side of the images in pixels.
    """
    spaced = np.linspace(0, len(items) - 1, min(SIGN_IMAGES, len(items))).round().astype(int)
    chosen = [items[n] for n in spaced]
    view = InferenceSettings(scales=(1.0,), flip=False, max_side=max(32, side))
    found = []

    def read(_: Item, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return [outputs[0][0, 0].float().sigmoid()]

    parts = arrays_of(lambda images: network(images).logits, read, chosen, view, device, threads, "border test")
    for _, (values,) in parts:
        share = torch.from_numpy(values)
        inside = torch.zeros_like(share, dtype=torch.bool)
        inside[1:-1, 1:-1] = True
        if inside.any():
            found.append((share[~inside].mean().item(), share[inside].mean().item()))
    if not found:
        raise WsssError("every map is less than 3 cells a side, all of it border; use larger images or 'output_stride'")
    border, interior = np.mean(found, axis=0)
    return float(border), float(interior)


@torch.inference_mode()
def saliency_maps(
    network: nn.Module,
    items: list[Item],
    settings: SaliencyMapSettings,
    fine: bool,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[Maps]:
    """Saliency maps before views are made of them, class 0.

    ``relu``: a_s = ReLU(P(x_s)) + flip(ReLU(P(flip(x_s)))), the scheme of class activation maps; ``sigmoid``: the mean
    of the probabilities of the image and its mirror.

    Args:
        network: Logits (B, 1, h, w) of images, positive on the foreground.
        fine: The logits have the size of the image; their values are averaged over 4 x 4 pixels.
        items, settings, device, threads, among: As for ``outputs_of``.

    Yields:
        The item, [0], and for each scale float32 (1, h_s, w_s), non-negative.
    """

    def read(_: Item, found: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = []
        for each in found:
            logits = each.float()
            values = F.relu(logits) if settings.activation == "relu" else logits.sigmoid()
            if settings.flip:
                values = values[:1] + values[1:].flip(-1)
                if settings.activation == "sigmoid":
                    values = values / 2
            maps.append((_cells(values) if fine else values)[0])
        return maps

    for item, maps in arrays_of(network, read, items, settings, device, threads, "saliency", among):
        yield item, [0], maps


def _cells(values: torch.Tensor) -> torch.Tensor:
    """Means over cells of 4 x 4 pixels; where a cell reaches over the border, the last row or column is repeated."""
    height, width = values.shape[-2:]
    values = F.pad(values, (0, -width % FINE_STRIDE, 0, -height % FINE_STRIDE), mode="replicate")
    return F.avg_pool2d(values, FINE_STRIDE)
