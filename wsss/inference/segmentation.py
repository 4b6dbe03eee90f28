"""Class probabilities of every pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.buckets import Buckets
from wsss.data.index import Item
from wsss.inference.batches import outputs_of
from wsss.settings import PredictSettings


@torch.inference_mode()
def pixel_probabilities(
    network: nn.Module,
    items: list[Item],
    settings: PredictSettings,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[tuple[Item, np.ndarray]]:
    """Class probabilities of every pixel, float32 (C + 1, H, W) at the image's own size.

    Logits of every scale are resized to the image (bilinear), averaged over scales; those of the mirror are averaged
    with or added to those of the image (``combine_flips``); softmax last.
    """
    for item, found in outputs_of(network, items, settings, device, threads, "predicting", among):
        total: torch.Tensor | None = None
        for scores in found:
            scores = scores.float()
            if settings.flip:
                scores = scores[:1] + scores[1:].flip(-1)
                if settings.combine_flips == "average":
                    scores = scores / 2
            scores = F.interpolate(scores, size=(item.height, item.width), mode="bilinear", align_corners=False)
            total = scores if total is None else total + scores
        assert total is not None  # there is at least one scale
        yield item, (total / len(found)).softmax(1)[0].cpu().numpy()
