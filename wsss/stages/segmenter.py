"""Training a segmentation network on pseudo-labels or ground truth, or taking a guided classifier for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsss.data.few_masks import few_masks, masks_of
from wsss.data.index import Index, Item
from wsss.data.sampling import masked_chances
from wsss.errors import WsssError
from wsss.models.segmenter import save_heatmaps, save_segmenter
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.objectives.tagged_segmentation import TaggedSegmentation
from wsss.refine.soft_targets import LEVELS, soft_levels
from wsss.runtime.run import Run
from wsss.settings import SegmentationSettings, SegmenterSettings
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
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
            fewer masks than the recipe asks for; a classifier that is no guided one, or has other classes.
    """
    settings: SegmenterSettings = run.settings
    index = Index.load(run.inputs["index"])
    if isinstance(settings, SegmentationSettings) and settings.supervision == "classifier":
        if not run.world.rank:
            take_heatmaps(run, index)
        return
    items = index.split("train")
    soft_of = None
    chances: np.ndarray | None = None
    mask_of: Callable[[Item], Path | np.ndarray]
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

        def mask_of(item: Item) -> Path:
            return masks.file(item.id)

        if isinstance(settings, SegmentationSettings) and settings.soft_weight:
            soft_of = SoftTargets(run.inputs["masks"], items)

    device = prepare(run)
    classes = len(index.classes)
    tagged = isinstance(settings, SegmentationSettings) and settings.tags
    goal: Callable[..., Objective] = TaggedSegmentation if tagged else find(settings.objective)
    objective = goal(settings, classes)
    network = objective.kept(train(run, objective, items, classes, device, mask_of, chances, soft_of=soft_of))
    if run.world.rank:
        return
    save_segmenter(run.out, network, settings, index.classes)
    keep_product(run)
    run.note(images=len(items))


def take_heatmaps(run: Run, index: Index) -> None:
    """Write a guided classifier as a segmentation network. Nothing is trained."""
    if "classifier" not in run.inputs:
        raise WsssError("--classifier: name the folder of the guided classifier")
    folder = run.inputs["classifier"]
    check_classes(folder, index.classes)
    save_heatmaps(run.out, folder)
    run.note(images=0)
