"""Networks that no stage has trained, so that what reads a network does not hang on what a training came to.

Random weights, and a last layer that is shifted and scaled until each class scores 0 on average over the images, and
spreads: networks of three steps say next to the same everywhere, and differences of such scores are rounding noise.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.data.images import read_image
from wsss.data.index import Index
from wsss.data.transforms import normalise
from wsss.models.backbone import feature_maps
from wsss.models.classifier import Classifier, logits
from wsss.models.segmenter import Segmenter
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights

BACKBONE = "resnet10t"
SPREAD = 1.5
"""Standard deviation of the scores of a class, over all cells or pixels."""


@torch.no_grad()
def networks_by_hand(index: Index, classifier: Path, segmenter: Path) -> None:
    """Write a classifier, with its tag probabilities, and a segmentation network into two folders."""
    items = index.split("val")
    images = torch.from_numpy(np.stack([normalise(read_image(item.image)) for item in items]))
    torch.manual_seed(1)
    net = Classifier(BACKBONE, len(index.classes), 8)
    settle(net, images)
    features = feature_maps(net.backbone, images).transpose(0, 1).flatten(1)
    weight = net.head.weight.flatten(1)
    middle = features.mean(1)
    weight -= (weight @ middle / (middle @ middle))[:, None] * middle
    weight *= (SPREAD / (weight @ features).std(1))[:, None]
    about: dict[str, Any] = {"backbone": BACKBONE, "output_stride": 8, "classes": list(index.classes)}
    keep(net, classifier, {"kind": "classifier", **about})
    with (classifier / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", *index.classes])
        for item, scores in zip(items, logits(net(images)).sigmoid().tolist(), strict=True):
            rows.writerow([item.id, item.split, *(f"{p:.3f}" for p in scores)])
    torch.manual_seed(2)
    seg = Segmenter("fpn", BACKBONE, len(index.classes) + 1, 32)
    settle(seg, images)
    scores = seg(images).transpose(0, 1).flatten(1)
    last: Any = seg.network.get_submodule("segmentation_head.0")
    last.weight *= (SPREAD / scores.std(1))[:, None, None, None]
    last.bias.copy_((last.bias - scores.mean(1)) * SPREAD / scores.std(1))
    about |= {"architecture": "fpn", "output_stride": 32, "atrous_rates": [6, 12, 18]}
    recipe = {"objective": "segmentation", "supervision": "masks", "backbone": BACKBONE, "pretrained": False}
    keep(seg, segmenter, {"kind": "segmenter", **about}, recipe | {"crop": 64, "long_side": [64, 64]})


def settle(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Let batch normalisation see the images, and put the network into eval mode."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, of which there is one
    network.train()(images)
    network.eval()


def keep(network: torch.nn.Module, folder: Path, about: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
    """Write an artefact like that of a training."""
    folder.mkdir(parents=True)
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    stage = about["kind"]
    write_manifest(folder, {"stage": stage, "seed": 0, "settings": settings or {}, "inputs": {}, "content": "by hand"})
