"""Training a segmentation network on pseudo-labels or ground truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsss.data.few_masks import few_masks
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.models.segmenter import save_segmenter
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.runtime.run import Run
from wsss.settings import SegmenterSettings
from wsss.store.masks import MaskFolder
from wsss.training.checkpoint import keep_product
from wsss.training.train import looked_at, prepare, train


def make(run: Run) -> None:
    """Train the segmentation network of ``run.settings``; write weights and metrics.

    Raises:
        WsssError: A training image has no mask, or there are fewer than the recipe asks for.
    """
    settings: SegmenterSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = index.split("train")
    if settings.supervision == "masks":
        items = [item for item in items if item.mask is not None]
        if not items:
            raise WsssError(
                f"{index.folder}: 'supervision: masks' needs ground-truth masks, and no training image has one"
            )
        if settings.gt_masks != "all":
            items = looked_at(run, few_masks(index, settings.gt_masks, run.args.seed), settings.gt_masks)

        def mask_of(item: Item) -> Path:
            assert item.mask is not None  # as chosen above
            return item.mask
    else:
        if "masks" not in run.inputs:
            raise WsssError("--masks: name the folder of pseudo-labels to learn from")
        masks = MaskFolder(run.inputs["masks"] / "masks")
        masks.require(items, "let 'splits' of the masks include train and make them again")

        def mask_of(item: Item) -> Path:
            return masks.file(item.id)

    device = prepare(run)
    classes = len(index.classes)
    goal: Callable[..., Objective] = find(settings.objective)
    objective = goal(settings, classes)
    network = objective.kept(train(run, objective, items, classes, device, mask_of))
    if run.world.rank:
        return
    save_segmenter(run.out, network, settings, index.classes)
    keep_product(run)
    run.note(images=len(items))
