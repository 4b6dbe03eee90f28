"""What OC-CSE, P-OC and P-NOC have in common: a generator, an ordinary classifier that judges it, a chosen class."""

from __future__ import annotations

from pathlib import Path

import torch

from wsss.losses.class_choice import Chooser
from wsss.losses.classification import Classification
from wsss.models.classifier import Classifier, build_classifier, load_judge
from wsss.objectives.base import Objective
from wsss.settings import ErasingSettings


class ErasingObjective(Objective):
    """Base of the objectives that erase.

    Args:
        settings: The recipe.
        classes: C.
        given: Folders of classifiers: ``ordinary``, and ``warm_start`` where the recipe names one.
        frequencies: Share of the training images that have each class, (C,) in [0, 1].

    Attributes:
        ordinary: The ordinary classifier, as it was trained; it stands among ``fixed``, or among ``networks`` where an
            objective trains it on.
    """

    product = "generator"
    trains_ordinary = False

    def __init__(
        self,
        settings: ErasingSettings,
        classes: int,
        given: dict[str, Path],
        frequencies: torch.Tensor | None = None,
    ) -> None:
        generator = build_classifier(settings, classes, given.get("warm_start"))
        self.compose(settings, classes, generator, load_judge(given["ordinary"], classes), frequencies)

    def compose(
        self,
        settings: ErasingSettings,
        classes: int,
        generator: Classifier,
        ordinary: Classifier,
        frequencies: torch.Tensor | None = None,
    ) -> None:
        """Put the objective together from its two networks."""
        self.settings, self.loss = settings, Classification(settings, classes, frequencies)
        self.chooser = Chooser(settings, classes, frequencies)
        self.ordinary = ordinary
        self.networks = {"generator": generator}
        if self.trains_ordinary:
            self.networks["ordinary"] = ordinary
        else:
            self.fixed = {"ordinary": ordinary.eval().requires_grad_(False)}

    def state(self) -> dict[str, torch.Tensor]:
        return self.chooser.state()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.chooser.load_state(state)
