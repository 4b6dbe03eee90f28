"""Training a segmentation network on pseudo-labels or ground truth, or taking a guided classifier for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wsss.beyond.continual import REPLAYED, Step, repeats, step_of, unpacked
from wsss.data.few_masks import few_masks, masks_of
from wsss.data.index import Index, Item
from wsss.data.sampling import masked_chances
from wsss.errors import WsssError
from wsss.models.class_rows import steps_of
from wsss.models.segmenter import Segmenter, load_segmenter, save_heatmaps, save_segmenter
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.objectives.continual import FULL, Continual
from wsss.objectives.tagged_segmentation import TaggedSegmentation
from wsss.refine.soft_targets import LEVELS, soft_levels
from wsss.runtime.run import Run
from wsss.settings import ContinualSettings, SegmentationSettings, SegmenterSettings
from wsss.store.exemplars import Exemplars
from wsss.store.found import recipe_of
from wsss.store.maps import MapStore
from wsss.store.masks import FileOf, MaskFolder
from wsss.system.log import log
from wsss.system.packs import AnyFile
from wsss.text import listed
from wsss.training.checkpoint import keep_product
from wsss.training.train import check_classes, looked_at, prepare, train


class SoftTargets:
    """The probabilities beside the masks of a folder: called with an item, uint8 (n + 1, h, w) as in ``Batch.soft``.

    Raises:
        WsssError: (at once) there are none, or none of some items; those of an item are of other classes than its tags,
            or of another size.
    """

    def __init__(self, folder: Path, items: list[Item]) -> None:
        if not any(folder.glob("shard-*.h5")):
            raise WsssError(
                f"{folder}: no probabilities lie beside these masks, and 'soft_weight' learns from them; make them "
                "with 'source: segmenter' and 'keep_probabilities: true', or set soft_weight to 0"
            )
        self.store = MapStore(folder)
        self.store.require(items)
        for item in items:
            self.store.check_size(item)
            if set(self.store[item.id].classes) != set(item.labels):
                raise WsssError(
                    f"{folder}: the probabilities of {item.id!r} are of other classes than its labels in the index; "
                    "make the masks again"
                )

    def __call__(self, item: Item) -> np.ndarray:
        record = self.store[item.id]
        if not len(record.classes):
            return np.full((1, 1, 1), LEVELS, np.uint8)
        return soft_levels(record.classes, record.maps[0])


def make(run: Run) -> None:
    """Train the segmentation network of ``run.settings``; write weights and metrics.

    Raises:
        WsssError: A training image has no mask, or no probabilities where the recipe learns from them, or there are
            fewer masks than the recipe asks for; a classifier that is no guided one, or has other classes; a search
            that was not given, or that has fewer networks than ``rank``.
    """
    settings = decided(run)
    index = Index.load(run.inputs["index"])
    if isinstance(settings, SegmentationSettings) and settings.supervision == "classifier":
        if not run.world.rank:
            take_heatmaps(run, index)
        return
    step = begun_step(run, index) if isinstance(settings, ContinualSettings) and settings.classes else None
    items = index.split("train") if step is None else step.images(index.split("train"))
    soft_of: Callable[[Item], np.ndarray] | None = None
    chances: np.ndarray | None = None
    mask_of: Callable[[Item], AnyFile | np.ndarray]
    if isinstance(settings, SegmentationSettings) and settings.tags:
        items = index.training_items()
        shown = looked_at(run, few_masks(index, settings.gt_masks, run.args.seed), settings.gt_masks)
        mask_of = masks_of(shown)
        if settings.masked_share is not None:
            ids = {item.id for item in shown}
            chances = masked_chances(np.array([item.id in ids for item in items]), settings.masked_share)
    elif settings.supervision == "masks":
        items = [item for item in items if item.mask is not None]
        if not items:
            raise WsssError(
                f"{index.folder}: 'supervision: masks' needs ground-truth masks, and no training image has one"
            )
        if settings.gt_masks != "all":
            items = looked_at(run, few_masks(index, settings.gt_masks, run.args.seed), settings.gt_masks)

        mask_of = masks_of(items)
    else:
        if "masks" not in run.inputs:
            raise WsssError("--masks: name the folder of pseudo-labels to learn from")
        masks = MaskFolder(run.inputs["masks"] / "masks")
        masks.require(items, "let 'splits' of the masks include train and make them again")
        mask_of = FileOf(masks)
        if isinstance(settings, SegmentationSettings) and settings.soft_weight:
            soft_of = SoftTargets(run.inputs["masks"], items)

    device = prepare(run)
    classes = len(index.classes)
    if step is not None:
        learn_step(run, index, step, items, mask_of, device)
        return
    tagged = isinstance(settings, SegmentationSettings) and settings.tags
    goal: Callable[..., Objective] = TaggedSegmentation if tagged else find(settings.objective)
    objective = goal(settings, classes)
    network = objective.kept(train(run, objective, items, classes, device, mask_of, chances, soft_of, settings))
    if run.world.rank:
        return
    save_segmenter(run.out, network, settings, index.classes)
    keep_product(run)
    run.note(images=len(items))


def begun_step(run: Run, index: Index) -> Step:
    """The classes of a step of ``run.settings``.

    Raises:
        WsssError: An input that the recipe names was not given; a class is not in the dataset, or known already; no
            training image shows one.
    """
    settings: ContinualSettings = run.settings
    for name in ("warm_start", "memory"):
        if (getattr(settings, name) is None) == (name in run.inputs):
            said = "names none" if name in run.inputs else f"names {getattr(settings, name)!r}"
            flag = name.replace("_", "-")
            raise WsssError(f"--{flag}: the recipe {said}; give the folder that it names, and no other")
    before: tuple[tuple[str, ...], ...] = ()
    if "warm_start" in run.inputs:
        check_classes(run.inputs["warm_start"], index.classes)
        before = steps_of(run.inputs["warm_start"])
    step = step_of(settings.classes or (), settings.disjoint, before, index.classes, "classes")
    if not step.images(index.split("train")):
        alone = " and with no class of a later step" if step.disjoint else ""
        raise WsssError(f"{index.folder}: no training image is tagged with {listed(settings.classes or ())}{alone}")
    return step


def learn_step(
    run: Run,
    index: Index,
    step: Step,
    items: list[Item],
    mask_of: Callable[[Item], AnyFile | np.ndarray],
    device: torch.device,
) -> None:
    """Train a step of class-incremental learning; the arguments are as in ``make``."""
    settings: ContinualSettings = run.settings
    old: Segmenter | None = None
    before: tuple[tuple[str, ...], ...] = ()
    if "warm_start" in run.inputs:
        folder = run.inputs["warm_start"]
        found, _ = load_segmenter(folder)
        if not isinstance(found, Segmenter):
            raise WsssError(f"{folder}: this is a guided classifier, and no network that a step can go on from")
        old, before = found, steps_of(folder)
    replayed: list[Item] = []
    if "memory" in run.inputs:
        memory = Exemplars(run.inputs["memory"] / "memory.h5")
        replayed = unpacked(memory, run.state / run.identity / "replay", settings.outside, step.before)
        if not replayed:
            log.warning(f"{memory.path} holds no exemplar, so nothing is replayed")
    shown = {one.id: one.mask for one in replayed}
    weights_of = None
    if replayed and settings.outside_weight < 1:
        weights_of = Reliability(memory, settings.outside_weight)
    listed_items = items + replayed * repeats(len(items), len(replayed), settings.replay_share)
    masked = np.array([item.id in shown for item in listed_items])
    chances = masked_chances(masked, settings.replay_share) if replayed else None
    classes = len(index.classes)
    objective = Continual(settings, classes, step, old)
    network = train(run, objective, listed_items, classes, device, OwnOr(shown, mask_of), chances, soft_of=weights_of)
    if run.world.rank:
        return
    save_segmenter(run.out, network, settings, index.classes, [*before, settings.classes or ()])
    keep_product(run)
    run.note(images=len(items), exemplars=len(replayed))


@dataclass(frozen=True)
class OwnOr:
    """Where an item's mask is: its own of ``own``, by id, else what ``other`` says. A class, so that loader processes
    can be given it however they are started."""

    own: Mapping[str, Path | None]
    other: Callable[[Item], AnyFile | np.ndarray]

    def __call__(self, item: Item) -> AnyFile | np.ndarray:
        return self.own.get(item.id) or self.other(item)


class Reliability:
    """Weights of an image's pixels in the loss, in levels: called with an item, uint8 (1, h, w); those of an exemplar
    weigh less outside its boxes."""

    def __init__(self, memory: Exemplars, outside: float) -> None:
        self.memory, self.outside = memory, round(FULL * outside)

    def __call__(self, item: Item) -> np.ndarray:
        if not item.id.startswith(REPLAYED):
            return np.full((1, 1, 1), FULL, np.uint8)
        reliable = self.memory[item.id.removeprefix(REPLAYED)].reliable()
        return np.where(reliable, FULL, self.outside).astype(np.uint8)[None]


def decided(run: Run) -> SegmenterSettings:
    """The recipe of a run, with what a search decides in its place; the manifest says what that was."""
    settings: SegmenterSettings = run.settings
    if settings.architecture_from is None:
        return settings
    if "architecture_from" not in run.inputs:
        raise WsssError(
            f"--architecture-from: the recipe refers to {settings.architecture_from!r}; give the folder of that search"
        )
    found = recipe_of(run.inputs["architecture_from"], settings.rank)
    run.note(found=found)
    return settings.model_copy(update=found)


def take_heatmaps(run: Run, index: Index) -> None:
    """Write a guided classifier as a segmentation network. Nothing is trained."""
    if "classifier" not in run.inputs:
        raise WsssError("--classifier: name the folder of the guided classifier")
    folder = run.inputs["classifier"]
    check_classes(folder, index.classes)
    save_heatmaps(run.out, folder)
    run.note(images=0)
