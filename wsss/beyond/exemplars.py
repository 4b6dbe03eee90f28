"""Exemplars of images: their labels, what an explanation points at, their compression, and what it leaves of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wsss.beyond.memory import box_share, boxes_of, compressed, generator, moved, pixel_cost
from wsss.data.images import read_mask, read_upright
from wsss.data.index import Item
from wsss.data.palette import IGNORE, encode_mask
from wsss.data.transforms import normalise
from wsss.errors import WsssError
from wsss.evaluate.confusion import class_scores, confusion
from wsss.explain import postprocess
from wsss.explain.base import Explainer
from wsss.explain.metrics.measuring import one_channel
from wsss.explain.regions import Regions
from wsss.explain.subject import Subject, subject_of
from wsss.models.segmenter import Segmenter
from wsss.settings import MemorySettings
from wsss.store.exemplars import Box, Exemplar
from wsss.store.maps import MapStore

SURE = 0.7
"""Probability at which the network's class of an earlier step takes the place of background in a ground-truth mask (Cha
et al. 2021)."""


class Teller:
    """A segmentation network, asked about images of any size.

    Args:
        network: In evaluation mode, on its device.
        device: Its device.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.network, self.device = network, device

    def images(self, pixels: np.ndarray) -> torch.Tensor:
        """RGB uint8 (H, W, 3) as the network takes it."""
        return torch.from_numpy(normalise(pixels))[None].to(self.device)

    @torch.inference_mode()
    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Softmax of an image RGB uint8 (H, W, 3): fp32 (C + 1, H, W)."""
        found: np.ndarray = self.network(self.images(pixels)).float().softmax(1)[0].cpu().numpy()
        return found

    @torch.inference_mode()
    def features(self, pixels: np.ndarray) -> np.ndarray:
        """The encoder's last features, mean over the image: fp64 (K,). Raises ``WsssError`` for a guided classifier."""
        network = self.network
        if not isinstance(network, Segmenter):
            raise WsssError("'select: herding' reads an encoder's features; for a guided classifier use 'balanced'")
        images = self.images(pixels)
        height, width = network.padded(images.shape[2:])
        padded = nn.functional.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))
        last = network.network.get_submodule("encoder")(padded)[-1]
        found: np.ndarray = last.mean((2, 3))[0].double().cpu().numpy()
        return found


class Pointer:
    """What an explanation of a network points at.

    Args:
        teller: The network.
        explainer: An explainer of segmentation networks; it is asked for every class that the network predicts.
        seed: The run's seed, for explainers with noise.
    """

    def __init__(self, teller: Teller, explainer: Explainer, seed: int) -> None:
        self.teller, self.explainer, self.seed = teller, explainer, seed
        self.subject: Subject = subject_of(teller.network)

    def __call__(self, item: Item, pixels: np.ndarray) -> np.ndarray:
        """The largest over the classes of their maps in [0, 1], fp32 (H, W); 0 where nothing is predicted."""
        images = self.teller.images(pixels)
        made = self.explainer(self.subject, images, Regions(), ids=[item.id], seed=self.seed)
        maps, _ = one_channel(self.explainer, made.maps)
        return strongest_of(maps, images.shape[2:])


def strongest_of(maps: torch.Tensor, size: Iterable[int]) -> np.ndarray:
    """Maps (R, h, w) rectified, from 0 to 1 each, resized to (H, W), and the largest of them: fp32 (H, W)."""
    size = tuple(size)
    if not len(maps):
        return np.zeros(size, np.float32)
    found: np.ndarray = postprocess.resize(postprocess.relu_minmax(maps), size).amax(0).cpu().numpy()
    return found


def from_maps(store: MapStore, item: Item) -> np.ndarray:
    """The same of stored maps of the image's tags. Raises ``WsssError`` where they are of another image."""
    return strongest_of(torch.from_numpy(store.full_of(item)), (item.height, item.width))


