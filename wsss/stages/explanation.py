"""The stage ``explanation``: explain images of a split, keep the raw maps, and measure what they are worth.

Writes, beside the shards of raw signed maps (``wsss.store.maps``, attribute ``signed``):

- ``metrics.json``: ``summary`` under both policies for images with one class (``wsss.explain.metrics``), ``seeds``
  (mean IoU of the maps of the tags, threshold from a few masks of the training split), ``curves``;
- ``classes.csv``: one row per class; ``detections.csv``: one row per pair of an image and a class;
- ``pictures.png``: images and the maps of their classes.

Each image's measurements stand beside its maps, so a run that was killed resumes and jobs may share the
images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from wsss.data.buckets import buckets
from wsss.data.images import read_mask
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.evaluate.scoring import calibration_ids
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain.base import Explanation
from wsss.explain.metrics.confidence import Others
from wsss.explain.metrics.localisation import THRESHOLDS, count_seeds, seed_scores
from wsss.explain.metrics.measuring import ExplainedBatch, Metrics, measure, one_channel
from wsss.explain.metrics.tables import FLAGS, DetectionTable, Tally, write_table
from wsss.explain.seeds import CELL, SeedMaker, explainer_of, tagged
from wsss.explain.targets import Classes
from wsss.inference.batches import views_of
from wsss.inference.network import open_network
from wsss.models.classifier import load_classifier
from wsss.parts.maps import Format, write_maps
from wsss.report.overlays import ExplanationRow, draw_explanations
from wsss.runtime.run import Run
from wsss.settings import ExplanationSettings, InferenceSettings
from wsss.store.maps import Maps, MapShard, shard_paths
from wsss.system.files import atomic_path, write_json
from wsss.system.progress import Progress

POLICIES: tuple[Others, ...] = ("reference", "multi_only")
NOT_MEASURED = ("image", "class", "p", "kept", "removed", *FLAGS)


def make(run: Run) -> None:
    """Explain and measure; see above.

    Raises:
        WsssError: The classifier was trained on other classes than the index has, the explainer cannot be used on it,
            or its library is missing.
    """
    settings: ExplanationSettings = run.settings
    index = Index.load(run.inputs["index"])
    explained = evenly(index.split(settings.split), settings.images)
    calibrating = calibration_of(index, settings, run.args.seed)
    if not explained:
        raise WsssError(f"{index.folder}: there are no images in the split {settings.split}; explain the other one")
    explainer_of(settings)
    items = explained + calibrating

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        network, device = open_network(
            run.inputs["classifier"], load_classifier, index, run.args.device, run.args.threads
        )
        maker = SeedMaker(network, settings, len(index.classes), run.args.seed)
        stage = _Explaining(settings, maker, {item.id for item in explained}, run.args.seed)
        view = InferenceSettings(scales=(1.0,), flip=False, max_side=settings.max_side)

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            wanted = {item.id for item in part}
            with Progress(len(part), what="explaining") as progress:
                for batch, (images,) in views_of(part, view, device, run.args.threads, buckets(items)):
                    for made in stage(batch, images):
                        if made[0].id in wanted:
                            yield made
                            progress.advance()

        about = {"signed": 1, "explainer": settings.explainer, "policy": settings.policy}
        return Format((1.0,), False, maker.stride, maker.stride, about), maps_of

    texts = write_maps(run, items, begin)
    if texts is not None:
        write_tables(run, index, explained, calibrating, [json.loads(text) for text in texts])


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """``count`` of the items, evenly spaced over the list; all where there are fewer, or ``count`` is None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]


def calibration_of(index: Index, settings: ExplanationSettings, seed: int) -> list[Item]:
    """Training images whose masks the seeds' threshold is chosen on: none where the explained images have no masks, or
    are the training images themselves."""
    scored = index.scored(settings.split)
    if settings.split == "train" or not scored or not settings.calibration_images:
        return []
    return [index.item(id) for id in calibration_ids(index.scored("train"), settings.calibration_images, seed)]


