"""Classifier and segmentation networks: shapes, strides, weights from files, errors."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from wsss.compute.devices import tune_for
from wsss.errors import WsssError
from wsss.models.classifier import Classifier, build_classifier, load_classifier, logits
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.segmenter import ARCHITECTURES, Segmenter, build_segmenter
from wsss.settings import SegmentationSettings, VanillaSettings
from wsss.store.manifest import write_manifest
from wsss.store.weights import load_weights, save_weights


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_035"])
def test_stride_of_the_maps(name, stride):
    maps = Classifier(name, 5, stride)(torch.zeros(2, 3, 64, 96))
    assert maps.shape == (2, 5, 64 // stride, 96 // stride)


def test_logits_are_the_head_on_pooled_features():
    network = Classifier("test_resnet", 3).eval()
    x = torch.randn(2, 3, 64, 64)
    features = network.backbone.forward_features(x).mean((2, 3))
    expected = features @ network.head.weight[:, :, 0, 0].T
    torch.testing.assert_close(logits(network(x)), expected, atol=1e-5, rtol=1e-4)
    assert network.head.bias is None


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(WsssError, match="did you mean .*resnet50"):
        Classifier("resnet5O", 3)


def test_a_stride_that_a_backbone_lacks_is_explained():
    with pytest.raises(WsssError, match="output stride 16"):
        Classifier("vgg11", 3, 16)


@pytest.fixture
def imagenet(tmp_path):
    """A file with the weights of a whole ImageNet network, head and all."""
    torch.manual_seed(5)
    weights = timm.create_model("test_resnet").state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "weights.pth")
    return tmp_path, weights


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_local_weights_reach_classifier_and_segmenter(imagenet, suffix):
    folder, weights = imagenet
    path = str(folder / f"weights.{suffix}")
    network = build_classifier(VanillaSettings(backbone="test_resnet", pretrained=path), 4)
    model = timm.create_model("test_resnet")
    model.load_state_dict(weights)
    take_imagenet_statistics(model, "test_resnet")  # what is loaded sees images as ours are
    weights = model.state_dict()
    for key, value in network.backbone.state_dict().items():
        assert torch.equal(value, weights[key]), key
    settings = SegmentationSettings(backbone="test_resnet", pretrained=path, supervision="masks")
    segmenter = build_segmenter(settings, 4)
    encoder = segmenter.network.encoder.model.state_dict()
    assert encoder and all(torch.equal(value, weights[key]) for key, value in encoder.items())
    assert segmenter.is_new("network.decoder.x") and not segmenter.is_new("network.encoder.model.conv1.weight")


def test_weights_that_do_not_fit_are_refused(imagenet, tmp_path):
    folder, weights = imagenet
    broken = {("odd." + k if k.startswith("layer4") else k): v for k, v in weights.items()}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(WsssError, match="do not fit the backbone .absent: layer4"):
        build_classifier(VanillaSettings(backbone="test_resnet", pretrained=str(tmp_path / "broken.safetensors")), 4)
    with pytest.raises(WsssError, match="no such file"):
        build_classifier(VanillaSettings(backbone="test_resnet", pretrained="nowhere.pth"), 4)
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(WsssError, match="not a readable file"):
        load_weights(tmp_path / "text.safetensors")


class Malice:
    """What a crafted file would run when it is unpickled."""

    def __reduce__(self):
        return (print, ("gotcha",))


def test_pickled_code_is_not_run(tmp_path, capsys):
    torch.save({"a": Malice()}, tmp_path / "evil.pth")
    with pytest.raises(WsssError, match="refused"):
        load_weights(tmp_path / "evil.pth")
    assert "gotcha" not in capsys.readouterr().out


def test_classifier_round_trip_and_warm_start(tmp_path):
    network = Classifier("test_resnet", 2, 8)
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["a", "b"]}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
    with pytest.raises(WsssError, match="never finished"):
        load_classifier(tmp_path)
    write_manifest(tmp_path, {})
    again, classes = load_classifier(tmp_path)
    x = torch.randn(1, 3, 64, 64)
    assert classes == ("a", "b") and torch.equal(again.eval()(x), network.eval()(x))
    settings = VanillaSettings(backbone="test_resnet", output_stride=8, pretrained=False)
    warm = build_classifier(settings, 2, tmp_path)
    assert torch.equal(warm.head.weight, network.head.weight)
    with pytest.raises(WsssError, match="do not fit here"):
        build_classifier(settings, 3, tmp_path)


def test_tuning_for_the_cpu_keeps_weights_and_answers():
    network = Classifier("mobilenetv2_035", 3).eval()
    before, x = network.state_dict(), torch.randn(2, 3, 64, 64)
    expected = network(x)
    tune_for(network, torch.device("cpu"))
    assert list(network.state_dict()) == list(before) and torch.equal(network(x), expected)
    types = set()
    depthwise = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    for module in depthwise:
        module.register_forward_hook(lambda module, given, result: types.add((given[0].dtype, result.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        network(x)
    assert depthwise and types == {(torch.bfloat16, torch.bfloat16)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_segmenters_answer_at_any_size(architecture):
    network = Segmenter(architecture, "test_resnet", 4).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 70, 101)).shape == (1, 4, 70, 101)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stride_without_effect_is_said_at_training(architecture, capsys):
    settings = {"architecture": architecture, "backbone": "test_resnet", "pretrained": False, "supervision": "masks"}
    for stride in (16, 8 if architecture.startswith("deeplab") else 32):
        network = build_segmenter(SegmentationSettings(**settings, output_stride=stride), 2)
        found = network.network.encoder(torch.zeros(1, 3, 128, 128))[-1].shape[-1]
        told = f"output_stride {stride} has no effect on {architecture}" in capsys.readouterr().err
        assert told == (128 // found != stride)


def test_wide_resnet_says_which_parts_it_serves():
    with pytest.raises(WsssError, match="wide_resnet38d: it serves classifiers, affinity networks, C2AM and PoolNet"):
        Segmenter("deeplabv3plus", "wide_resnet38d", 3)
