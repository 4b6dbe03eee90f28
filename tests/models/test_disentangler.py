"""The disentangler and the encoders: shapes, the split of the features, weights from files."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from wsss.errors import WsssError
from wsss.models.disentangler import Disentangler
from wsss.models.encoder import create_encoder
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.wide_encoder import WideEncoder
from wsss.models.wide_resnet38 import WideResNet38


@pytest.mark.parametrize("name, stride", [("resnet10t", 16), ("mobilenetv2_100", 32), ("test_convnext", 16)])
def test_shapes_and_the_split(name, stride):
    """Specification, section 22, check 7: v_f + v_b is the mean feature."""
    torch.manual_seed(0)
    network = Disentangler(name, stride).eval()
    images = torch.randn(2, 3, 64, 96)
    seen = network(images)
    assert seen.logits.shape == (2, 1, 64 // stride, 96 // stride)
    before, last = network.encoder(images)[-2:]
    if stride == 32:
        before = torch.nn.functional.avg_pool2d(before, 2)
    features = torch.cat([last, before], 1)
    assert seen.foreground.shape == seen.background.shape == features.shape[:2]
    torch.testing.assert_close(seen.foreground + seen.background, features.mean((2, 3)), atol=1e-5, rtol=1e-4)
    for image in range(2):  # the definition, cell by cell
        total = torch.zeros(features.shape[1])
        for y in range(features.shape[2]):
            for x in range(features.shape[3]):
                total += torch.sigmoid(seen.logits[image, 0, y, x]) * features[image, :, y, x]
        cells = features.shape[2] * features.shape[3]
        torch.testing.assert_close(seen.foreground[image], total / cells, atol=1e-5, rtol=1e-4)


def test_what_is_new_and_where_gradients_go():
    network = Disentangler("test_resnet", 16)
    seen = network(torch.randn(2, 3, 64, 64))
    (seen.foreground.sum() - seen.background.sum()).backward()
    names = dict(network.named_parameters())
    assert {n for n in names if network.is_new(n)} == {"head.0.weight", "head.1.weight", "head.1.bias"}
    assert all(p.grad is not None for p in names.values())


def test_transformers_give_their_tokens_for_any_size():
    maps = create_encoder("test_vit", 16, False)(torch.zeros(1, 3, 50, 96))
    assert maps[-1].shape[-2:] == (4, 6)
    assert Disentangler("test_vit", 16)(torch.zeros(2, 3, 64, 64)).logits.shape == (2, 1, 4, 4)


def test_the_wide_network_is_an_encoder_too(monkeypatch, tmp_path):
    model = WideResNet38(width=2).eval()
    encoder, images = WideEncoder(model), torch.randn(1, 3, 64, 48)
    maps = encoder(images)
    info = encoder.feature_info
    assert [m.shape[1] for m in maps] == info.channels() == [4, 8, 16, 32, 128]
    assert [64 // m.shape[2] for m in maps] == info.reduction() == [2, 4, 8, 8, 8]
    torch.testing.assert_close(maps[-1], model.forward_features(images))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setattr("wsss.models.backbone.OWN", {"wide_resnet38d": (lambda: WideResNet38(width=2), 8)})
    network = Disentangler("wide_resnet38d", 8, str(tmp_path / "w.safetensors"))
    assert torch.equal(network.encoder.model.b7.conv_branch1.weight, model.b7.conv_branch1.weight)
    assert network(torch.zeros(2, 3, 64, 64)).logits.shape == (2, 1, 8, 8)


def test_refusals_name_the_cure():
    with pytest.raises(WsssError, match="did you mean .*resnet50"):
        Disentangler("resnet5O")
    with pytest.raises(WsssError, match="output_stride: 16"):
        Disentangler("test_vit", 8)


def test_local_weights_reach_the_encoder(tmp_path):
    model = timm.create_model("test_resnet")
    weights = model.state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    take_imagenet_statistics(model, "test_resnet")  # what is loaded sees images as ours are
    network = Disentangler("test_resnet", 16, str(tmp_path / "w.safetensors"))
    for key, value in network.encoder.state_dict().items():
        assert torch.equal(value, weights[key]), key