@dataclass(frozen=True)
class Labeller:
    """Labels that are stored with an exemplar.

    Attributes:
        teller: The network.
        masks: Whether ground-truth masks may be looked at.
        own: Object classes of the network's last step, from 0.
        before: Those of earlier steps.
    """

    teller: Teller
    masks: bool
    own: tuple[int, ...]
    before: tuple[int, ...]

    def __call__(self, item: Item, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W): the network's prediction; or the ground truth of its last step's classes, and where that is
        background a class of an earlier step that the network is sure of.

        Raises:
            WsssError: A mask is wanted and there is none, or it is not of the image's size.
        """
        if not self.masks:
            found: np.ndarray = self.teller.probabilities(pixels).argmax(0).astype(np.uint8)
            return found
        if item.mask is None:
            raise WsssError(
                f"image {item.id!r} has no ground-truth mask, which 'supervision: masks' stores; use 'pseudo'"
            )
        truth = read_mask(item.mask)
        if truth.shape != pixels.shape[:2]:
            raise WsssError(f"{item.mask}: it is not of the size of {item.image}; make the one from the other again")
        labels = kept_labels(truth, self.own)
        if not self.before:
            return labels
        probabilities = self.teller.probabilities(pixels)
        guess = kept_labels(probabilities.argmax(0).astype(np.uint8), self.before)
        sure = (labels == 0) & (guess > 0) & (probabilities.max(0) >= SURE)
        return np.where(sure, guess, labels)


def kept_labels(mask: np.ndarray, classes: Iterable[int]) -> np.ndarray:
    """A mask uint8 (H, W) whose labels of other object classes are background; 255 stays.

    Examples:
        >>> kept_labels(np.array([[0, 1, 2, 255]], np.uint8), [1])
        array([[  0,   0,   2, 255]], dtype=uint8)
    """
    table = np.zeros(256, np.uint8)
    for label in (*(c + 1 for c in classes), IGNORE):
        table[label] = label
    found: np.ndarray = table[mask]
    return found


def shown_by(labels: np.ndarray, classes: Iterable[int]) -> dict[int, int]:
    """Object classes, from 0, that labels uint8 (H, W) show -> their pixels, of these classes alone."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return {c: int(counts[c + 1]) for c in classes if counts[c + 1]}


@dataclass(frozen=True)
class Made:
    """An exemplar, and the share of the image that its boxes take (1 where it is stored whole, or reduced)."""

    exemplar: Exemplar
    share: float


def exemplar_of(
    item: Item,
    pixels: np.ndarray,
    labels: np.ndarray,
    settings: MemorySettings,
    saliency: Callable[[], np.ndarray],
    seed: int,
) -> Made | None:
    """An image as it is stored; None where nothing of it would be: a crop alone, of an image with nothing to crop.

    Args:
        item: The image.
        pixels: RGB uint8 (H, W, 3).
        labels: uint8 (H, W).
        settings: The recipe.
        saliency: Gives what points at boxes, fp32 (H, W) from 0 to 1.
        seed: The run's seed, for random boxes.
    """
    size = (item.height, item.width)
    wanted = boxes_wanted(item, labels, settings, saliency, seed)
    context, boxes, crops = compressed(pixels, wanted, settings, item.image.read_bytes)
    if not context and not boxes:
        return None
    tags = tuple(c - 1 for c in np.unique(labels).tolist() if 0 < c != IGNORE)
    stored = np.array(boxes, np.uint16).reshape(-1, 4)
    one = Exemplar(item.id, size, tags, context, stored, tuple(crops), encode_mask(labels))
    return Made(one, box_share(boxes, size) if boxes else float(settings.method == "whole" or bool(wanted)))


def boxes_wanted(
    item: Item, labels: np.ndarray, settings: MemorySettings, saliency: Callable[[], np.ndarray], seed: int
) -> list[Box]:
    """The boxes that a method stores of an image; none for methods without."""
    apart = settings.boxes == "components"
    if settings.method == "true-box":
        return boxes_of((labels > 0) & (labels != IGNORE), settings.dilate, apart)
    if not settings.points:
        return []
    heat = saliency()
    found = boxes_of((heat >= settings.threshold) & (heat > 0), settings.dilate, apart)
    if settings.method == "random-box":
        return moved(found, (item.height, item.width), generator(seed, "boxes", item.id))
    return found


def recall_of(one: Exemplar) -> tuple[int, int]:
    """Object pixels of an exemplar's labels that are stored in full, and all of them."""
    labels = one.labels()
    shown = (labels > 0) & (labels != IGNORE)
    return int((shown & one.reliable()).sum()), int(shown.sum())


def fidelity_of(teller: Teller, exemplars: Iterable[Exemplar], classes: int) -> float | None:
    """Mean IoU of the network's prediction of the decompressed exemplars with the labels that are stored, over the
    background and the classes that occur; None without any."""
    total = np.zeros((classes + 1, classes + 1), np.int64)
    for one in exemplars:
        total += confusion(one.labels(), teller.probabilities(one.image()).argmax(0), classes)
    iou = class_scores(total)["iou"]
    return None if np.isnan(iou).all() else float(np.nanmean(iou))


def cost_of(made: Made, settings: MemorySettings) -> float:
    """Pixels that are kept, as a share (``pixel_cost``); contexts of low quality keep all."""
    if settings.method == "uniform":
        return pixel_cost(0.0, settings.factor)
    if settings.method == "crop":
        return made.share
    if settings.method == "whole" or settings.context == "quality":
        return 1.0
    return pixel_cost(made.share, settings.factor)


def pixels_of(item: Item) -> np.ndarray:
    """An image, RGB uint8 (H, W, 3). Raises ``WsssError`` if it is not of the index's size any more."""
    return read_upright(item.image, (item.height, item.width))
