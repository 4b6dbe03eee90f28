"""Short trainings on another network's predictions: too short to be worth a checkpoint, and with no artefact."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from wsss.compute.devices import loader_workers
from wsss.data.index import Item
from wsss.data.loading import TrainingViews, training_loader
from wsss.data.palette import IGNORE
from wsss.data.sampling import Order
from wsss.losses.segmentation import segmentation_loss
from wsss.models.backbone import Trainable
from wsss.settings import TrainingSettings
from wsss.training.optimisers import build_optimiser, rate_at, set_rate
from wsss.training.precision import Precision


class Lessons:
    """Views of training images with the teacher's predictions: the same for every candidate, and no mask is opened.

    Args:
        items: Training images.
        classes: Number of object classes.
        recipe: Crops and augmentation.
        steps: Batches.
        seed: Of the views.
        predict: The teacher's labels of images on the device.
        threads: Cores for loading.
        device: Where candidates are trained.

    Raises:
        WsssError: There are fewer images than a batch has.
    """

    def __init__(
        self,
        items: list[Item],
        classes: int,
        recipe: TrainingSettings,
        steps: int,
        seed: int,
        predict: Callable[[torch.Tensor], torch.Tensor],
        threads: int,
        device: torch.device,
    ) -> None:
        self.steps, self.predict, self.device = steps, predict, device
        self.views = TrainingViews(items, classes, recipe, seed, unlabelled)
        epochs = -(-steps // max(1, len(items) // recipe.batch_size))
        self._order = Order(len(items), recipe.batch_size, epochs, seed) if steps else None
        self._workers = loader_workers(threads, device)
        self._labels: list[torch.Tensor] = []  # of each step, once the first candidate has seen it

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images (B, 3, S, S) and labels int64 (B, S, S), 255 outside the image."""
        loader = () if self._order is None else training_loader(self.views, self._order, self._workers)
        for step, batch in enumerate(loader):
            if step == self.steps:
                return
            here = batch.to(self.device)
            if step == len(self._labels):
                found = self.predict(here.images).masked_fill(here.targets == IGNORE, IGNORE)
                self._labels.append(found.byte().cpu())
            yield here.images, self._labels[step].to(self.device).long()


def unlabelled(item: Item) -> np.ndarray:
    """A mask of zeros, which becomes 255 where a view is not of the image."""
    return np.zeros((item.height, item.width), np.uint8)


def warm(
    network: Trainable, lessons: Lessons, recipe: TrainingSettings, device: torch.device, check: Callable[[], None]
) -> None:
    """Train a network for all lessons, by the recipe's optimiser and rate, and leave it in evaluation mode.

    ``check`` is called before each step, and raises to stop."""
    network.to(device).to(memory_format=torch.channels_last).train()
    optimiser = build_optimiser(network, recipe)
    precision = Precision(recipe.precision, device, ["student"])
    scaler = precision.scalers["student"]
    for step, (images, labels) in enumerate(lessons):
        check()
        set_rate(optimiser, rate_at(step, lessons.steps, recipe), recipe)
        with precision.autocast():
            loss = segmentation_loss(network(images), labels, recipe.label_smoothing)
        torch.autograd.backward(scaler.scale(loss))
        if recipe.clip_norm is not None:
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad(set_to_none=True)
    network.eval()
