"""Judging the candidates of a search: what they are asked, and how their answers compare with the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.beyond.search_fitness import distances, similarity, unit_rows
from wsss.evaluate.confusion import class_scores, confusion
from wsss.explain.base import Explainer
from wsss.explain.regions import Regions
from wsss.explain.subject import subject_of
from wsss.settings import SearchSettings


@dataclass(frozen=True, eq=False)
class Probe:
    """An image that networks are compared on.

    Attributes:
        id: Its name.
        image: Normalised, (1, 3, H, W) on the device.
        labels: The teacher's prediction, int64 (1, H, W).
        classes: What is explained: output channels, those with the most predicted pixels first; may be none.
        maps: The teacher's maps of them, fp32 (n, grid x grid) of length 1.
    """

    id: str
    image: torch.Tensor
    labels: torch.Tensor
    classes: list[int]
    maps: torch.Tensor

    @property
    def question(self) -> Regions:
        """What is asked of every network: the same classes and pixels, whatever it predicts itself."""
        return Regions(self.classes, "given", self.labels)


@dataclass
class Exam:
    """How a network did on the probes; ``classes`` and ``rows`` of one row for each pair of an image and a class."""

    classes: list[int] = field(default_factory=list)
    teacher: list[torch.Tensor] = field(default_factory=list)
    student: list[torch.Tensor] = field(default_factory=list)
    loss: float = 0.0
    pixels: int = 0
    matrix: np.ndarray | int = 0

    def figures(self, kind: str, names: Sequence[str]) -> dict[str, Any]:
        """Everything that can be told of it: fitness by ``explanation``, ``loss`` and ``agreement``; mean
        ``distance`` of maps of length 1, of each class too; ``rows`` and ``zero_maps``.

        Args:
            kind: How maps are compared.
            names: Of the object classes; figures of each are theirs alone.
        """
        teacher, student = torch.cat(self.teacher), torch.cat(self.student)
        apart = distances(teacher, student).cpu().numpy()
        numbers = np.array(self.classes)
        by_class = {n: apart[numbers == c + 1] for c, n in enumerate(names)}
        ious = class_scores(np.asarray(self.matrix))["iou"]
        return {
            "explanation": similarity(kind, teacher, student),
            "loss": -self.loss / max(1, self.pixels),
            "agreement": float(np.nanmean(ious)),
            "distance": float(apart.mean()),
            "per_class": {n: float(found.mean()) for n, found in by_class.items() if len(found)},
            "rows": len(apart),
            "zero_maps": int((student == 0).all(1).sum()),
        }


class Judge:
    """Asks networks what the teacher was asked.

    Args:
        teacher: On its device, in evaluation mode.
        explainer: What makes the maps.
        settings: Grid and classes an image.
        seed: Of explainers with noise.
    """

    def __init__(self, teacher: nn.Module, explainer: Explainer, settings: SearchSettings, seed: int) -> None:
        self.explainer, self.settings, self.seed = explainer, settings, seed
        self.teacher, self.subject = teacher, subject_of(teacher)

    @torch.no_grad()
    def predicted(self, images: torch.Tensor) -> torch.Tensor:
        """The teacher's labels of normalised images (B, 3, H, W): int64 (B, H, W)."""
        labels: torch.Tensor = self.subject.read(self.teacher(images)).argmax(1)
        return labels

    def probe(self, id: str, image: torch.Tensor) -> Probe:
        """What is asked about a normalised image (1, 3, H, W), and the teacher's answer."""
        labels = self.predicted(image)
        pixels = torch.bincount(labels.flatten()).cpu().numpy()
        if not self.settings.background:
            pixels[0] = 0
        order = np.argsort(-pixels, kind="stable")[: self.settings.classes_an_image]
        classes = [int(number) for number in order if pixels[number]]
        empty = image.new_zeros(0, self.settings.grid**2)
        asked = Probe(id, image, labels, classes, empty)
        return Probe(id, image, labels, classes, self.answer(self.teacher, asked)[0]) if classes else asked

    def answer(self, network: nn.Module, probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps (n, grid x grid) of length 1 that a network in evaluation mode gives of a probe's classes, and its
        logits (1, C + 1, H, W)."""
        made = self.explainer(subject_of(network), probe.image, probe.question, ids=[probe.id], seed=self.seed)
        return unit_rows(made.maps, self.explainer.channels, self.settings.grid), made.output.float()

    @torch.no_grad()
    def examine(self, network: nn.Module, probes: Sequence[Probe], exam: Exam) -> None:
        """Add to an exam what a network in evaluation mode says of the probes."""
        for probe in probes:
            if probe.classes:
                maps, output = self.answer(network, probe)
                exam.classes += probe.classes
                exam.teacher.append(probe.maps)
                exam.student.append(maps)
            else:
                output = network(probe.image).float()
            exam.loss += float(F.cross_entropy(output, probe.labels, reduction="sum").double())
            exam.pixels += probe.labels.numel()
            labels, found = (t[0].cpu().numpy() for t in (probe.labels, output.argmax(1)))
            exam.matrix = exam.matrix + confusion(labels, found, output.shape[1] - 1)
