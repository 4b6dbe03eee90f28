"""Tiny trained networks, as their stages would leave them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss.models.classifier import Classifier
from wsss.models.segmenter import Segmenter
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights

CLASSES = ["cat", "dog"]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a network is called -> its artefact folder."""
    torch.manual_seed(0)
    made = {
        "unet": Segmenter("unet", "test_resnet", 3, 16, (2, 4, 6)),
        "classifier": Classifier("test_resnet", 2, 16),
        "saliency": Classifier("test_resnet", 1, 16),
    }
    folders = {}
    for name, network in made.items():
        for module in network.modules():  # statistics as after a training, not 0 and 1
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        folders[name] = tmp_path_factory.mktemp("networks") / name
        kind = "segmenter" if isinstance(network, Segmenter) else name
        about = {"kind": kind, "backbone": "test_resnet", "output_stride": 16, "classes": CLASSES}
        if kind == "segmenter":
            about |= {"architecture": name, "atrous_rates": [2, 4, 6]}
        save_weights(folders[name] / "model.safetensors", network.state_dict(), about)
        write_manifest(folders[name], {"stage": kind})
    return folders
