"""The edge network: the grid, what is frozen, weights from files and from classifiers."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.models.classifier import Classifier
from wsss.models.edge_network import EdgeNetwork, build_edge_network, load_edge_network
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.settings import AffinitySettings
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights


@pytest.mark.parametrize(
    "name", ["test_resnet", "resnet10t", "mobilenetv2_035", "test_efficientnet", "test_convnext", "test_vit"]
)
def test_one_logit_a_cell_of_the_stride_4_grid(name):
    network = EdgeNetwork(name, 8).eval()
    assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 16, 24)


@pytest.mark.parametrize("size", [(50, 66), (33, 47), (61, 64)])
def test_odd_sizes_are_rounded_up(size):
    network = EdgeNetwork("test_resnet", 8).eval()
    assert network(torch.zeros(1, 3, *size)).shape == (1, -(-size[0] // 4), -(-size[1] // 4))


@torch.no_grad()
def test_forward_layer_by_layer():
    torch.manual_seed(0)
    network = EdgeNetwork("test_resnet", 8).eval()
    x = torch.randn(2, 3, 64, 96)
    backbone = timm.create_model("test_resnet", features_only=True, output_stride=16).eval()
    backbone.load_state_dict(network.encoder.state_dict())
    stem, *stages = backbone(x)
    assert stem.shape[-2:] == (32, 48)
    maps = []
    for stage, layer in zip([F.max_pool2d(stem, 3, 2, 1), *stages], network.reduce, strict=True):
        convolved = torch.einsum("bchw,oc->bohw", stage, layer[0].weight[:, :, 0, 0])
        groups = convolved.reshape(2, 4, -1)
        centred = groups - groups.mean(2, keepdim=True)
        normal = (centred / (groups.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()).view_as(convolved)
        factor = 16 // stage.shape[-2]
        maps.append(F.interpolate(normal, scale_factor=factor, mode="bilinear").relu() if factor > 1 else normal.relu())
    expected = torch.einsum("bchw,c->bhw", torch.cat(maps, 1), network.edge.weight[0, :, 0, 0]) + network.edge.bias
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-4)


def test_only_the_six_layers_learn():
    network = EdgeNetwork("test_resnet", 8)
    network.train()
    assert not any(m.training for m in network.encoder.modules())
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    learning = {n for n, p in network.named_parameters() if p.grad is not None}
    expected = {f"reduce.{k}.{layer}" for k in range(5) for layer in ("0.weight", "1.weight", "1.bias")}
    assert learning == expected | {"edge.weight", "edge.bias"}
    assert {n for n, p in network.named_parameters() if p.requires_grad} == learning
    assert all(network.is_new(n) for n in learning) and not network.is_new("encoder.conv1.weight")
    assert all(torch.equal(v, before[k]) for k, v in network.encoder.state_dict().items())
    assert network.reduce[0][0].bias is None


def settings(**more):
    return AffinitySettings(**{"cams": "x", "backbone": "test_resnet", "width": 8, "pretrained": False, **more})


def test_local_weights(tmp_path):
    model = timm.create_model("test_resnet")
    weights = model.state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    take_imagenet_statistics(model, "test_resnet")  # what is loaded sees images as ours are
    network = build_edge_network(settings(pretrained=str(tmp_path / "weights.safetensors")))
    assert all(torch.equal(v, weights[k]) for k, v in network.encoder.state_dict().items())


@pytest.mark.parametrize("backbone", ["test_resnet", "mobilenetv2_035", "test_convnext", "test_vit"])
def test_the_backbone_of_a_classifier(tmp_path, backbone):
    torch.manual_seed(1)
    classifier = Classifier(backbone, 3, 16).eval()
    save_weights(tmp_path / "model.safetensors", classifier.state_dict(), {"backbone": backbone})
    network = build_edge_network(settings(backbone=backbone), tmp_path).eval()
    theirs = [v for k, v in sorted(classifier.backbone.state_dict().items())]
    for value in network.encoder.state_dict().values():
        assert any(v.shape == value.shape and torch.equal(v, value) for v in theirs)
    if backbone == "test_resnet":
        x = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(network.encoder(x)[-1], classifier.backbone.forward_features(x))
    with pytest.raises(WsssError, match="does not fit here .*same 'backbone'"):
        build_edge_network(settings(backbone="resnet18"), tmp_path)


def test_saved_and_loaded(tmp_path):
    torch.manual_seed(2)
    network = EdgeNetwork("test_resnet", 8).eval()
    about = {"kind": "affinity", "backbone": "test_resnet", "output_stride": 16, "width": 8}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
    with pytest.raises(WsssError, match="never finished"):
        load_edge_network(tmp_path)
    write_manifest(tmp_path, {})
    again = load_edge_network(tmp_path)
    x = torch.randn(1, 3, 48, 48)
    assert not again.training and torch.equal(again(x), network(x))