@dataclass(frozen=True)
class _Explaining:
    """Explains and measures images of one size.

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
        if self.maker.pixels and len(stored):
            stored = F.avg_pool2d(stored[:, None], CELL, ceil_mode=True)[:, 0]
        for number, item in enumerate(items):
            mine = made.image_idx == number
            classes = made.class_idx[mine].cpu().numpy()
            array = [stored[mine].cpu().numpy()] if len(classes) else []
            yield item, classes, array, json.dumps(told[number])

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
        small = [each if each is None or each.shape == size else _nearest(each, size) for each in truth]
        tally = measure(
            self.maker.explainer, self.maker.subject, [ExplainedBatch(images, [i.id for i in items], labels, small)],
            self.maker.classes, metrics, rows.extend, lambda made, drawn: kept.append((made, drawn)),
        )  # fmt: skip
        ((made, drawn),) = kept
        number = {item.id: n for n, item in enumerate(items)}
        for position, row in enumerate(rows):
            mine = told[number[row["image"]]]
            mine["rows"].append(row)
            mine["curves"].append({name: scores[position].tolist() for name, scores in drawn.items()})
        for each in told:
            each["cost"] = {name: value / len(items) for name, value in tally.cost.items() if name != "seconds"}
            each["seconds"] = tally.cost["seconds"] / len(items)
            each["peak"] = tally.peak_mib
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


def _nearest(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A mask at the size of the image that the network saw."""
    rows, columns = ((np.arange(new) * old // new) for old, new in zip(mask.shape, size, strict=True))
    small: np.ndarray = mask[rows[:, None], columns]
    return small


def write_tables(
    run: Run, index: Index, explained: list[Item], calibrating: list[Item], told: list[dict[str, Any]]
) -> None:
    """Add up what was told of every image, and write tables and pictures."""
    settings: ExplanationSettings = run.settings
    count = len(index.classes)
    tally, shown = Tally(count), told[: len(explained)]
    with DetectionTable(run.out / "detections.csv") as table:
        for each in shown:
            rows = each["rows"]
            tally.add_cost(1, each["seconds"], each["cost"], each["peak"])
            if rows:
                tally.add(*_columns(rows, each["curves"]))
                table({**row, "class": index.classes[row["class"]]} for row in rows)
    summary = {others: tally.summary(others) for others in POLICIES}
    seconds = [each.pop("seconds_per_image") for each in summary.values()]  # like memory: of this run, no result
    for each in summary.values():
        del each["peak_gpu_memory_mib"]
    result = {
        "explainer": settings.explainer,
        "explainer_options": settings.explainer_options,
        "policy": settings.policy,
        "split": settings.split,
        "summary": summary,
        "seeds": seeds_of(told[len(explained) :], shown, count, calibrated=settings.split != "train"),
        "calibration": [item.id for item in calibrating],
        "curves": tally.mean_curves(),
    }
    write_table(run.out / "classes.csv", tally.class_table(index.classes))
    write_json(run.out / "metrics.json", result)
    run.note(explained=len(explained), detections=summary["reference"]["detections"])
    run.record(seconds_an_image=seconds[0])
    order = sorted(range(len(explained)), key=lambda number: -len(shown[number]["rows"]))
    draw_pictures(run, index, [explained[number] for number in order[: settings.pictures]])


def _columns(
    rows: list[dict[str, Any]], curves: list[dict[str, list[float]]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What ``Tally.add`` takes, of the rows of an image."""
    class_idx = torch.tensor([row["class"] for row in rows])
    values = {
        name: torch.tensor([torch.nan if row[name] is None else row[name] for row in rows], dtype=torch.float64)
        for name in rows[0]
        if name not in NOT_MEASURED
    }
    flags = {name: torch.tensor([bool(row[name]) for row in rows]) for name in FLAGS}
    drawn = {name: torch.tensor([each[name] for each in curves]) for name in curves[0]}
    return class_idx, values, flags, drawn


def seeds_of(
    calibrating: list[dict[str, Any]], scored: list[dict[str, Any]], classes: int, calibrated: bool
) -> dict[str, Any] | None:
    """Mean IoU of the seeds; None where there are no masks to say it by."""
    if not calibrated or not any("seeds" in each for each in calibrating) or not any("seeds" in e for e in scored):
        return None
    return seed_scores(_added(calibrating, classes), _added(scored, classes))


def _added(told: list[dict[str, Any]], classes: int) -> ThresholdCounts:
    counts = ThresholdCounts(THRESHOLDS, classes)
    flat = counts.counts.reshape(-1)
    for each in told:
        if "seeds" in each:
            at, numbers = each["seeds"]
            flat[at] += np.asarray(numbers, np.int64)
            counts.images += 1
    return counts


def draw_pictures(run: Run, index: Index, items: list[Item]) -> None:
    """Write ``pictures.png``: a row per image, a column per class."""
    left = {item.id: item for item in items}
    rows: dict[str, ExplanationRow] = {}
    for path in shard_paths(run.out):
        shard = MapShard(path)
        for number, id in enumerate(shard.ids):
            if id in left:
                record = shard.record(number)
                maps = {index.classes[c]: record.maps[0][k] for k, c in enumerate(record.classes.tolist())}
                rows[id] = ExplanationRow(left[id], maps)
        shard.close()
    with atomic_path(run.out / "pictures.png") as temporary:
        draw_explanations([rows[item.id] for item in items], temporary)
