"""A network, asked about colours: its prediction, what is explained of it, and the map that comes of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from wsss.beyond.aims import Look
from wsss.beyond.compared import unit_maps
from wsss.beyond.softening import softened
from wsss.explain.base import Explainer
from wsss.explain.regions import Regions
from wsss.explain.subject import evaluating, subject_of
from wsss.explain.targets import Classes, Target
from wsss.models.segmenter import Segmenter

LEAK = 0.1
"""Of maps while an attack is computed. Without it every third attack on Grad-CAM did not move: the map was cut off all
over the box that it was to be steered to."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is explained of an image: fixed by one prediction and asked again of others, so that a map never moves for
    the sole reason that something else is explained.

    Attributes:
        number: Class from 0.
        region: Pixels of the class in the prediction, bool (1, H, W); None for classifiers.
        present: Classes that the prediction has, bool (1, C); None for segmentation networks.
    """

    number: int
    region: torch.Tensor | None
    present: torch.Tensor | None

    @property
    def target(self) -> Target:
        """What an explainer is asked."""
        if self.region is not None:
            return Regions([self.number + 1], "given", self.region)
        return Classes("gt", self.present, [self.number])


class Viewer:
    """Shows colours to a network and explains what it says.

    Args:
        network: A classifier or segmentation network of this project, on its device. It is put into evaluation mode, in
            which images do not affect each other, and its weights want no gradients any more.
        explainer: What makes maps; it must have derivatives.
        layers: Layers whose maps are averaged; empty: the usual one.
        grid: Cells a side of the maps.
        smooth_beta: Explain with ReLUs softened so; None: as they are.

    Raises:
        WsssError: A layer that the network does not have. Looking raises it for a method that does not go with the
            network.
    """

    def __init__(
        self,
        network: nn.Module,
        explainer: Explainer,
        layers: Sequence[str] = (),
        grid: int = 32,
        smooth_beta: float | None = None,
    ) -> None:
        self.network, self.explainer, self.grid, self.smooth_beta = network.eval(), explainer, grid, smooth_beta
        network.requires_grad_(False)
        for module in network.modules():  # what is overwritten cannot be differentiated twice
            if vars(module).get("inplace") is True:
                vars(module)["inplace"] = False
        self.subjects = [subject_of(network, layer) for layer in layers or (None,)]
        self.segments = isinstance(network, Segmenter)
        subject = self.subjects[0]
        self.device = subject.device or torch.device("cpu")
        self.mean, self.std = (torch.tensor(v, device=self.device)[:, None, None] for v in (subject.mean, subject.std))

    def by(self, explainer: Explainer) -> Viewer:
        """The same network, explained by another method at its usual layer."""
        return Viewer(self.network, explainer, (), self.grid, self.smooth_beta)

    def scores(self, colours: torch.Tensor, beta: float | None = None) -> torch.Tensor:
        """Logits of colours (1, 3, H, W) in [0, 1], without a graph: (1, C), or (1, C + 1, H, W)."""
        with torch.no_grad():
            return self._scores(colours, beta)

    def scores_with_graph(self, colours: torch.Tensor) -> torch.Tensor:
        """The same with the graph of the network as it is."""
        with torch.enable_grad():
            return self._scores(colours, None)

    def _scores(self, colours: torch.Tensor, beta: float | None) -> torch.Tensor:
        subject = self.subjects[0]
        with torch.inference_mode(False), evaluating(self.network), softened(self.network, beta):
            return subject.read(self.network((colours - self.mean) / self.std)).float()

    def question(self, logits: torch.Tensor) -> Question | None:
        """What is explained of a prediction: the object class with the most pixels, or with the highest score; None
        where a segmentation network predicts no object."""
        if not self.segments:
            return Question(int(logits[0].argmax()), None, logits > 0)
        labels = logits.argmax(1)
        pixels = torch.bincount(labels.flatten(), minlength=logits.shape[1])[1:]
        if not bool(pixels.any()):
            return None
        number = int(pixels.argmax())
        return Question(number, labels == number + 1, None)

    def look(
        self,
        colours: torch.Tensor,
        question: Question,
        name: str,
        seed: int,
        beta: float | None = None,
        differentiable: bool = False,
    ) -> Look:
        """Map and logits of colours (1, 3, H, W).

        Args:
            colours: In [0, 1].
            question: What is explained.
            name: Names the noise of methods that have some: equal names and seeds, equal noise.
            seed: The run's seed.
            beta: Soften ReLUs for both; None: the network as it is, but for ``smooth_beta``, which is for maps alone.
            differentiable: Keep the graphs, and let the map be a little negative (``LEAK``).
        """
        images = (colours - self.mean) / self.std
        found, output = [], None
        with softened(self.network, self.smooth_beta if beta is None else beta):
            for subject in self.subjects:
                made = self.explainer(
                    subject, images, question.target, ids=[name], seed=seed, differentiable=differentiable
                )
                maps = torch.where(made.maps.isfinite(), made.maps, 0.0)
                leak = LEAK if differentiable else 0.0
                found.append(unit_maps(maps, self.explainer.channels, self.grid, leak)[0])
                output = made.output.float()
        assert output is not None  # there is at least one layer
        as_it_is = beta is not None or self.smooth_beta is None
        if not as_it_is or differentiable and not output.requires_grad:  # a method that only looks at copies
            with torch.set_grad_enabled(differentiable):
                output = self._scores(colours, beta)
        return Look(torch.stack(found).mean(0), output)

    def raw(self, colours: torch.Tensor, question: Question, name: str, seed: int) -> torch.Tensor:
        """The map fp32 (h, w) at the resolution that the method gives, not negative: what seeds of masks are made of;
        of the first layer."""
        images = (colours - self.mean) / self.std
        with softened(self.network, self.smooth_beta):
            made = self.explainer(self.subjects[0], images, question.target, ids=[name], seed=seed)
        maps = torch.where(made.maps.isfinite(), made.maps, 0.0)
        if maps.ndim == 4:
            maps = maps.sum(1) if self.explainer.channels == "sum" else maps.abs().sum(1)
        return maps[0].relu()
