"""Class activation maps: preparing images, the network, and the store, beside one image at a time and pickles."""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from benchmarks.crf import size_of
from benchmarks.frame import Case, Kernel
from benchmarks.pictures import picture, probabilities
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches
from wsss.data.transforms import MEAN, STD
from wsss.inference.cams import class_activation_maps
from wsss.models.classifier import Classifier
from wsss.models.folding import fold_batch_norm
from wsss.settings import CamsSettings
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.views import decode_full, decode_low

SCALES = (0.5, 1.0, 1.5, 2.0)
CLASSES = 20


@cache
def scratch() -> Path:
    """A folder that goes with the process."""
    keeper = tempfile.TemporaryDirectory()
    scratch.keeper = keeper
    return Path(keeper.name)


def photos(count: int, size: tuple[int, int]) -> list[Item]:
    """JPEG files of one size that differ."""
    folder = scratch() / f"{size[0]}x{size[1]}"
    folder.mkdir(exist_ok=True)
    pixels, items = picture(size), []
    for number in range(count):
        path = folder / f"{number}.jpg"
        if not path.exists():
            Image.fromarray(np.roll(pixels, 17 * number, (0, 1))).save(path, quality=90)
        items.append(Item(f"{number}", "train", path, None, *size, (number % CLASSES, (number + 7) % CLASSES), False))
    return items


def prepared(item: Item, scales: tuple[float, ...]) -> list[np.ndarray]:
    """What the field does: float32 (2, 3, h, w), an image and its mirror, at each scale."""
    image, views = Image.open(item.image).convert("RGB"), []
    for scale in scales:
        size = (round(item.width * scale), round(item.height * scale))
        values = np.asarray(image.resize(size, Image.Resampling.BICUBIC)) / 255.0
        values = ((values - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)
        views.append(np.stack([values, np.flip(values, -1)]))
    return views


def preprocess(amount: float) -> Case:
    (item,) = photos(1, size_of(amount))
    batches = ScaledBatches([[item]], SCALES, 10**6)

    def difference(baseline: list[np.ndarray], ours: tuple[list[Item], list[torch.Tensor]]) -> float:
        return max(
            np.abs((a[0] * STD[:, None, None] + MEAN[:, None, None]) * 255 - b[0].numpy()).max()
            for a, b in zip(baseline, ours[1], strict=True)
        )

    def sizes() -> tuple[int, int]:
        return sum(v.nbytes for v in prepared(item, SCALES)), sum(v.nbytes for v in batches[0][1])

    return Case(lambda: prepared(item, SCALES), lambda: batches[0], difference, sizes)


def inference(amount: float) -> Case:
    """ResNet-50 on photos of 250 x 188 pixels at two scales, with their mirrors, in fp32."""
    items, settings = photos(max(1, round(8 * amount)), (188, 250)), CamsSettings(classifier="x", scales=(0.5, 1.0))
    torch.manual_seed(0)
    network = Classifier("resnet50", CLASSES).eval()
    folded = copy.deepcopy(network).to(memory_format=torch.channels_last)
    fold_batch_norm(folded, torch.zeros(1, 3, 64, 64))
    device, threads = torch.device("cpu"), torch.get_num_threads()

    @torch.no_grad()
    def baseline() -> dict[str, list[np.ndarray]]:
        found = {}
        for item in items:
            maps = []
            for view in prepared(item, settings.scales):
                activation = F.relu(network(torch.from_numpy(view))[:, list(item.labels)])
                maps.append((activation[0] + activation[1].flip(-1)).numpy())
            found[item.id] = maps
        return found

    def ours() -> dict[str, list[np.ndarray]]:
        found = class_activation_maps(folded, items, settings, device, threads)
        return {item.id: maps for item, _, maps in found}

    def difference(a: dict[str, list[np.ndarray]], b: dict[str, list[np.ndarray]]) -> float:
        return max(np.abs(x - y).max() / x.max() for id in a for x, y in zip(a[id], b[id], strict=True))

    return Case(baseline, ours, difference)


def store(amount: float) -> Case:
    """64 images of 375 x 500 pixels with one or two classes."""
    count, size = max(1, round(64 * amount)), (375, 500)
    folder = scratch() / f"{count} images"
    fresh = not folder.exists()
    folder.mkdir(exist_ok=True)
    ids = [f"{number}" for number in range(count)]
    shapes = [tuple(-(-round(side * scale) // 16) for side in size) for scale in SCALES]
    if fresh:
        with MapWriter(folder / shard_name(0, 1), scales=SCALES, flip=True, stride=16) as writer:
            for number, id in enumerate(ids):
                classes = range(1 + (number % 8 < 5))  # 1.6 an image, as in VOC
                maps = [probabilities(shape, 2, 2, number)[: len(classes)] for shape in shapes]
                writer.add(id, classes, size, maps)
                views = {"keys": np.array(classes), "cam": decode_low(maps, size), "hr_cam": decode_full(maps, size)}
                np.save(folder / f"{id}.npy", views)
        write_manifest(folder, {})
    kept = MapStore(folder)

    def baseline() -> list[dict]:
        # pickles are what is compared with; these were written just now, by this process
        return [np.load(folder / f"{id}.npy", allow_pickle=True).item() for id in ids]

    def difference(a: list[dict], b: list) -> float:
        return max(np.abs(x["hr_cam"] - decode_full(y.maps, y.size)).max() for x, y in zip(a, b, strict=True))

    def sizes() -> tuple[int, int]:
        return sum(p.stat().st_size for p in folder.glob("*.npy")), sum(p.stat().st_size for p in folder.glob("*.h5"))

    return Case(baseline, lambda: [kept[id] for id in ids], difference, sizes)


KERNELS = (
    Kernel(
        "cam-preprocess",
        "Pillow, float32, mirror",
        "an image at 4 scales, ready for the device (bytes: to the device)",
        "pixels differ by at most {:.2f} grey levels",
        preprocess,
    ),
    Kernel(
        "cam-inference",
        "one image at a time",
        "maps of 8 images at 2 scales, ResNet-50 on the CPU in fp32",
        "maps differ by at most {:.1e} of their maximum",
        inference,
    ),
    Kernel(
        "cam-store",
        "a pickled array an image",
        "reading the maps of 64 images (bytes: on disk)",
        "decoded maps differ by at most {:.1e}",
        store,
    ),
)
