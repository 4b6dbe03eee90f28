"""Batches for training and images for inference.

The order of a training and every view in it are functions of (seed, epoch, index) alone. A loader can therefore start
at any step of any epoch, with any number of processes, and with any number of devices that share a global batch.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from wsss.data.copies import Copies
from wsss.data.images import read_image, read_mask
from wsss.data.index import Item
from wsss.data.normalising import normalised_views
from wsss.data.sampling import VIEW, Order, Visit
from wsss.data.transforms import training_view
from wsss.errors import WsssError
from wsss.settings import TrainingSettings
from wsss.system.failures import describe
from wsss.system.packs import AnyFile
from wsss.system.workers import obey_the_parent, signals_held

Scaled = tuple[list[Item], list[torch.Tensor]]
"""Images of one size, and their pixels at every scale."""
CPU = torch.device("cpu")
BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
"""Largest float32 below 1."""
PATIENCE = 900.0
"""Seconds to wait for the next image or batch: a loader process that runs out of memory may lose one without a word."""


@dataclass
class Batch:
    """A micro-batch on its device.

    Attributes:
        images: float32 (B, 3, S, S), normalised; 0 (the mean colour) where no image is.
        labels: float32 (B, C) in {0, 1}.
        draws: float32 (B,) in [0, 1): one uniform number per image, for objectives that choose at random.
        masks: int64 (B, S, S), 255 = ignore; None for trainings on tags. Labels, or strengths 0 to 254.
        soft: uint8 (B, M, S, S), or None: probabilities in levels, of the background and then of the classes in
            ``labels`` in ascending order; 0 beyond an image's own, and where no image is.
        host: The batch as it was on the CPU, where it is on a GPU now; see ``on_host``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    draws: torch.Tensor
    masks: torch.Tensor | None = None
    soft: torch.Tensor | None = None
    host: ByteBatch | None = None

    @property
    def on_host(self) -> Batch | ByteBatch:
        """The batch on the CPU: what decides how much is computed is read here, and the host need not wait for a
        GPU."""
        return self if self.host is None else self.host

    @property
    def targets(self) -> torch.Tensor:
        """``masks``, for trainings that cannot do without. Raises ``ValueError`` where there are none."""
        return _there(self.masks)


@dataclass
class ByteBatch:
    """A micro-batch, or one view without the first axis, as it goes from a loader to a device: 4 bytes a pixel where
    numbers take 12, and 1 of a mask where they take 8. What it is there: ``to``; here, ``images`` and ``masks`` are it.

    Attributes:
        pixels: uint8 (B, S, S, 4), as ``wsss.data.transforms.training_view`` gives views.
        labels, draws, soft: As in ``Batch``.
        mask: uint8 (B, S, S) or None: ``Batch.masks`` in bytes.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    draws: torch.Tensor
    mask: torch.Tensor | None = None
    soft: torch.Tensor | None = None

    @property
    def images(self) -> torch.Tensor:
        """``Batch.images`` of these bytes."""
        return normalised_views(self.pixels)

    @property
    def masks(self) -> torch.Tensor | None:
        """``Batch.masks`` of these bytes."""
        return None if self.mask is None else self.mask.long()

    @property
    def targets(self) -> torch.Tensor:
        """``Batch.targets``."""
        return _there(self.masks)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> ByteBatch:
        tensors = (self.pixels, self.labels, self.draws, self.mask, self.soft)
        pixels, labels, draws, mask, soft = (None if t is None else change(t) for t in tensors)
        assert pixels is not None and labels is not None and draws is not None
        return ByteBatch(pixels, labels, draws, mask, soft)

    def pin_memory(self) -> ByteBatch:
        """The batch in page-locked memory, from where copies to a GPU overlap with its work; the loader calls this."""
        return self._each(torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``, normalised there, images in channels-last layout."""
        there = self._each(lambda tensor: tensor.to(device, non_blocking=True))
        host = self if device.type == "cuda" else None
        return Batch(there.images, there.labels, there.draws, there.masks, there.soft, host)


def _there(masks: torch.Tensor | None) -> torch.Tensor:
    if masks is None:
        raise ValueError("this batch has no masks: its training is one on tags")
    return masks


class TrainingViews(Dataset[ByteBatch]):
    """Random views of items; see ``wsss.data.transforms.training_view``.

    Args:
        items: Training images.
        classes: Number of object classes C.
        settings: Crop, sizes, augmentation.
        seed: Seed of every draw.
        mask_of: An item's target: the file of its mask of labels, or strengths 0 to 254, uint8 (H, W), of the image's
            size; both become 255 outside the image. None for trainings on tags, which never open one.
        soft_of: An item's soft targets, uint8 (number of its labels + 1, h, w) as in ``Batch.soft``, of the whole image
            at any size; None: there are none.
        copies: Copies of the images on a disk of this machine; None: they are read where they lie.

    Raises:
        WsssError: (when a view is asked for) an image or a mask cannot be read, or they differ in size.
    """

    def __init__(
        self,
        items: list[Item],
        classes: int,
        settings: TrainingSettings,
        seed: int,
        mask_of: Callable[[Item], AnyFile | np.ndarray] | None = None,
        soft_of: Callable[[Item], np.ndarray] | None = None,
        copies: Copies | None = None,
    ) -> None:
        self.items, self.classes, self.settings, self.seed, self.mask_of = items, classes, settings, seed, mask_of
        self.soft_of, self.copies = soft_of, copies

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, visit: Visit) -> ByteBatch:
        epoch, position = visit
        item = self.items[position]
        rng = np.random.default_rng((self.seed, epoch, position, VIEW))
        draw = min(rng.random(), BELOW_ONE)  # the largest float64 below 1 would be rounded to 1
        target = None if self.mask_of is None else self.mask_of(item)
        soft = isinstance(target, np.ndarray)
        s = self.settings
        picture = read_image(item.image if self.copies is None else self.copies.of(item))
        given = target if target is None or isinstance(target, np.ndarray) else read_mask(target)
        if given is not None and given.shape != picture.shape[:2]:
            raise WsssError(
                f"{'target' if soft else target} of {item.id!r}: it is {given.shape[0]} x {given.shape[1]}, the image "
                f"{item.image} is {picture.shape[0]} x {picture.shape[1]}; make the one from the other again"
            )
        view, mask, shares = training_view(
            picture,
            given,
            rng,
            crop=s.crop,
            long_side=s.long_side,
            augment=s.augment,
            resize=s.resize,
            soft=soft,
            soft_targets=None if self.soft_of is None else self.soft_of(item),
        )
        labels = torch.zeros(self.classes)
        labels[list(item.labels)] = 1
        drawn = torch.tensor(draw, dtype=torch.float32)
        of_mask, of_shares = (None if array is None else torch.from_numpy(array) for array in (mask, shares))
        return ByteBatch(torch.from_numpy(view), labels, drawn, of_mask, of_shares)


