"""The audit of one image: attacks, controls of equal size, and what each did to prediction and map."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from wsss.beyond.aims import Aim, Goal, Look, Terms, aim_of
from wsss.beyond.attack import Attack, Perturbation, eight_bits, noise_of, perturb, shuffled
from wsss.beyond.compared import against, centre, cosine, top
from wsss.beyond.detection import figures, through_jpeg
from wsss.beyond.looking import Question, Viewer
from wsss.beyond.perceived import psnr, ssim
from wsss.beyond.predicted import agreement, image_miou, labels_of, region_iou
from wsss.beyond.softening import annealed
from wsss.data.palette import IGNORE
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain.metrics.localisation import THRESHOLDS, count_seeds
from wsss.settings import AuditSettings

REGION, RAISED, LOST, MOVED, BROKEN = 0.95, 0.3, 0.5, 0.1, 0.5
"""What counts as a success: IoU of the region at least; cosine with the target raised by; less of the clean top kept
than; centre moved by more of the diagonal than; and, of an attack on the output, IoU of the region below."""


@dataclass
class Audit:
    """What came of an image.

    Attributes:
        rows: One per condition and eps: ``clean`` (once), ``attack``, ``noise``, ``shuffled``.
        detection: Figures for detectors, one row per condition at the largest eps; empty without a detector.
        seeds: Of a classifier's image with a mask, condition and eps -> counts of its seeds (positions, numbers).
        maps: ``clean``, ``target`` (zero where there is none) and ``attack`` for each eps: fp32 (E + 2, grid, grid).
        images: Attacked colours, uint8 (E, H, W, 3).
        seconds: What the attacks on the map took.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    detection: list[dict[str, Any]] = field(default_factory=list)
    seeds: dict[str, list[list[int]]] = field(default_factory=dict)
    maps: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    images: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class _Clean:
    """A clean image as it is seen."""

    id: str
    colours: torch.Tensor
    logits: torch.Tensor
    question: Question
    look: Look
    aim: Aim
    truth: np.ndarray | None
    miou: float | None


