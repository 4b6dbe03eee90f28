"""Trained networks applied to whole images: tag probabilities, class activation maps, class probabilities of pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.index import Item
from wsss.data.loading import ScaledImages, inference_loader
from wsss.devices import loader_workers
from wsss.models.classifier import logits
from wsss.progress import Progress
from wsss.settings import InferenceSettings, PredictSettings


def views_of(
    items: list[Item], settings: InferenceSettings, device: torch.device, threads: int, what: str
) -> Iterator[tuple[Item, list[torch.Tensor]]]:
    """Each item with its normalised views on the device, one a scale: (2, 3, h_s, w_s) with the mirror, else (1,
    ...)."""
    loader = inference_loader(ScaledImages(items, settings.scales, settings.max_side), loader_workers(threads, device))
    with Progress(len(items), what=what) as progress:
        for item, views in loader:
            batches = []
            for view in views:
                batch = view[None].to(device, non_blocking=True)
                if settings.flip:
                    batch = torch.cat([batch, batch.flip(-1)])
                batches.append(batch.contiguous(memory_format=torch.channels_last))
            yield item, batches
            progress.advance()


@torch.inference_mode()
def tag_probabilities(
    network: nn.Module, items: list[Item], settings: InferenceSettings, device: torch.device, threads: int
) -> np.ndarray:
    """Probability of each class for each image, float32 (N, C): the mean over scales and flips of the sigmoid
    scores."""
    rows = []
    for _, views in views_of(items, settings, device, threads, "tags"):
        rows.append(torch.stack([logits(network(v)).sigmoid().mean(0) for v in views]).mean(0).cpu().numpy())
    return np.stack(rows)


@torch.inference_mode()
def class_activation_maps(
    network: nn.Module, items: list[Item], settings: InferenceSettings, device: torch.device, threads: int
) -> Iterator[tuple[Item, np.ndarray, list[np.ndarray]]]:
    """Class activation maps of the tagged classes at the network's own resolution.

    For every scale: a_s = ReLU(A(x_s)) + flip(ReLU(A(flip(x_s)))) (IRN's scheme, Ahn et al. 2019).

    Yields:
        The item, its classes int64 (n,), and for each scale float32 (n, h_s, w_s).
    """
    for item, views in views_of(items, settings, device, threads, "maps"):
        classes = np.array(item.labels, np.int64)
        maps = []
        for view in views if len(classes) else ():
            activation = F.relu(network(view)[:, torch.from_numpy(classes).to(device)].float())
            if settings.flip:
                activation = activation[:1] + activation[1:].flip(-1)
            maps.append(activation[0].cpu().numpy())
        yield item, classes, maps


@torch.inference_mode()
def pixel_probabilities(
    network: nn.Module, items: list[Item], settings: PredictSettings, device: torch.device, threads: int
) -> Iterator[tuple[Item, np.ndarray]]:
    """Class probabilities of every pixel, float32 (C + 1, H, W) at the image's own size.

    Logits of every scale are resized to the image (bilinear), averaged over scales; those of the mirror are averaged
    with or added to those of the image (``combine_flips``); softmax last.
    """
    for item, views in views_of(items, settings, device, threads, "predicting"):
        total = None
        for view in views:
            scores = network(view).float()
            if settings.flip:
                scores = scores[:1] + scores[1:].flip(-1)
                if settings.combine_flips == "average":
                    scores = scores / 2
            scores = F.interpolate(scores, size=(item.height, item.width), mode="bilinear", align_corners=False)
            total = scores if total is None else total + scores
        yield item, (total / len(views)).softmax(1)[0].cpu().numpy()