def collate(views: list[ByteBatch]) -> ByteBatch:
    """Stack views into a batch; soft targets get layers of 0 up to the most that one has."""
    masks, layers = ([t for v in views if (t := getattr(v, k)) is not None] for k in ("mask", "soft"))
    pixels, labels, draws = (torch.stack([getattr(v, k) for v in views]) for k in ("pixels", "labels", "draws"))
    most = max(map(len, layers), default=0)
    soft = torch.stack([F.pad(one, (0, 0, 0, 0, 0, most - len(one))) for one in layers]) if layers else None
    return ByteBatch(pixels, labels, draws, torch.stack(masks) if masks else None, soft)


def _begin_worker(_: int) -> None:
    """A cluster signals every process of a job; the main one decides, and loader processes end with it.

    At once, where Linux helps: they have a copy of each of its connections, and as long as one is open, other processes
    of the training do not notice that it was killed.

    What passes tensors on starts here, and not with the first batch: for want of memory it fails, and here that is an
    error, while later the batch would be lost and the training would wait for it for ever."""
    obey_the_parent()
    ForkingPickler.dumps(torch.empty(1))
    _leave_mishaps_to_the_main_process()


def _leave_mishaps_to_the_main_process() -> None:
    """Where a loader process dies for want of memory, the main one says so in a sentence; the traceback that Python's
    multiprocessing would print above it helps nobody. Others are printed."""
    shown = traceback.print_exc

    def print_exc(*args: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if error is None or describe(error, Path()) is None:
            shown(*args, **kwargs)

    traceback.print_exc = print_exc


class _Loader(DataLoader[Any]):
    """Its processes start with signals held back, which they ignore before they let them in."""

    def __iter__(self) -> Any:
        with signals_held():
            return super().__iter__()


def training_loader(
    views: TrainingViews, order: Order, workers: int, device: torch.device = CPU
) -> DataLoader[ByteBatch]:
    """One loader for a whole training, so that its processes start once. For a GPU its batches are page-locked."""
    return _Loader(
        views,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
        timeout=PATIENCE if workers else 0,
        worker_init_fn=_begin_worker,
    )


class ScaledBatches(Dataset[Scaled]):
    """Whole images at several scales for inference; see ``__getitem__``.

    Resized by torch's bicubic antialiased filter for bytes, four times as fast as Pillow's. On photos at most 0.3 % of
    its values differ from Pillow's, by one grey level (two in a few of a million).

    Args:
        batches: Lists of images of one size.
        scales: Factors; 1 is the image itself, or the image reduced to ``max_side``.
        max_side: Longest side of scale 1 in pixels.
    """

    def __init__(self, batches: list[list[Item]], scales: tuple[float, ...], max_side: int) -> None:
        self.batches, self.scales, self.max_side = batches, scales, max_side

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> Scaled:
        """The images of a batch of n, and for every scale their pixels, uint8 (n, 3, h_s, w_s) in channels-last layout.

        Raises:
            WsssError: An image cannot be read, or is of another size than the index says.
        """
        batch = self.batches[position]
        sizes = [scaled_size(batch[0], scale, self.max_side) for scale in self.scales]
        views = [torch.empty((len(batch), *size, 3), dtype=torch.uint8) for size in sizes]
        for number, item in enumerate(batch):
            picture = read_image(item.image)
            if picture.shape[:2] != (item.height, item.width):
                raise WsssError(
                    f"{item.image}: it is {picture.shape[0]} x {picture.shape[1]}, the index says {item.height} x "
                    f"{item.width}; build the index again"
                )
            pixels = torch.from_numpy(picture)
            for view, size in zip(views, sizes, strict=True):
                view[number] = pixels if size == picture.shape[:2] else resized(pixels, size)
        return batch, [view.permute(0, 3, 1, 2) for view in views]


def scaled_size(item: Item, scale: float, max_side: int) -> tuple[int, int]:
    """Height and width of an image at a scale."""
    factor = scale * min(1.0, max_side / max(item.height, item.width))
    return max(1, round(item.height * factor)), max(1, round(item.width * factor))


def resized(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """An image, uint8 (H, W, 3), at another size."""
    planes = pixels.permute(2, 0, 1)[None]
    found = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", antialias=True)
    return found[0].permute(1, 2, 0)


def inference_loader(batches: ScaledBatches, workers: int, device: torch.device = CPU) -> DataLoader[Scaled]:
    """Batches one by one, in order, prepared in ``workers`` processes; page-locked for a GPU."""
    return _Loader(
        batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=2 if workers else None,
        timeout=PATIENCE if workers else 0,
        worker_init_fn=_begin_worker,
    )
