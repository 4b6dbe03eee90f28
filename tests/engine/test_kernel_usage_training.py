"""A classifier with kernel usage regularisation goes through training and back from its folder."""

from __future__ import annotations

import torch

from tests.engine.tiny_training import SMALL
from wsss.models.classifier import load_classifier
from wsss.models.kernel_usage import KernelUsageHead
from wsss.settings import VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.store.manifest import write_manifest
from wsss.store.weights import load_weights


def test_what_is_trained_is_what_is_loaded(tiny_index, make_run):
    settings = VanillaSettings(**SMALL, augment=(), head="kur")
    run = make_run(settings, {"index": tiny_index})
    train_classifier(run)
    write_manifest(run.out, {})
    weights, about = load_weights(run.out / "model.safetensors")
    assert (about["head"], about["kur_alpha"]) == ("kur", 2.0)
    network, _ = load_classifier(run.out)
    assert isinstance(network.head, KernelUsageHead) and torch.equal(network.head.weight, weights["head.weight"])
    header, *rows = (run.out / "predictions.csv").read_text().splitlines()
    assert header == "id,split,red,green" and len(rows) == 4
