"""Backbones: dilated ResNeSt, tokens on their grid, networks of a fixed stride, Wide ResNet-38."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone, feature_maps
from wsss.models.classifier import Classifier, build_classifier, load_classifier, load_judge
from wsss.models.wide_resnet38 import WideResNet38
from wsss.settings import PuzzleSettings
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights


@pytest.mark.parametrize(
    "name, millions",
    [("resnest50d", 25.48), ("resnest101e", 46.27), ("resnest269e", 108.92), ("resnet50", 23.55), ("resnet101", 42.54)],
)
def test_published_backbones_at_stride_16(name, millions):
    with torch.device("meta"):  # shapes without numbers
        network = Classifier(name, 20, 16)
        maps = network(torch.empty(2, 3, 64, 96))
    assert maps.shape == (2, 20, 4, 6)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_split_attention_computes(stride):
    network = Classifier("resnest14d", 3, stride)
    assert network.training
    maps = network(torch.randn(2, 3, 64, 96))
    assert maps.shape == (2, 3, 64 // stride, 96 // stride) and maps.isfinite().all()


def test_a_dilated_resnest_computes_at_every_other_cell_what_its_strided_twin_computes():
    """Published: the first block of a stage that is dilated pools at stride 1 what it pools at stride 2 otherwise."""
    torch.manual_seed(0)
    strided, dilated = (create_backbone("resnest14d", stride, False).eval() for stride in (32, 16))
    dilated.load_state_dict(strided.state_dict())
    fine, main = torch.randn(1, 1024, 8, 12), []
    for network in (strided, dilated):
        block = network.layer4[0]
        block.conv3.register_forward_pre_hook(lambda _, given: main.append(given[0]))
        block(fine)
    assert main[1].shape[-2:] == (8, 12) and main[0].std() > 0
    torch.testing.assert_close(main[1][..., ::2, ::2], main[0])
    shortcuts = [network.layer4[0].downsample for network in (strided, dilated)]
    torch.testing.assert_close(shortcuts[1](fine), shortcuts[0][1:](fine))  # not pooled


def test_a_dilated_resnest_that_pools_first_still_does():
    block = create_backbone("resnest50d_4s2x40d", 16, False).layer4[0]
    assert (block.avd_first.kernel_size, block.avd_first.stride, block.avd_last) == (3, 1, None)


# --- tokens and fixed strides -----------------------------------------------------------------------------------------


def test_tokens_lie_on_the_grid_of_their_patches():
    network = Classifier("test_vit", 5, 16).eval()
    image = torch.randn(1, 3, 64, 96)
    tokens = network.backbone.forward_features(image)
    assert tokens.shape[1] == 1 + 4 * 6, "the class token comes first"
    features = feature_maps(network.backbone, image)
    for row in range(4):
        for column in range(6):
            assert torch.equal(features[0, :, row, column], tokens[0, 1 + row * 6 + column])
    assert network(image).shape == (1, 5, 4, 6)
    assert network(torch.zeros(1, 3, 70, 101)).shape == (1, 5, 5, 7), "images of any size are padded to patches"
    network(image).sum().backward()
    assert network.backbone.patch_embed.proj.weight.grad.abs().sum() > 0


def test_a_class_token_and_registers_are_left_out():
    for name in ("test_vit", "test_vit2", "test_vit4"):
        network = create_backbone(name, 16, False)
        assert feature_maps(network, torch.zeros(2, 3, 48, 32)).shape == (2, network.num_features, 3, 2)


def test_a_patch_that_is_no_stride_is_explained():
    with pytest.raises(WsssError, match="test_vit: its stride is 16 and cannot be changed to 8; set output_stride to"):
        Classifier("test_vit", 3, 8)


@pytest.mark.parametrize("name", ["pvt_v2_b0", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224"])
def test_networks_of_one_stride_are_taken_at_that_stride(name):
    if name.startswith("swin"):  # channels last, and an image size that it does not insist on
        network = Classifier(name, 2, 32).eval()
        assert network(torch.zeros(1, 3, 96, 64)).shape == (1, 2, 3, 2)
    else:
        assert Classifier(name, 2, 32)(torch.zeros(2, 3, 96, 64)).shape == (2, 2, 3, 2)
        with pytest.raises(WsssError, match="its stride is 32 and cannot be changed to 16"):
            Classifier(name, 2, 16)


def test_a_network_for_images_of_one_size_is_refused():
    with pytest.raises(WsssError, match="cannot give maps of images of any size"), torch.device("meta"):
        Classifier("mixer_s16_224", 2, 16)


# --- Wide ResNet-38 ---------------------------------------------------------------------------------------------------


def published_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of PSA's port, written down from its table of layers."""
    shapes: dict[str, tuple[int, ...]] = {"conv1a.weight": (64, 3, 3, 3)}

    def norm(name, channels):
        shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})

    table = [("b2", 64, 128, 128), ("b3", 128, 256, 256), ("b4", 256, 512, 512), ("b5", 512, 512, 1024)]
    for (stage, into, middle, out), further in zip(table, (2, 2, 5, 2), strict=True):
        for name in (stage, *(f"{stage}_{n + 1}" for n in range(further))):
            norm(f"{name}.bn_branch2a", into)
            shapes[f"{name}.conv_branch2a.weight"] = (middle, into, 3, 3)
            norm(f"{name}.bn_branch2b1", middle)
            shapes[f"{name}.conv_branch2b1.weight"] = (out, middle, 3, 3)
            if name == stage:
                shapes[f"{name}.conv_branch1.weight"] = (out, into, 1, 1)
            into = out
    for name, into, out in (("b6", 1024, 2048), ("b7", 2048, 4096)):
        norm(f"{name}.bn_branch2a", into)
        shapes[f"{name}.conv_branch2a.weight"] = (out // 4, into, 1, 1)
        norm(f"{name}.bn_branch2b1", out // 4)
        shapes[f"{name}.conv_branch2b1.weight"] = (out // 2, out // 4, 3, 3)
        norm(f"{name}.bn_branch2b2", out // 2)
        shapes[f"{name}.conv_branch2b2.weight"] = (out, out // 2, 1, 1)
        shapes[f"{name}.conv_branch1.weight"] = (out, into, 1, 1)
    norm("bn7", 4096)
    return shapes


def test_wide_resnet_has_the_published_names_shapes_and_stride():
    with torch.device("meta"):
        network = Classifier("wide_resnet38d", 20, 8)
        maps = network(torch.empty(2, 3, 96, 64))
    own = {k: tuple(v.shape) for k, v in network.backbone.state_dict().items() if not k.endswith("batches_tracked")}
    assert own == published_layout()
    assert maps.shape == (2, 20, 12, 8) and network.backbone.num_features == 4096


def test_stages_of_wide_resnet():
    network, seen = WideResNet38(width=2), {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _, __, x, name=name: seen.update({name: tuple(x.shape[1:])}))
    network(torch.zeros(2, 3, 32, 48))
    expected = {"conv1a": (2, 32, 48), "b2": (4, 16, 24), "b3_2": (8, 8, 12), "b4_5": (16, 4, 6), "b5": (32, 4, 6)}
    assert {k: seen[k] for k in expected} == expected
    assert seen["b6"] == (64, 4, 6) and seen["b7"] == seen["bn7"] == (128, 4, 6)
    dilations = {n: m.dilation[0] for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert {n: d for n, d in dilations.items() if d > 1} == {
        "b5.conv_branch2b1": 2,
        **{f"b5_{n}.conv_branch2{part}": 2 for n in (1, 2) for part in ("a", "b1")},
        "b6.conv_branch2b1": 4,
        "b7.conv_branch2b1": 4,
    }


def test_wide_resnet_drops_channels_in_training_only():
    network = WideResNet38(width=2)
    assert (network.b6.dropout.p, network.b7.dropout.p) == (0.3, 0.5)
    image = torch.randn(2, 3, 32, 32)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_a_block_of_wide_resnet_against_a_plain_second_writing():
    network = WideResNet38(width=2).eval()
    x = torch.randn(1, 2, 8, 8)

    def norm(x):  # fresh running statistics: mean 0, variance 1
        return (x / (1 + 1e-5) ** 0.5).relu()

    def conv(x, module, **options):
        return torch.nn.functional.conv2d(x, module.weight, **options)

    b2 = network.b2
    inner = conv(norm(x), b2.conv_branch2a, stride=2, padding=1)
    expected = conv(norm(x), b2.conv_branch1, stride=2) + conv(norm(inner), b2.conv_branch2b1, padding=1)
    torch.testing.assert_close(b2(x), expected)
    again = network.b2_1
    inner = conv(norm(expected), again.conv_branch2a, padding=1)
    torch.testing.assert_close(again(expected), expected + conv(norm(inner), again.conv_branch2b1, padding=1))


def test_published_weights_of_wide_resnet_load(tmp_path, monkeypatch):
    """A file in the published layout, head of an earlier training included; narrow, because the real one has 105
    million weights."""
    monkeypatch.setattr("wsss.models.backbone.OWN", {"wide_resnet38d": (lambda: WideResNet38(width=1), 8)})
    narrow = {k: v for k, v in WideResNet38(width=1).state_dict().items() if not k.endswith("batches_tracked")}
    weights = {k: torch.rand_like(v) for k, v in narrow.items()}
    save_file({**weights, "fc8.weight": torch.zeros(20, 64, 1, 1)}, tmp_path / "a1.safetensors")
    settings = PuzzleSettings(
        backbone="wide_resnet38d", output_stride=8, pretrained=str(tmp_path / "a1.safetensors"), crop=64
    )
    network = build_classifier(settings, 3)
    assert all(torch.equal(network.backbone.state_dict()[k], v) for k, v in weights.items())
    save_file({k: v for k, v in weights.items() if k != "bn7.bias"}, tmp_path / "a1.safetensors")
    with pytest.raises(WsssError, match="absent: bn7.bias"):
        build_classifier(settings, 3)


def test_wide_resnet_says_what_it_does_not_offer():
    with pytest.raises(WsssError, match="its stride is 8 and cannot be changed to 16"):
        create_backbone("wide_resnet38d", 16, False)
    with pytest.raises(WsssError, match="no hub has its weights; give 'pretrained' a local file"):
        create_backbone("wide_resnet38d", 8, True)
    with pytest.raises(WsssError, match="did you mean .*wide_resnet38d"):
        create_backbone("wide_resnet38", 8, False)


# --- classifiers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone, stride", [("test_vit", 16), ("test_resnet", 8)])
def test_a_judge_is_what_it_was_trained_as(tmp_path, backbone, stride):
    network = Classifier(backbone, 2, stride).eval()
    about = {"backbone": backbone, "output_stride": stride, "classes": ["a", "b"]}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
    write_manifest(tmp_path, {})
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(load_judge(tmp_path, 2).eval()(x), network(x))
    assert torch.equal(load_classifier(tmp_path)[0].eval()(x), network(x))
    with pytest.raises(WsssError, match="knows 2 classes, the dataset has 3"):
        load_judge(tmp_path, 3)