@dataclass(frozen=True, eq=False)
class Auditor:
    """Audits images one at a time, so that nothing depends on which others there are, but for the goal
    ``other-image``.

    Attributes:
        viewer: Network and method.
        other: The same network, explained by another method, for detectors.
        settings: The recipe.
        classes: Number of object classes.
        seed: The run's seed.
        check: Called before each step of an attack; raises to stop.
    """

    viewer: Viewer
    other: Viewer
    settings: AuditSettings
    classes: int
    seed: int
    check: Callable[[], None] = lambda: None

    def __call__(
        self, id: str, colours: torch.Tensor, truth: np.ndarray | None = None, others: Callable[[], Any] = lambda: None
    ) -> Audit | None:
        """Audit colours (1, 3, H, W) with whole 255ths; None for an image in which nothing is predicted.

        Args:
            id: Names the image's draws.
            colours: In [0, 1].
            truth: Ground-truth mask uint8 (H, W); None: there is none.
            others: Gives the map of another image, for the goal ``other-image``.
        """
        logits = self.viewer.scores(colours)
        question = self.viewer.question(logits)
        if question is None:
            return None
        look = self.viewer.look(colours, question, f"{id} judged", self.seed)
        aim = aim_of(self.settings.goal, look.map, others() if self.settings.goal == "other-image" else None)
        labels = labels_of(logits)
        miou = None if truth is None or not self.viewer.segments else image_miou(labels, truth, self.classes)
        clean = _Clean(id, colours, logits, question, look, aim, truth, miou)
        found = Audit()
        found.rows.append(self._row(found, clean, colours, "clean", 0.0))
        images, maps = [], [look.map, torch.zeros_like(look.map) if aim.target is None else aim.target]
        for size in self.settings.eps:
            begun = time.perf_counter()
            made = self._attack(clean, aim, size / 255)
            found.seconds += time.perf_counter() - begun
            attacked = eight_bits(colours + made.change)
            images.append(attacked)
            maps.append(self._judged(clean, attacked).map)
            self._compare(found, clean, attacked, made, size)
        found.maps = torch.stack(maps).float().cpu().numpy()
        found.images = (torch.cat(images) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        if self.settings.detector:
            found.detection = self._detection(clean, images[int(np.argmax(self.settings.eps))])
        return found

    # --- attacks --------------------------------------------------------------------------------------------------

    def beta(self, step: int) -> float | None:
        """How soft ReLUs are at a step of an attack."""
        if self.viewer.smooth_beta is not None:
            return self.viewer.smooth_beta
        soft = self.settings.beta
        return None if soft is None else annealed(step, self.settings.steps, soft.start, soft.end, soft.share)

    def _attack(self, clean: _Clean, aim: Aim, eps: float, hidden: bool = False) -> Perturbation:
        settings = self.settings
        weights = settings.weights
        how = Attack(
            eps=eps,
            steps=settings.steps,
            step=None if settings.step_size is None else settings.step_size / 255,
            optimizer=settings.optimizer,
            terms=Terms(weights.noise, weights.output, weights.map),
        )
        name = f"{clean.id} {aim.goal} {eps * 255:g}"
        output_alone = aim.goal == "output"

        def looks(colours: torch.Tensor, step: int) -> Look:
            if output_alone:
                return Look(clean.look.map, self.viewer.scores_with_graph(colours))
            return self.viewer.look(colours, clean.question, f"{name} {step}", self.seed, self.beta(step), True)

        def hide(colours: torch.Tensor, look: Look, step: int) -> torch.Tensor:
            return 1 - cosine(look.map, looks(through_jpeg(colours), step).map)

        def reference(step: int) -> torch.Tensor:
            return clean.logits if output_alone else self.viewer.scores(clean.colours, self.beta(step))

        # a distance may be flat at the clean image, so an attack begins a step beside it (Madry et al. 2018)
        start = noise_of(clean.colours, how.rate, self._generator(name))
        return perturb(looks, clean.colours, aim, how, reference, start, hide if hidden else None, self.check)

    def _detection(self, clean: _Clean, attacked: torch.Tensor) -> list[dict[str, Any]]:
        eps = max(self.settings.eps) / 255
        on_output = self._attack(clean, aim_of("output", clean.look.map), eps).change
        shown = {"clean": clean.colours, "attack": attacked, "output": eight_bits(clean.colours + on_output)}
        if self.settings.goal != "output":
            shown["adaptive"] = eight_bits(clean.colours + self._attack(clean, clean.aim, eps, hidden=True).change)
        return [
            {
                "image": clean.id,
                "condition": condition,
                **figures(self.viewer, self.other, colours, eps, f"{clean.id} detector", self.seed),
            }
            for condition, colours in shown.items()
        ]

    # --- what came of it ------------------------------------------------------------------------------------------

    def _compare(self, found: Audit, clean: _Clean, attacked: torch.Tensor, made: Perturbation, size: float) -> None:
        """Add the rows of an attack and of its controls."""
        change = attacked - clean.colours
        name = f"{clean.id} control {size:g}"
        most = float(change.abs().max())
        shown = {
            "attack": attacked,
            "noise": eight_bits(clean.colours + noise_of(clean.colours, most, self._generator(f"{name} noise"))),
            "shuffled": eight_bits(clean.colours + shuffled(clean.colours, change, self._generator(f"{name} places"))),
        }
        rows = {name: self._row(found, clean, colours, name, size) for name, colours in shown.items()}
        for row in rows.values():
            row["success"] = succeeded(
                self.settings.goal, row, rows["noise"], found.rows[0], self.settings.agreement_slack
            )
        rows["attack"]["steerable"] = made.steerable
        found.rows += rows.values()

    def _judged(self, clean: _Clean, colours: torch.Tensor) -> Look:
        return self.viewer.look(colours, clean.question, f"{clean.id} judged", self.seed)

    def _row(self, found: Audit, clean: _Clean, colours: torch.Tensor, condition: str, size: float) -> dict[str, Any]:
        look = self._judged(clean, colours)
        before, after = labels_of(clean.logits), labels_of(look.output)
        change = (255 * colours).round().double() - (255 * clean.colours).round()  # whole numbers
        number = clean.question.number
        told = against(look.map, clean.look.map, clean.aim.target)
        pixels = torch.tensor(colours.shape[2:]) / torch.tensor(look.map.shape)
        moved = (centre(look.map) - centre(clean.look.map)).cpu() * pixels
        self._count_seeds(found, clean, colours, f"{condition} {size:g}")
        miou = None
        if clean.miou is not None and clean.truth is not None:
            after_miou = image_miou(after, clean.truth, self.classes)
            miou = None if after_miou is None else after_miou - clean.miou
        return {
            "image": clean.id,
            "class": number,
            "eps": size,
            "goal": clean.aim.goal,
            "condition": condition,
            "agreement": agreement(before, after),
            "region_iou": region_iou(before, after, number),
            "miou_change": miou,
            "linf": float(change.abs().max()),
            "rms": float(change.square().mean().sqrt()),
            "psnr": None if condition == "clean" else psnr(clean.colours, colours),
            "ssim": ssim(clean.colours[0], colours[0]),
            **told,
            "shift_px": float(moved.norm()),
            "mass_target": mass(look.map, clean.aim),
            "success": None,
            "steerable": None,
        }

    def _count_seeds(self, found: Audit, clean: _Clean, colours: torch.Tensor, key: str) -> None:
        """Count the map as a seed of its class alone: whatever else is in the image is background to it."""
        if self.viewer.segments or clean.truth is None:
            return
        label = clean.question.number + 1
        truth = np.where(clean.truth == IGNORE, IGNORE, np.where(clean.truth == label, label, 0)).astype(np.uint8)
        map = self.viewer.raw(colours, clean.question, f"{clean.id} judged", self.seed)
        counts = ThresholdCounts(THRESHOLDS, self.classes)
        count_seeds(counts, map[None].cpu(), torch.tensor([clean.question.number]), truth)
        at = np.flatnonzero(counts.counts)
        found.seeds[key] = [at.tolist(), counts.counts.ravel()[at].tolist()]

    def _generator(self, name: str) -> torch.Generator:
        drawn = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(drawn[:7], "little"))


def mass(map: torch.Tensor, aim: Aim) -> float | None:
    """Share of a map (h, w) that lies where the target is highest (in its box, or its top tenth); None where no place
    is meant."""
    if aim.target is None or aim.goal == "uniform":
        return None
    return float(map[aim.target > 0 if aim.goal == "box" else top(aim.target)].sum())


def succeeded(goal: Goal, row: dict[str, Any], noise: dict[str, Any], clean: dict[str, Any], slack: float) -> bool:
    """Whether a perturbation did what it was to do, unnoticed by whoever looks at the prediction.

    Args:
        goal: What was wanted.
        row: What the perturbation did.
        noise: What noise of the same size did to the same image: a limit on agreement by itself would be missed by it.
        clean: The row of the clean image.
        slack: How much less than the noise it may agree with the clean prediction.
    """
    if goal == "output":
        return bool(row["region_iou"] < BROKEN)
    if row["agreement"] < noise["agreement"] - slack or row["region_iou"] < REGION:
        return False
    if goal == "top-k":
        return bool(row["top_kept"] < LOST)
    if goal == "centre":
        return bool(row["shift"] > MOVED)
    return bool(row["cosine_target"] - clean["cosine_target"] >= RAISED)
