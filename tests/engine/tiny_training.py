"""The smallest trainings: settings that fit the twelve images of ``tiny_index``, and a network to compute by hand."""

from __future__ import annotations

import math

import torch
from torch import nn

from wsss.data.index import Index
from wsss.data.loading import TrainingViews
from wsss.losses.base import Loss
from wsss.losses.classification import classification_loss
from wsss.models.backbone import Trainable
from wsss.objectives.base import Objective
from wsss.settings import VanillaSettings
from wsss.training.engine import Trainer

SMALL = {
    "backbone": "test_resnet",
    "pretrained": False,
    "crop": 64,
    "long_side": (56, 72),
    "batch_size": 4,
    "epochs": 2,
    "lr": 0.01,
    "precision": "fp32",
}


class Line(Trainable):
    """One linear map of the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(3, 2)

    def forward(self, images):
        return self.layer(images.mean((2, 3)))

    def is_new(self, name):
        return True


class LineObjective(Objective):
    """The classification loss."""

    product = "line"

    def __init__(self) -> None:
        self.networks = {"line": Line()}

    def losses(self, batch, training_step):
        loss = classification_loss(self.networks["line"](batch.images), batch.labels)
        yield Loss("line", loss, {"loss": loss.detach()})


class Failing(LineObjective):
    """From step 4 on (from 0) the loss is no number; or it is one, and its gradient is not."""

    def __init__(self, where) -> None:
        super().__init__()
        self.where = where

    def losses(self, batch, training_step):
        for network, value, parts in super().losses(batch, training_step):
            if training_step.step >= 4 and self.where == "loss":
                value, parts = value * math.nan, {"loss": parts["loss"] * math.nan}
            if training_step.step >= 4 and self.where == "gradient":
                value.register_hook(lambda gradient: gradient * math.inf)
            yield Loss(network, value, parts)


def trainer(index_folder, run, objective=None, **settings):
    """A training of ``LineObjective``, or of another objective, without augmentation."""
    run.settings = settings = VanillaSettings(**{**SMALL, "augment": (), **settings})
    views = TrainingViews(Index.load(index_folder).labelled("train"), 2, settings, 0)
    return Trainer(objective or LineObjective(), views, settings, run, torch.device("cpu"))
