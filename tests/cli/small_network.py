"""Results with a segmentation network of random weights, and its predictions."""

from __future__ import annotations

from pathlib import Path

import torch

from wsss.models.classifier import Classifier
from wsss.models.segmenter import Segmenter
from wsss.settings import PredictSettings
from wsss.store.manifest import read_manifest, write_manifest
from wsss.store.weights import save_weights

NETWORK = "results/photos/s0/segmenters/mine"
CLASSES = ["cat", "dog"]


def put_classifier_beside(run: Path) -> Path:
    """Write a classifier of random weights into the folder of a seed, and let the predictions of ``mine`` ask it;
    returns its folder."""
    torch.manual_seed(1)
    network, folder = Classifier("test_resnet", len(CLASSES), 8).eval(), run / "classifiers/plain"
    with torch.no_grad():  # as it is made, all photos have much the same tags
        network.head.weight *= 40
    about = {"kind": "classifier", "backbone": "test_resnet", "output_stride": 8, "classes": CLASSES}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    made = read_manifest(run / "predictions/mine")
    made["settings"]["tag_threshold"] = 0.5
    made["inputs"]["tags_from"] = {"path": "../../classifiers/plain", "digest": ""}
    write_manifest(run / "predictions/mine", made)
    return folder


def write_network(root: Path) -> Path:
    """Write ``results/photos`` below a folder, applied with one scale and no CRF; returns the folder."""
    torch.manual_seed(0)
    run = root / "results/photos/s0"
    network = Segmenter("deeplabv3plus", "test_resnet", 3).eval()
    head = network.network.segmentation_head[0]
    with torch.no_grad():  # as it is made, one class would be everywhere
        head.bias -= network(torch.randn(4, 3, 48, 64)).mean((0, 2, 3))
        head.weight *= 400
        head.bias *= 400
    about = {"architecture": "deeplabv3plus", "backbone": "test_resnet", "output_stride": 16}
    folder = run / "segmenters/mine"
    folder.mkdir(parents=True)
    save_weights(
        folder / "model.safetensors", network.state_dict(), {**about, "atrous_rates": [6, 12, 18], "classes": CLASSES}
    )
    write_manifest(folder, {"stage": "segmenter", "settings": about, "inputs": {}})
    used = PredictSettings(scales=(1.0,), flip=False).model_dump(mode="json", exclude={"shards"})
    inputs = {"segmenter": {"path": "../../segmenters/mine", "digest": ""}}
    (run / "predictions/mine").mkdir(parents=True)
    write_manifest(run / "predictions/mine", {"stage": "predictions", "settings": used, "inputs": inputs})
    (run / "classifiers/plain").mkdir(parents=True)
    write_manifest(run / "classifiers/plain", {"stage": "classifier", "settings": {}, "inputs": {}})
    return root
