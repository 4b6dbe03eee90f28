"""How well CLIP knows the classes of a dataset by their words: tags beside what it makes of whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from wsss.compute.devices import choose_device, loader_workers, prepare_cpu
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, inference_loader
from wsss.evaluate.classification import average_precision
from wsss.inference.text_cams import resized
from wsss.inference.words import Words, words_of
from wsss.models.clip_tower import ClipTower, find_weights, load_clip
from wsss.settings import TextCamsSettings
from wsss.system.progress import Progress


class Known(NamedTuple):
    """A class: images that are tagged with it, the average precision of its word on all images that were looked at, and
    what guessing would have: the share of the images that are tagged."""

    name: str
    images: int
    precision: float
    chance: float


def zero_shot(
    items: Sequence[Item], classes: Sequence[str], settings: TextCamsSettings, device: str, threads: int
) -> list[Known]:
    """Every class, in order.

    Args:
        items: Images with their tags.
        classes: Names of the classes.
        settings: Model, weights, templates and synonyms count; background words do not.
        device: As for ``wsss.compute.devices.choose_device``.
        threads: Cores for everything.

    Raises:
        WsssError: As the stage of such maps.
    """
    prepare_cpu(threads)
    where = choose_device(device)
    weights = find_weights(settings.model, settings.weights)
    tower = load_clip(settings.model, settings.weights, weights.path, where)
    scores = similarities(tower, words_of(tower, classes, settings), items, threads)
    truth = np.array([[c in item.labels for c in range(len(classes))] for item in items])
    return [
        Known(name, int(truth[:, c].sum()), average_precision(truth[:, c], scores[:, c]), float(truth[:, c].mean()))
        for c, name in enumerate(classes)
    ]


@torch.no_grad()
def similarities(tower: ClipTower, words: Words, items: Sequence[Item], threads: int) -> np.ndarray:
    """Cosine of each image with each class, of several words the largest: float32 (N, C). Images are stretched to the
    network's own size."""
    device, size = tower.visual.proj.device, tuple(tower.visual.image_size)
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (tower.mean, tower.std))
    loader = inference_loader(ScaledBatches([[item] for item in items], (1.0,), 4096), loader_workers(threads, device))
    found = []
    with Progress(len(items), what="zero-shot") as progress:
        for _, (view,) in loader:
            pixels = resized(view.to(device).float(), size) / 255
            vector = F.normalize(tower.visual((pixels - mean) / std), dim=-1)[0]
            cosines = words.vectors @ vector
            found.append(torch.stack([cosines[list(rows)].amax() for rows in words.of_class]).cpu().numpy())
            progress.advance()
    return np.stack(found)
