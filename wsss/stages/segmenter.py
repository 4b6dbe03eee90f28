"""Training a segmentation network on pseudo-labels or ground truth, or taking a guided classifier for one."""

from __future__ import annotations

from pathlib import Path

from wsss.data.few_masks import few_masks
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.models.segmenter import save_heatmaps, save_segmenter
from wsss.objectives.segmentation import Segmentation
from wsss.runtime.run import Run
from wsss.settings import SegmenterSettings
from wsss.store.masks import MaskFolder
from wsss.training.checkpoint import keep_product
from wsss.training.train import check_classes, looked_at, prepare, train


def make(run: Run) -> None:
    """Train the segmentation network of ``run.settings``; write weights and metrics.

    Raises:
        WsssError: A training image has no mask, or there are fewer than the recipe asks for; a classifier that is no
            guided one, or has other classes.
    """
    settings: SegmenterSettings = run.settings
    index = Index.load(run.inputs["index"])
    if settings.supervision == "classifier":
        if not run.world.rank:
            take_heatmaps(run, index)
        return
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
    network = train(run, Segmentation(settings, len(index.classes)), items, len(index.classes), device, mask_of)
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
