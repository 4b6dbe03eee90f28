"""What a recipe of ``explanations`` makes of images of one size: their maps, and what was measured of them, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.images import read_mask
from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain.base import Explanation
from wsss.explain.metrics.localisation import THRESHOLDS, count_seeds
from wsss.explain.metrics.measuring import ExplainedBatch, Metrics, measure, one_channel
from wsss.explain.metrics.regional import RegionMetrics, measure_regions
from wsss.explain.metrics.tables import Tally
from wsss.explain.regions import Regions
from wsss.explain.seeds import CELL, SeedMaker, explainer_of, tagged, tried
from wsss.explain.subject import Subject, subject_of
from wsss.explain.targets import Classes
from wsss.settings import ExplanationSettings
from wsss.store.map_shards import Maps
from wsss.text import listed
from wsss.text import nearest as near


@dataclass(frozen=True)
class OfClasses:
    """Explains and measures images of one size, by a classifier.

    Yields their maps, and as JSON: ``rows`` (one dict per pair of image and class), ``curves`` (by name, one per row),
    ``cost``, ``seconds``, and ``seeds`` (counts of the seeds at all thresholds: positions and numbers)."""

    settings: ExplanationSettings
    maker: SeedMaker
    explained: set[str]
    seed: int

    def __call__(self, items: list[Item], images: torch.Tensor) -> Iterator[Maps]:
        for explained in (True, False):
            picked = [number for number, item in enumerate(items) if (item.id in self.explained) == explained]
            if picked:
                yield from self._alike([items[number] for number in picked], images[picked], explained)

    def _alike(self, items: list[Item], images: torch.Tensor, explained: bool) -> Iterator[Maps]:
        truth = [read_mask(item.mask) if item.scored and item.mask is not None else None for item in items]
        labels = tagged(items, self.maker.classes, images.device)
        told: list[dict[str, Any]] = [{"rows": [], "curves": []} for _ in items]
        made = self._measure(items, images, labels, truth, told) if explained else None
        if self.settings.calibration_images and any(each is not None for each in truth):
            if made is None or self.settings.policy != "gt":
                ids = [item.id for item in items]
                maps = self.maker.explainer(self.maker.subject, images, Classes("gt", labels), ids=ids, seed=self.seed)
            else:
                maps = made
            self._count(items, maps, truth, told)
            made = maps if made is None else made
        assert made is not None  # images that are not explained are there for their masks
        stored, _ = one_channel(self.maker.explainer, made.maps)
        yield from records(items, made, stored, self.maker.pixels, told)

    def _measure(
        self,
        items: list[Item],
        images: torch.Tensor,
        labels: torch.Tensor,
        truth: list[np.ndarray | None],
        told: list[dict[str, Any]],
    ) -> Explanation:
        kept: list[tuple[Explanation, dict[str, torch.Tensor]]] = []
        rows: list[dict[str, Any]] = []
        settings = self.settings
        metrics = Metrics(
            settings.policy, settings.fill, settings.curves, settings.curve_steps, road=settings.road, seed=self.seed
        )
        size = images.shape[2:]
        small = [None if each is None else nearest(each, size) for each in truth]
        tally = measure(
            self.maker.explainer, self.maker.subject, [ExplainedBatch(images, [i.id for i in items], labels, small)],
            self.maker.classes, metrics, rows.extend, lambda made, drawn: kept.append((made, drawn)),
        )  # fmt: skip
        ((made, drawn),) = kept
        tell(told, items, rows, drawn, tally)
        return made

    def _count(
        self, items: list[Item], made: Explanation, truth: list[np.ndarray | None], told: list[dict[str, Any]]
    ) -> None:
        maps, _ = one_channel(self.maker.explainer, made.maps)
        for number, mask in enumerate(truth):
            if mask is not None:
                counts = ThresholdCounts(THRESHOLDS, self.maker.classes)
                mine = made.image_idx == number
                count_seeds(counts, maps[mine], made.class_idx[mine], mask)
                at = np.flatnonzero(counts.counts)
                told[number]["seeds"] = [at.tolist(), counts.counts.ravel()[at].tolist()]


class OfRegions:
    """Explains and measures images of one size, by a segmentation network; what it yields is as for ``OfClasses``, but
    for the seeds.

    Args:
        network: In evaluation mode, on its device.
        settings: The recipe.
        classes: Names of the object classes.
        seed: The run's seed, for explainers with noise.

    Attributes:
        stride: Input pixels a cell of the stored maps.
        pixels: Whether maps are made at the input's size, and stored as means of cells.

    Raises:
        WsssError: The explainer cannot be used on this network, or it has no such class.
    """

    def __init__(self, network: nn.Module, settings: ExplanationSettings, classes: Sequence[str], seed: int) -> None:
        self.subject: Subject = subject_of(network)
        self.explainer, self.settings, self.seed, self.count = explainer_of(settings), settings, seed, len(classes)
        self.only = numbers_of(settings, classes)
        self.stride, self.pixels = tried(self.explainer, self.subject, Regions([1], "image"), seed)

    def __call__(self, items: list[Item], images: torch.Tensor) -> Iterator[Maps]:
        size = images.shape[2:]
        truth = [read_mask(item.mask) if item.scored and item.mask is not None else None for item in items]
        small = [None if each is None else nearest(each, size) for each in truth]
        target = self._question(small, size)
        settings = self.settings
        metrics = RegionMetrics(
            settings.curves, settings.curve_fills, settings.curve_steps, settings.road, seed=self.seed
        )
        kept: list[tuple[Explanation, dict[str, torch.Tensor]]] = []
        rows: list[dict[str, Any]] = []
        tally = measure_regions(
            self.explainer, self.subject, [ExplainedBatch(images, [i.id for i in items], None, small)], self.count,
            lambda _: target, metrics, rows.extend, lambda made, drawn: kept.append((made, drawn)),
        )  # fmt: skip
        ((made, drawn),) = kept
        told: list[dict[str, Any]] = [{"rows": [], "curves": []} for _ in items]
        tell(told, items, rows, drawn, tally)
        stored, _ = one_channel(self.explainer, made.maps)
        yield from records(items, made, stored, self.pixels, told, first=1)

    def _question(self, truth: list[np.ndarray | None], size: Sequence[int]) -> Regions:
        """What is asked of images of this size; ground-truth masks are at their size already."""
        where = self.settings.region
        inside = where in ("pixel", "box", "given")
        masks = None
        if where == "given":
            known = [each for each in truth if each is not None]
            masks = torch.from_numpy(np.stack(known).astype(np.int64))  # the stage leaves out images without one
        return Regions(self.only or ("inside" if inside else "predicted"), where, masks, placed(self.settings.at, size))


def numbers_of(settings: ExplanationSettings, classes: Sequence[str]) -> list[int] | None:
    """Output channels of the classes that a recipe names; None: it names none.

    Raises:
        WsssError: There is no such class.
    """
    for name in settings.classes or ():
        if name not in classes:
            raise WsssError(f"classes: there is no class {name!r}{near(name, classes)} ({listed(classes)})")
    return None if settings.classes is None else sorted(list(classes).index(name) + 1 for name in settings.classes)


def placed(at: Sequence[float], size: Sequence[int]) -> tuple[int, ...] | None:
    """Shares of height and width as a pixel (y, x) or a box (top, left, bottom, right) of at least one pixel; None
    where there are none."""
    first = [min(int(v * n), n - 1) for v, n in zip(at[:2], size, strict=False)]
    last = [min(max(round(v * n), low + 1), n) for v, n, low in zip(at[2:], size, first, strict=False)]
    return (*first, *last) if at else None


def tell(
    told: list[dict[str, Any]],
    items: list[Item],
    rows: list[dict[str, Any]],
    drawn: dict[str, torch.Tensor],
    tally: Tally,
) -> None:
    """Put what was measured of a batch down beside each of its images."""
    number = {item.id: n for n, item in enumerate(items)}
    for position, row in enumerate(rows):
        mine = told[number[row["image"]]]
        mine["rows"].append(row)
        mine["curves"].append({name: scores[position].tolist() for name, scores in drawn.items()})
    for each in told:
        each["cost"] = {name: value / len(items) for name, value in tally.cost.items() if name != "seconds"}
        each["seconds"] = tally.cost["seconds"] / len(items)
        each["peak"] = tally.peak_mib


def records(
    items: list[Item],
    made: Explanation,
    maps: torch.Tensor,
    pixels: bool,
    told: list[dict[str, Any]],
    first: int = 0,
) -> Iterator[Maps]:
    """What is stored of each image: its classes, maps (R, h, w), and text. ``pixels``: maps are as large as the image,
    and stored as means of cells; ``first``: the output channel of class 0."""
    if pixels and len(maps):
        maps = F.avg_pool2d(maps[:, None], CELL, ceil_mode=True)[:, 0]
    for number, item in enumerate(items):
        mine = made.image_idx == number
        classes = (made.class_idx[mine] - first).cpu().numpy()
        array = [maps[mine].cpu().numpy()] if len(classes) else []
        yield item, classes, array, json.dumps(told[number])


def nearest(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A mask at the size of the image that the network saw."""
    rows, columns = ((np.arange(new) * old // new) for old, new in zip(mask.shape, size, strict=True))
    small: np.ndarray = mask[rows[:, None], columns]
    return small
