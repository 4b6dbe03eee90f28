"""Saliency networks: shapes on small images and encoders, widths, modules against their definition, files."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.models.disentangler import Disentangler
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.poolnet import DeepPool, GlobalGuidance, PoolNet, grown
from wsss.models.saliency_net import build_saliency_net, load_saliency
from wsss.settings import SaliencyNetSettings
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights


@pytest.mark.parametrize("name, stride", [("resnet10t", 16), ("mobilenetv2_100", 32), ("test_convnext", 16)])
@pytest.mark.parametrize("size", [(64, 64), (75, 98)])
def test_logits_have_the_size_of_the_image(name, stride, size):
    torch.manual_seed(0)
    logits = PoolNet(name, stride)(torch.randn(2, 3, *size))
    assert logits.shape == (2, 1, *size)
    assert 1e-6 < logits.std() < 1  # neither dead nor sure of itself before it has learnt


def test_every_parameter_learns():
    network = PoolNet("test_resnet", 16)
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    named = dict(network.named_parameters())
    assert all(p.grad is not None for p in named.values())
    silent = [n for n, p in named.items() if network.is_new(n) and not p.grad.abs().sum()]
    assert silent == []
    assert network.is_new("score.weight") and not network.is_new("encoder.conv1.0.weight")


def test_widths_follow_the_encoder():
    """The published decoder, and one in proportion."""
    wide = PoolNet("resnet50", 16)
    assert [layer.out_channels for layer in wide.laterals] == [128, 256, 256, 512, 512]
    assert [(k.out.in_channels, k.out.out_channels) for k in wide.layers] == [
        (512, 512), (512, 256), (256, 256), (256, 128), (128, 128)
    ]  # fmt: skip
    assert [layer.out_channels for layer in PoolNet("resnet10t", 16).laterals] == [32, 64, 64, 128, 128]
    assert [layer.out_channels for layer in PoolNet("test_resnet", 16, width=0.5).laterals] == [64, 128, 128, 256, 256]


def test_deep_pool_by_its_definition():
    torch.manual_seed(1)
    layer = DeepPool(4, 6, joins=True)
    x, lateral, guidance = torch.randn(1, 4, 16, 16), torch.randn(1, 6, 32, 32), torch.randn(1, 6, 32, 32)
    up = {"mode": "bilinear", "align_corners": True}
    total = x.clone()
    for k, conv in zip((2, 4, 8), layer.pools, strict=True):
        total = total + F.interpolate(conv(F.avg_pool2d(x, k)), size=(16, 16), **up)
    total = layer.out(F.interpolate(F.relu(total), size=(32, 32), **up))
    expected = layer.join(total + lateral + guidance)
    torch.testing.assert_close(layer(x, lateral, guidance), expected)


def test_guidance_sees_the_whole_image():
    """A change in one corner of the coarsest map is felt in the opposite one."""
    torch.manual_seed(1)
    module = GlobalGuidance(4, 16, [8, 8])
    first = torch.randn(1, 4, 12, 12).abs()
    second = first.clone()
    second[..., 0, 0] += 50
    laterals = [torch.zeros(1, 8, 48, 48), torch.zeros(1, 8, 24, 24)]
    a, b = module(first, laterals), module(second, laterals)
    assert [branch.shape for branch in a] == [(1, 8, 48, 48), (1, 8, 24, 24)]
    assert (a[0] - b[0])[..., -12:, -12:].abs().max() > 1e-3


def test_guidance_grows_first_and_is_convolved_on_the_grid_of_the_lateral_map():
    """The published order; the other way round is another function."""
    torch.manual_seed(1)
    module = GlobalGuidance(4, 16, [8])
    coarsest = torch.randn(1, 4, 6, 6)
    (found,) = module(coarsest, [torch.zeros(1, 8, 12, 12)])
    (small,) = module(coarsest, [coarsest])
    assert not torch.allclose(found, grown(small, found), atol=1e-3)
    x = module.reduce(coarsest)
    pooled = [
        F.relu(layer(F.adaptive_avg_pool2d(x, side))) for side, layer in zip((1, 3, 5), module.pools, strict=True)
    ]
    up = {"mode": "bilinear", "align_corners": True}
    views = torch.cat([x, *(F.interpolate(view, size=(6, 6), **up) for view in pooled)], 1)
    large = F.interpolate(F.relu(module.join(views)), size=(12, 12), **up)
    torch.testing.assert_close(found, F.relu(module.branches[0](large)))


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet", "poolnet"])
def test_every_architecture_comes_back_from_its_file(architecture, tmp_path):
    settings = SaliencyNetSettings(saliency="x", backbone="test_resnet", pretrained=False, architecture=architecture)
    network = build_saliency_net(settings).eval()
    about = {"kind": "saliency-net", "architecture": architecture, "backbone": "test_resnet", "output_stride": 16}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
    with pytest.raises(WsssError, match="never finished"):
        load_saliency(tmp_path)
    write_manifest(tmp_path, {})
    again, said = load_saliency(tmp_path)
    images = torch.randn(1, 3, 72, 64)
    with torch.inference_mode():
        assert network(images).shape == (1, 1, 72, 64)
        torch.testing.assert_close(again.eval()(images), network(images))
    assert said == {**about, "grid": (4, 4)}


@pytest.mark.parametrize("architecture", ["poolnet", "unet"])
def test_local_weights(architecture, tmp_path):
    model = timm.create_model("test_resnet")
    weights = model.state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    take_imagenet_statistics(model, "test_resnet")  # what is loaded sees images as ours are
    settings = SaliencyNetSettings(
        saliency="x", backbone="test_resnet", pretrained=str(tmp_path / "w.safetensors"), architecture=architecture
    )
    network = build_saliency_net(settings)
    encoder = network.encoder if architecture == "poolnet" else network.network.encoder.model
    assert all(torch.equal(value, weights[key]) for key, value in encoder.state_dict().items())


def test_an_inverted_disentangler_is_turned(tmp_path):
    torch.manual_seed(0)
    network, images = Disentangler("test_resnet", 16).eval(), torch.randn(1, 3, 64, 64)
    write_manifest(tmp_path, {})
    for inverted, sign in ((False, 1), (True, -1)):
        about = {"kind": "disentangler", "backbone": "test_resnet", "output_stride": 16, "inverted": inverted}
        save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
        with torch.inference_mode():
            torch.testing.assert_close(load_saliency(tmp_path)[0].eval()(images), sign * network(images).logits)
    save_weights(tmp_path / "model.safetensors", network.state_dict(), {"kind": "classifier"})
    with pytest.raises(WsssError, match="but of classifier"):
        load_saliency(tmp_path)
