"""What a batch of training views costs on its way from a loader process to a device, as bytes and as numbers.

    python -m benchmarks.batches                     16 views of 512 pixels, with masks
    python -m benchmarks.batches --device cuda

*bytes*: as loaders send batches, 4 bytes a pixel and 1 of a mask, normalised on the device. *numbers*: as they did
before, normalised by numpy, float32 and int64. *view*: the loader's part after augmentation, from a picture of 640
pixels to its crop; *collate*: views to a batch; *device*: the batch to its device, channels last. Milliseconds of the
processor for one batch (of the clock for a GPU), the median of ``--repeats``, the two in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from wsss.compute.devices import prepare_cpu
from wsss.data.loading import ByteBatch, collate
from wsss.data.transforms import crop_together, normalise

LONG = 640
"""Side of the picture that a view is cropped from, in pixels."""


def bytes_of(picture: np.ndarray, mask: np.ndarray, side: int) -> ByteBatch:
    """A view as ``training_view`` ends it."""
    pixels = np.asarray(Image.fromarray(picture).convert("RGBA")).transpose(2, 0, 1)
    view, labels, _ = crop_together(pixels, mask, None, side, np.random.default_rng(0))
    assert labels is not None
    shown = torch.from_numpy(view.transpose(1, 2, 0))
    return ByteBatch(shown, torch.zeros(20), torch.tensor(0.5), torch.from_numpy(labels))


def numbers_of(picture: np.ndarray, mask: np.ndarray, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same view normalised before it is cropped."""
    image, labels, _ = crop_together(normalise(picture), mask, None, side, np.random.default_rng(0))
    assert labels is not None
    return torch.from_numpy(image), torch.from_numpy(labels).long()


def numbers_to(batch: tuple[torch.Tensor, torch.Tensor], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in channels-last layout and masks on the device."""
    images, masks = batch
    return (
        images.to(device, non_blocking=True, memory_format=torch.channels_last),
        masks.to(device, non_blocking=True),
    )


def milliseconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of the processor; of the clock where a GPU takes part."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (clock() - start)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device, cpu = torch.device(args.device), torch.device("cpu")
    prepare_cpu(1)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (LONG, LONG, 3), np.uint8)
    mask = rng.integers(0, 21, (LONG, LONG), np.uint8)
    narrow = [bytes_of(picture, mask, args.crop) for _ in range(args.views)]
    wide = [numbers_of(picture, mask, args.crop) for _ in range(args.views)]
    batch = collate(narrow)
    numbers = torch.stack([image for image, _ in wide]), torch.stack([labels for _, labels in wide])
    if device.type == "cuda":
        batch, numbers = batch.pin_memory(), (numbers[0].pin_memory(), numbers[1].pin_memory())
    there, plain = batch.to(device), numbers_to(numbers, device)
    assert torch.equal(there.targets, plain[1]) and (device != cpu or torch.equal(there.images, plain[0]))
    pairs: list[tuple[str, Callable[[], Any], Callable[[], Any], torch.device]] = [
        (
            "view",
            lambda: [bytes_of(picture, mask, args.crop) for _ in range(args.views)],
            lambda: [numbers_of(picture, mask, args.crop) for _ in range(args.views)],
            cpu,
        ),
        (
            "collate",
            lambda: collate(narrow),
            lambda: (torch.stack([image for image, _ in wide]), torch.stack([labels for _, labels in wide])),
            cpu,
        ),
        ("device", lambda: batch.to(device), lambda: numbers_to(numbers, device), device),
    ]
    sent = sum(t.nbytes for t in (batch.pixels, batch.labels, batch.draws, batch.mask) if t is not None)
    before = sum(t.nbytes for t in (*numbers, batch.labels, batch.draws))
    print("| | bytes | numbers | numbers / bytes |\n|---|---|---|---|")
    print(f"| MiB a batch | {sent / 2**20:.1f} | {before / 2**20:.1f} | {before / sent:.2f} |")
    total = [0.0, 0.0]
    for name, ours, theirs, where in pairs:
        both = [(milliseconds(ours, where), milliseconds(theirs, where)) for _ in range(args.repeats)]
        own, other = (median(each) for each in zip(*both, strict=True))
        total = [total[0] + own, total[1] + other]
        print(f"| {name}, ms a batch | {own:.1f} | {other:.1f} | {other / own:.2f} |", flush=True)
    print(f"| all three | {total[0]:.1f} | {total[1]:.1f} | {total[1] / total[0]:.2f} |")


if __name__ == "__main__":
    main()
