"""What a network's masks gain when a classifier says which classes a photo may hold.

    python -m benchmarks.tag_limits results/animals/s0 --segmenters salient supervised --classifier linear

For every scored validation photo at one scale, without a dense CRF: the argmax of the class probabilities as they are;
with the classes left out that the classifier gives less than ``--least`` (the most probable one always stays); with
their probability moved to the classes that stay, in proportion, so that what was an object before is one still; the
same with the ground-truth tags, an upper bound. mIoU in percent. The classifier's probabilities are read from its
``predictions.csv``. This measures a lever that the chain does not have yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.choice import markdown
from wsss.data.index import Index
from wsss.evaluate.classification import read_predictions
from wsss.evaluate.confusion import confusion, mean_iou
from wsss.evaluate.counting import true_mask
from wsss.inference.network import open_network
from wsss.inference.segmentation import pixel_probabilities
from wsss.models.segmenter import load_segmenter
from wsss.refine.tag_limits import likely, limited
from wsss.settings import PredictSettings


def left_out(scores: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """Class probabilities (C + 1, H, W), background first, with 0 for the classes that do not stay, bool (C,)."""
    return np.concatenate([scores[:1], scores[1:] * stays[:, None, None]])


def row(results: Path, name: str, classifier: str, least: float, side: int) -> list[str]:
    """A network's figures: plain, left out, moved, and moved with the ground-truth tags."""
    index = Index.load(results.parent / "index")
    classes, items = len(index.classes), index.scored("val")
    tags = read_predictions(results / "classifiers" / classifier / "predictions.csv", index.classes)["val"]
    threads = torch.get_num_threads()
    network, device = open_network(results / "segmenters" / name, load_segmenter, index, "auto", threads)
    settings = PredictSettings(scales=(1.0,), max_side=side, crf=None)
    matrices = np.zeros((4, classes + 1, classes + 1), np.int64)
    for item, scores in pixel_probabilities(network, items, settings, device, threads):
        stays, true = likely(tags[item.id], least), np.isin(np.arange(classes), item.labels)
        readings = (scores, left_out(scores, stays), limited(scores, stays), limited(scores, true))
        for matrix, reading in zip(matrices, readings, strict=True):
            matrix += confusion(true_mask(item), reading.argmax(0), classes)
    return [name, str(len(items)), *(f"{100 * value:.1f}" for value in mean_iou(matrices))]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.tag_limits", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, help="folder of a seed: results/DATASET/s0")
    parser.add_argument("--segmenters", nargs="+", required=True, help="names of trained segmentation networks")
    parser.add_argument("--classifier", required=True, help="whose probabilities say what a photo may hold")
    parser.add_argument("--least", type=float, default=0.2, help="probability below which a class goes (default 0.2)")
    parser.add_argument("--side", type=int, default=320, help="longest side in pixels that the network sees")
    args = parser.parse_args()
    heads = ("network", "photos", "plain", "left out", "moved", "moved, ground-truth tags")
    lines = [row(args.results, name, args.classifier, args.least, args.side) for name in args.segmenters]
    print(markdown(heads, lines))


if __name__ == "__main__":
    main()
