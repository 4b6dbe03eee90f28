"""Inference stages: class activation maps of a classifier, predicted masks of a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from wsss.compute.devices import choose_device, prepare_cpu
from wsss.data.buckets import Buckets, buckets
from wsss.data.images import read_image
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.inference.cams import PROBE, class_activation_maps, contested, pixel_probabilities, rectified
from wsss.models.classifier import load_classifier
from wsss.models.folding import fold_batch_norm
from wsss.models.segmenter import load_segmenter
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, Maps, write_maps
from wsss.parts.masks import Written, write_masks
from wsss.refine.crf import prepare, refine_scores
from wsss.runtime.program import Interrupted, Run
from wsss.settings import CamsSettings, PredictSettings
from wsss.settings.explaining import SEEDS
from wsss.store.masks import MaskFolder
from wsss.system.workers import over

Network = TypeVar("Network", bound=torch.nn.Module)
WAITING = 512 << 20
"""Bytes of probabilities that wait in memory for their CRF; one image may be more."""
PRUNE = 0.02
"""Labels that nowhere reach this probability, and are nowhere the best, take no part in the CRF."""


def write_cams(run: Run) -> None:
    """Write the maps of every image of the splits as HDF5 shards.

    Raises:
        WsssError: The classifier was trained on other classes than the index has, or is no guided one where
            ``normalise: softmax`` asks for it.
    """
    settings: CamsSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = items_of(run, index)

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        network, device = open_network(run, "classifier", load_classifier, index)
        function: Callable[..., torch.Tensor] = network.pixel_logits if softmax else network
        stride, read = network_stride(network), contested if softmax else rectified
        if named:
            stride, function = import_module(SEEDS).maps_by(network, settings, len(index.classes), run.args.seed)

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            among = buckets(items)
            return class_activation_maps(function, part, settings, device, run.args.threads, among, named, read)

        return Format(settings.scales, settings.flip, stride, stride, {"relative": 0} if softmax else {}), maps_of

    softmax = settings.normalise == "softmax"
    named = settings.explainer != "cam"  # the network's own output is CAM
    write_maps(run, items, begin)


def network_stride(network: torch.nn.Module) -> int:
    """Input pixels per feature cell of a classifier in eval mode."""
    with torch.inference_mode():
        probe = torch.zeros(1, 3, PROBE, PROBE, device=next(network.parameters()).device)
        maps: torch.Tensor = network(probe)
        return PROBE // maps.shape[-1]


def write_predictions(run: Run) -> None:
    """Write the predicted mask of every image of the splits.

    Raises:
        WsssError: The network was trained on other classes than the index has.
    """
    index = Index.load(run.inputs["index"])
    items = items_of(run, index)
    run.tell(**prepare(run.settings.crf))

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        network, device = open_network(run, "segmenter", load_segmenter, index)
        return lambda part: predicted(run, network, part, device, masks, buckets(items))

    write_masks(run, items, begin)


def predicted(
    run: Run, network: torch.nn.Module, items: list[Item], device: torch.device, masks: MaskFolder, among: Buckets
) -> Iterator[Written]:
    """Write the predicted masks of images. With a CRF, some probabilities wait for each other and for it."""
    settings: PredictSettings = run.settings
    finish = Finish(settings, masks)
    waiting: list[tuple[Item, np.ndarray]] = []
    for pair in pixel_probabilities(network, items, settings, device, run.args.threads, among):
        if settings.crf is None:
            yield finish(pair)
        else:
            waiting.append(pair)
        if sum(scores.nbytes for _, scores in waiting) >= WAITING:
            yield from finish.all(waiting, run.args.threads)
            waiting = []
        if run.stop:
            raise Interrupted(run.stop)
    yield from finish.all(waiting, run.args.threads)


@dataclass(frozen=True)
class Finish:
    """Refines the probabilities (C + 1, H, W) of an image where a CRF is asked for, and writes their argmax."""

    settings: PredictSettings
    masks: MaskFolder

    def __call__(self, pair: tuple[Item, np.ndarray]) -> Written:
        item, scores = pair
        if self.settings.crf is None:
            labels = scores.argmax(0)
        else:
            labels = refine_scores(read_image(item.image), scores, self.settings.crf, keep_above=PRUNE)
        return Written(item.id, self.masks.write(item.id, labels.astype(np.uint8)), None)

    def all(self, pairs: list[tuple[Item, np.ndarray]], threads: int) -> Iterator[Written]:
        """Finish the images that wait, in processes."""
        if pairs:
            yield from over(pairs, self, threads, "masks", lambda pair: pair[0].id)


def open_network(
    run: Run, name: str, load: Callable[[Path], tuple[Network, tuple[str, ...]]], index: Index
) -> tuple[Network, torch.device]:
    """The trained network of the input ``name`` on its device, for inference only. Raises ``WsssError`` where the index
    has other classes."""
    network, classes = load(run.inputs[name])
    if classes != index.classes:
        raise WsssError(
            f"{run.inputs[name]}: trained on the classes {', '.join(classes)}, but the index {index.folder} has "
            f"{', '.join(index.classes)}; train it again on this index"
        )
    prepare_cpu(run.args.threads)
    device = choose_device(run.args.device)
    network.to(device).to(memory_format=torch.channels_last).eval()
    fold_batch_norm(network, torch.zeros(1, 3, PROBE, PROBE, device=device))
    return network, device
