"""Which of an image's tags its object pixels belong to, by several readings of a classifier's maps.

    python -m benchmarks.rivals results/animals/s0 --classifier linear --cams mixed --every 2

For the training images with two tags or more and a ground-truth mask, and in them for the pixels of a tagged object:
how often the strongest of the tagged classes is the true one, and the mean and each class's IoU among these pixels
alone. With z the raw maps at scales 1 and 1.5 with mirrors, all classes of an image together:

    cams            argmax of the stored maps, each divided by its own maximum
    raw             argmax of z
    centred         argmax of z less its mean over the image
    rivals T        argmax of the stored maps times p / max p, p the softmax over the tags of z / T

Where objects end is no matter here: what background is taken for an object does not count. ``rivals: T`` of a recipe of
CAMs does the same with its own maps, at each scale.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.choice import markdown
from wsss.data.images import read_upright
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.evaluate.counting import true_mask
from wsss.models.classifier import Classifier, load_classifier
from wsss.store.maps import MapStore

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALES = (1.0, 1.5)


@torch.inference_mode()
def raw_maps(network: Classifier, item: Item) -> np.ndarray:
    """z of the item's tags: float32 (K, H, W), the mean over scales and mirror, unbounded."""
    pixels = torch.from_numpy(read_upright(item.image, (item.height, item.width)).copy()).permute(2, 0, 1)[None] / 255
    image = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    found = []
    for scale in SCALES:
        view = F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False) if scale != 1 else image
        maps = (network(view) + network(view.flip(-1)).flip(-1)) / 2
        found.append(F.interpolate(maps, (item.height, item.width), mode="bilinear", align_corners=False)[0])
    mean: np.ndarray = torch.stack(found).mean(0).numpy()[list(item.labels)]
    return mean


def readings(stored: np.ndarray, raw: np.ndarray, temperatures: list[float]) -> dict[str, np.ndarray]:
    """Number of the winning tag in each pixel, int (H, W), by the reading's name; both maps (K, H, W)."""
    found = {
        "cams": stored.argmax(0),
        "raw": raw.argmax(0),
        "centred": (raw - raw.mean((1, 2), keepdims=True)).argmax(0),
    }
    for temperature in temperatures:
        share = np.exp((raw - raw.max(0)) / temperature)
        share /= share.sum(0)
        found[f"rivals {temperature:g}"] = (stored * share / share.max((1, 2), keepdims=True)).argmax(0)
    return found


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.rivals", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, help="folder of a seed: results/DATASET/s0")
    parser.add_argument("--classifier", required=True, help="whose raw maps are read")
    parser.add_argument("--cams", required=True, help="the stored maps that are read beside them")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th of the images (default 1)")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1, 2, 4], help="of rivals (default 1 2 4)")
    args = parser.parse_args()
    index = Index.load(args.results.parent / "index")
    network, _ = load_classifier(args.results / "classifiers" / args.classifier)
    network.eval()
    store, matrices = MapStore(args.results / "cams" / args.cams), {}
    count = len(index.classes)
    items = [item for item in index.scored("train") if len(item.labels) > 1][:: args.every]
    for item in items:
        truth, labels = true_mask(item), np.array(item.labels)
        counts = (truth > 0) & (truth != IGNORE) & np.isin(truth.astype(int) - 1, labels)
        for name, winners in readings(store.full_of(item), raw_maps(network, item), args.temperatures).items():
            matrix = matrices.setdefault(name, np.zeros((count, count), np.int64))
            np.add.at(matrix, (truth[counts].astype(int) - 1, labels[winners[counts]]), 1)
    lines = []
    for name, matrix in matrices.items():
        right = np.diag(matrix)
        each = 100 * right / np.maximum(matrix.sum(0) + matrix.sum(1) - right, 1)
        shares = (100 * right.sum() / matrix.sum(), each[matrix.sum(1) > 0].mean(), *each)
        lines.append([name, *(f"{value:.1f}" for value in shares)])
    print(f"{len(items)} images\n")
    print(markdown(("reading", "right", "mean IoU", *index.classes), lines))


if __name__ == "__main__":
    main()
