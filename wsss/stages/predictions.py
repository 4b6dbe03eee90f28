"""Predicted masks of a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from wsss.data.buckets import Buckets, buckets
from wsss.data.images import read_image
from wsss.data.index import Index, Item
from wsss.inference.network import open_network
from wsss.inference.segmentation import pixel_probabilities
from wsss.inference.tag_limits import TagLimits, open_limits
from wsss.models.segmenter import load_segmenter
from wsss.parts.folder import items_of
from wsss.parts.masks import Written, finished, write_masks
from wsss.refine.crf import holds_no_lock, prepare, refine_scores
from wsss.runtime.run import Run
from wsss.settings import PredictSettings
from wsss.store.masks import MaskFolder
from wsss.system.exit import Stoppable

PRUNE = 0.02
"""Labels that nowhere reach this probability, and are nowhere the best, take no part in the CRF."""


def make(run: Run) -> None:
    """Write the predicted mask of every image of the splits.

    Raises:
        WsssError: The network, or the classifier beside it, was trained on other classes than the index has.
    """
    index = Index.load(run.inputs["index"])
    items = items_of(run, index)
    run.record(**prepare(run.settings.crf))

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        threads, among = run.args.threads, buckets(items)
        network, device = open_network(run.inputs["segmenter"], load_segmenter, index, run.args.device, threads)
        limits = open_limits(run.inputs.get("tags_from"), index.classes, run.args.device, threads)
        return lambda part: predicted(network, part, run.settings, device, threads, among, masks, run, limits)

    write_masks(run, items, begin)


def predicted(
    network: torch.nn.Module,
    items: list[Item],
    settings: PredictSettings,
    device: torch.device,
    threads: int,
    among: Buckets,
    masks: MaskFolder,
    run: Stoppable,
    limits: TagLimits | None = None,
) -> Iterator[Written]:
    """Write the predicted masks of ``items`` into ``masks``. With a CRF, some probabilities wait for each other and for
    it, or, of a network on a GPU, are refined beside it. The first arguments are those of ``pixel_probabilities``;
    ``limits`` says which classes an image may hold.

    Raises:
        Interrupted: A signal asked ``run`` to stop; what is made stays.
    """
    pairs = pixel_probabilities(network, items, settings, device, threads, among)
    if limits is not None:
        pairs = limits(pairs, items, settings, threads, among)
    beside = device.type == "cuda" and holds_no_lock(settings.crf)
    yield from finished(pairs, FinishPrediction(settings, masks), settings.crf is not None, threads, run, beside)


@dataclass(frozen=True)
class FinishPrediction:
    """Writes the mask of an image, made of its probabilities (C + 1, H, W)."""

    settings: PredictSettings
    masks: MaskFolder

    def __call__(self, pair: tuple[Item, np.ndarray]) -> Written:
        item, scores = pair
        return Written(item.id, self.masks.write(item.id, labels_of(item, scores, self.settings)), None)


def labels_of(item: Item, scores: np.ndarray, settings: PredictSettings) -> np.ndarray:
    """The mask of an image, uint8 (H, W), of its probabilities, float32 (C + 1, H, W): their argmax, refined where a
    CRF is asked for."""
    if settings.crf is None:
        labels = scores.argmax(0)
    else:
        labels = refine_scores(read_image(item.image), scores, settings.crf, keep_above=PRUNE)
    mask: np.ndarray = labels.astype(np.uint8)
    return mask
