"""The stage ``explanation``: explain images of a split, keep the raw maps, and measure what they are worth.

What is explained is a classifier or a segmentation network. Writes, beside the shards of raw signed maps
(``wsss.store.map_shards``, attribute ``signed``):

- ``metrics.json``: ``summary`` under both policies for images with one class (``wsss.explain.metrics``), ``seeds``
  (of classifiers: mean IoU of the maps of the tags, threshold from a few masks of the training split), ``curves``;
- ``classes.csv``: one row per class; ``detections.csv``: one row per pair of an image and a class;
- ``pictures.png``: images and the maps of their classes.

Each image's measurements stand beside its maps, so a run that was killed resumes and jobs may share the
images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.evaluate.scoring import calibration_ids
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain.metrics.confidence import Others
from wsss.explain.metrics.localisation import THRESHOLDS, seed_scores
from wsss.explain.metrics.tables import FLAGS, DetectionTable, Tally, write_table
from wsss.explain.metrics.weights import weight_correlation
from wsss.explain.recipes import OfClasses, OfRegions, numbers_of
from wsss.explain.seeds import SeedMaker, explainer_of
from wsss.explain.subject import subject_of
from wsss.inference.batches import views_of
from wsss.inference.network import open_network
from wsss.models.classifier import load_classifier
from wsss.models.segmenter import load_segmenter
from wsss.parts.maps import Format, write_maps
from wsss.report.overlays import ExplanationRow, draw_explanations
from wsss.runtime.run import Run
from wsss.settings import ExplanationSettings, InferenceSettings
from wsss.store.map_shards import Maps, MapShard, shard_paths
from wsss.system.files import atomic_path, write_json
from wsss.system.progress import Progress

POLICIES: tuple[Others, ...] = ("reference", "multi_only")
NOT_MEASURED = ("image", "class", "p", "kept", "removed", "area", *FLAGS)


def make(run: Run) -> None:
    """Explain and measure; see above.

    Raises:
        WsssError: The network was not given, was trained on other classes than the index has, or has not the classes
            that are asked for; the explainer cannot be used on it, or its library is missing; no image is there.
    """
    settings: ExplanationSettings = run.settings
    index = Index.load(run.inputs["index"])
    explained = evenly(explicable(index, settings), settings.images)
    calibrating = calibration_of(index, settings, run.args.seed)
    explainer_of(settings)
    numbers_of(settings, index.classes)
    items = explained + calibrating
    kind = "segmenter" if settings.of_regions else "classifier"
    if kind not in run.inputs:
        raise WsssError(f"--{kind}: name the folder of the {kind} to look into")

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        maker: SeedMaker | OfRegions
        stage: OfClasses | OfRegions
        if settings.of_regions:
            segmenter, device = open_network(run.inputs[kind], load_segmenter, index, run.args.device, run.args.threads)
            stage = maker = OfRegions(segmenter, settings, index.classes, run.args.seed)
        else:
            network, device = open_network(run.inputs[kind], load_classifier, index, run.args.device, run.args.threads)
            maker = SeedMaker(network, settings, len(index.classes), run.args.seed)
            stage = OfClasses(settings, maker, {item.id for item in explained}, run.args.seed)
        view = InferenceSettings(scales=(1.0,), flip=False, max_side=settings.max_side)

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            wanted = {item.id for item in part}
            with Progress(len(part), what="explaining") as progress:
                for batch, (images,) in views_of(part, view, device, run.args.threads, buckets(items)):
                    for made in stage(batch, images):
                        if made[0].id in wanted:
                            yield made
                            progress.advance()

        asked = {"region": settings.region} if settings.of_regions else {"policy": settings.policy}
        about = {"signed": 1, "explainer": settings.explainer, **asked}
        return Format((1.0,), False, maker.stride, maker.stride, about), maps_of

    texts = write_maps(run, items, begin)
    if texts is not None:
        write_tables(run, index, explained, calibrating, [json.loads(text) for text in texts])


def explicable(index: Index, settings: ExplanationSettings) -> list[Item]:
    """Images of the split that can be explained: all, or with ``region: given`` those with a ground-truth mask.

    Raises:
        WsssError: There are none.
    """
    if settings.region == "given":
        items = [item for item in index.split(settings.split) if item.scored and item.mask is not None]
        if not items:
            raise WsssError(
                f"{index.folder}: 'region: given' needs ground-truth masks, and no image of the split {settings.split} "
                "has one; take another region"
            )
    elif not (items := index.split(settings.split)):
        raise WsssError(f"{index.folder}: there are no images in the split {settings.split}; explain the other one")
    return items


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """``count`` of the items, evenly spaced over the list; all where there are fewer, or ``count`` is None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]


def calibration_of(index: Index, settings: ExplanationSettings, seed: int) -> list[Item]:
    """Training images whose masks the seeds' threshold is chosen on: none where the explained images have no masks, or
    are the training images themselves, or where regions are explained."""
    scored = index.scored(settings.split)
    if settings.of_regions or settings.split == "train" or not scored or not settings.calibration_images:
        return []
    return [index.item(id) for id in calibration_ids(index.scored("train"), settings.calibration_images, seed)]


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
    result: dict[str, Any] = {
        "explainer": settings.explainer,
        "explainer_options": settings.explainer_options,
        "policy": settings.policy,
        "split": settings.split,
        "summary": summary,
        "seeds": seeds_of(told[len(explained) :], shown, count, calibrated=settings.split != "train"),
        "calibration": [item.id for item in calibrating],
        "curves": tally.mean_curves(),
    }
    if settings.weights:
        weight = subject_of(load_classifier(run.inputs["classifier"])[0]).class_weights()[0]
        result["weight_correlation"] = weight_correlation(weight.detach())
    if settings.of_regions:
        del result["policy"], result["seeds"], result["calibration"]
        result |= {"region": settings.region, "at": settings.at, "curve_fills": settings.curve_fills}
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
