"""Weights that a training starts from: the classes of a given classifier, and a checkpoint after the file changed."""

from __future__ import annotations

import shutil

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.engine.tiny_training import SMALL
from wsss.data.index import Index, write_index
from wsss.errors import WsssError
from wsss.models.classifier import Classifier
from wsss.provenance.files import file_content
from wsss.settings import OcCseSettings, VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights
from wsss.system.exit import Interrupted
from wsss.system.files import write_json

SHORT = SMALL | {"epochs": 1, "augment": ()}


@pytest.fixture
def classifier(tmp_path):
    folder = tmp_path / "classifier"
    about = {"kind": "classifier", "backbone": "test_resnet", "output_stride": 16, "classes": ["red", "green"]}
    save_weights(folder / "model.safetensors", Classifier("test_resnet", 2).state_dict(), about)
    write_manifest(folder, {})
    return folder


@pytest.mark.parametrize("name, settings", [("ordinary", OcCseSettings), ("warm_start", VanillaSettings)])
def test_a_classifier_of_other_classes_is_refused(tiny_index, classifier, make_run, tmp_path, name, settings):
    """As many classes, in another order: nothing else would notice."""
    turned = tmp_path / "turned"
    turned.mkdir()
    write_index(turned, ("green", "red"), Index.load(tiny_index).items)
    write_json(turned / "report.json", {"dataset": "turned", "dropped": []})
    write_manifest(turned, {"stage": "index"})
    recipe = settings(**SHORT, **{name: "other"})
    with pytest.raises(WsssError, match="the classes red, green; the dataset has green, red; train it on this"):
        train_classifier(make_run(recipe, {"index": turned, name: classifier}))
    train_classifier(make_run(recipe, {"index": tiny_index, name: classifier}))


def test_a_checkpoint_of_other_pretrained_weights_is_not_resumed(tiny_index, make_run, tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), path)
    settings = VanillaSettings(**{**SHORT, "pretrained": str(path)})
    for changed, said in ((False, "resuming at step 1"), (True, "are kept")):
        run = make_run(settings, {"index": tiny_index})
        run.stop = "a test"
        with pytest.raises(Interrupted):
            train_classifier(run)
        capsys.readouterr()
        if changed:
            torch.manual_seed(5)
            save_file(timm.create_model("test_resnet").state_dict(), path)
            file_content.cache_clear()
            run = make_run(settings, {"index": tiny_index})
        run.stop = None
        train_classifier(run)
        assert said in capsys.readouterr().err
        for left in run.leftovers:  # as a stage does once its manifest stands
            shutil.rmtree(left)
