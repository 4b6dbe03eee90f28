"""Pooled features of whole images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from wsss.data.index import Item
from wsss.inference.batches import arrays_of
from wsss.models.backbone import feature_maps
from wsss.settings import InferenceSettings


@torch.inference_mode()
def pooled_features(
    backbone: nn.Module,
    items: list[Item],
    settings: InferenceSettings,
    device: torch.device,
    threads: int,
    heed: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Means over the grid of a backbone's last features, in the order of ``items``.

    Args:
        backbone: In evaluation mode.
        items, settings, device, threads: As for ``wsss.inference.batches.outputs_of``, with one scale.
        heed: Called after each image.

    Returns:
        float32 (N, 2, D) of each image and its mirror, or (N, 1, D) without ``flip``.
    """

    def pooled(images: torch.Tensor) -> torch.Tensor:
        return feature_maps(backbone, images).float().mean((2, 3))

    rows: dict[str, np.ndarray] = {}
    for item, (found,) in arrays_of(pooled, lambda _, outputs: outputs, items, settings, device, threads, "features"):
        rows[item.id] = found
        heed()
    return np.stack([rows[item.id] for item in items])
