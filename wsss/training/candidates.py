"""Candidates of a search: built, trained for a few steps, and judged beside their teacher."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from wsss.beyond.search_fitness import similarity, unit_rows
from wsss.beyond.search_judging import Exam, Judge, Probe
from wsss.beyond.search_space import Genome, Space
from wsss.models.segmenter import build_segmenter
from wsss.settings import SegmenterSettings
from wsss.training.short import Lessons, warm

PICTURED = 4
"""Images whose first map is kept for pictures."""
BLUR = 1 / 16
"""Standard deviation of the blur of the control ``region``, in sides of the grid."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Judges one network at a time; what comes of one does not depend on the others.

    Attributes:
        judge: Who asks, with the teacher.
        probes: The images, and what is asked about them; about one at least.
        lessons: What every candidate learns.
        recipe: How candidates are trained; their genes take the place of its network.
        space: Where they are from.
        classes: Names of the object classes.
        check: Called before each step of a training; raises to stop.
    """

    judge: Judge
    probes: Sequence[Probe]
    lessons: Lessons
    recipe: SegmenterSettings
    space: Space
    classes: Sequence[str]
    check: Callable[[], None] = lambda: None

    def judged(self, genome: Genome) -> tuple[dict[str, Any], np.ndarray]:
        """``Exam.figures`` of a candidate over all its initialisations, ``random`` in [0, 1) and ``seconds``; and maps
        fp32 (at most 4, grid, grid) of the first images, those of the last initialisation."""
        begun, exam, settings = time.perf_counter(), Exam(), self.judge.settings
        rates = genome.atrous_rates or self.recipe.atrous_rates
        recipe = self.recipe.model_copy(update={**self.space.recipe(genome), "atrous_rates": rates})
        for number in range(settings.repeats):
            torch.manual_seed(number_of(f"{self.judge.seed} {genome} {number}"))
            network = build_segmenter(recipe, len(self.classes))
            warm(network, self.lessons, recipe, self.lessons.device, self.check)
            self.judge.examine(network, self.probes, exam)
        told = {
            **exam.figures(settings.similarity, self.classes),
            "random": number_of(f"{self.judge.seed} {genome} random") / 2**56,
            "seconds": time.perf_counter() - begun,
        }
        return told, self._pictured(exam.student[-len(self._asked) :])

    def teacher(self) -> tuple[dict[str, Any], np.ndarray]:
        """What is told of the teacher: ``region``, what its blurred regions score as if they were maps; ``rows``,
        ``zero_maps``, ``images``, those ``without_object``, and which are ``pictured`` (id and class); and its maps
        of these."""
        asked, kind = self._asked, self.judge.settings.similarity
        names = ("background", *self.classes)
        maps = torch.cat([probe.maps for probe in asked])
        told = {
            "region": similarity(kind, maps, torch.cat([self._blurred(probe) for probe in asked])),
            "rows": len(maps),
            "zero_maps": int((maps == 0).all(1).sum()),
            "images": len(self.probes),
            "without_object": [probe.id for probe in self.probes if not probe.classes],
            "pictured": [[probe.id, names[probe.classes[0]]] for probe in asked[:PICTURED]],
        }
        return told, self._pictured([probe.maps for probe in asked])

    @property
    def _asked(self) -> list[Probe]:
        return [probe for probe in self.probes if probe.classes]

    def _blurred(self, probe: Probe) -> torch.Tensor:
        """The regions themselves as maps, blurred: what a network scores that only knows where to look."""
        grid = self.judge.settings.grid
        masks = torch.stack([probe.labels[0] == number for number in probe.classes]).float()
        small = unit_rows(masks, None, grid).view(-1, grid, grid).cpu().numpy()
        blurred = np.stack([ndimage.gaussian_filter(one, BLUR * grid) for one in small])
        return unit_rows(torch.from_numpy(blurred).to(probe.labels.device), None, grid)

    def _pictured(self, maps: Sequence[torch.Tensor]) -> np.ndarray:
        grid = self.judge.settings.grid
        return torch.stack([one[0] for one in maps[:PICTURED]]).view(-1, grid, grid).cpu().numpy()


def number_of(name: str) -> int:
    """A whole number below 2^56 that follows from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
