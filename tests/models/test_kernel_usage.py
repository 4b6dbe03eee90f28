"""Kernel usage regularisation: the effective weights, and that maps and files mean them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from wsss.errors import WsssError
from wsss.explain import Classes, find, subject_of
from wsss.models.classifier import Classifier, build_classifier, load_classifier, load_judge
from wsss.models.folding import fold_batch_norm
from wsss.models.kernel_usage import KernelUsageHead
from wsss.settings import VanillaSettings
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights


def head(classes=4, channels=5, alpha=None, seed=0, bias=False) -> KernelUsageHead:
    torch.manual_seed(seed)
    made = KernelUsageHead(channels, classes, alpha, bias)
    torch.nn.init.normal_(made.weight)
    return made


def test_t_kur_1_equal_weights_and_alpha_of_c_act_unchanged():
    made = head()
    with torch.no_grad():
        made.weight[:] = torch.linspace(-2, 2, 5).view(1, 5, 1, 1)
    torch.testing.assert_close(made.effective_weight(), made.weight)
    made.alpha = 1.0
    torch.testing.assert_close(made.effective_weight(), made.weight / 4)


@pytest.mark.parametrize("alpha", [None, 1.0, 20.0])
def test_t_kur_2_shares_add_up_to_alpha(alpha):
    made = head(alpha=alpha)
    shares = made.effective_weight() / made.weight
    torch.testing.assert_close(shares.sum(0).flatten(), torch.full((5,), alpha or 4.0))
    by_hand = made.weight[:, 2, 0, 0] * (alpha or 4.0) * made.weight[:, 2, 0, 0].softmax(0)
    torch.testing.assert_close(made.effective_weight()[:, 2, 0, 0], by_hand)
    assert (shares > 0).all() and shares.std() > 0.1


def test_strong_negative_weights_hardly_act():
    made = head(classes=20, channels=401, alpha=20.0)
    with torch.no_grad():
        made.weight.zero_()
        made.weight[3, :, 0, 0] = torch.linspace(-4, 0, 401)
    weight = made.effective_weight()[3, :, 0, 0]
    assert weight.min().item() == pytest.approx(-0.38, abs=0.005)
    assert torch.linspace(-4, 0, 401)[weight.argmin()].item() == pytest.approx(-1.02, abs=0.015)


def test_forward_uses_them_and_leaves_the_bias():
    made, x = head(bias=True), torch.randn(2, 5, 3, 3)
    expected = torch.einsum("ck,bkhw->bchw", made.effective_weight()[:, :, 0, 0], x) + made.bias.view(-1, 1, 1)
    torch.testing.assert_close(made(x), expected)
    made(x).square().sum().backward()
    assert made.weight.grad.abs().max() > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert made.effective_weight().dtype == torch.float32 and made(x).dtype == torch.bfloat16
    with pytest.raises(WsssError, match="must be above 0"):
        head(alpha=-1.0)


def saved(folder, network, **about):
    folder.mkdir(exist_ok=True)
    known = {"backbone": "test_resnet", "output_stride": 16, "classes": ["a", "b", "c"], **about}
    save_weights(folder / "model.safetensors", network.state_dict(), known)
    write_manifest(folder, {})
    return folder


@pytest.mark.parametrize("alpha", [None, 20.0])
def test_t_kur_3_files_and_maps_mean_the_same_weights(tmp_path, alpha):
    torch.manual_seed(0)
    network, x = Classifier("test_resnet", 3, 16, head="kur", kur_alpha=alpha).eval(), torch.randn(2, 3, 64, 64)
    folder = saved(tmp_path / "kur", network, head="kur", kur_alpha=alpha or 3.0)
    again, _ = load_classifier(folder)
    assert torch.equal(again.eval()(x), network(x)) and torch.equal(load_judge(folder, 3).eval()(x), network(x))
    ordinary = Classifier("test_resnet", 3, 16).eval()
    ordinary.load_state_dict(network.state_dict())
    assert not torch.allclose(ordinary(x), network(x), rtol=0.05)
    target = Classes("pred", only=range(3))
    for found in (network, again):
        maps = find("cam")()(subject_of(found), x, target).maps
        torch.testing.assert_close(maps, network(x).detach().flatten(0, 1), atol=1e-5, rtol=1e-4)
    contrasted, grad = (find(name)()(subject_of(again), x, target).maps for name in ("minmax-cam", "minmax-grad-cam"))
    torch.testing.assert_close(contrasted, grad, atol=1e-4, rtol=1e-3)
    scores = network(x).detach()
    fold_batch_norm(again, torch.zeros(1, 3, 64, 64))
    torch.testing.assert_close(again(x).detach(), scores, atol=2e-4, rtol=1e-3)


def test_t_kur_4_mean_of_the_map_is_the_logit():
    torch.manual_seed(0)
    made = find("cam")()(
        subject_of(Classifier("test_resnet", 3, 16, head="kur")),
        torch.randn(2, 3, 64, 64),
        Classes("pred", only=range(3)),
    )
    torch.testing.assert_close(made.maps.mean((1, 2)), made.output.flatten(), atol=1e-5, rtol=1e-4)


def test_recipes_build_it_and_warm_starts_must_agree(tmp_path):
    small = {"backbone": "test_resnet", "pretrained": False}
    network = build_classifier(VanillaSettings(**small, head="kur"), 3)
    assert isinstance(network.head, KernelUsageHead) and network.head.alpha == 3
    assert build_classifier(VanillaSettings(**small, head="kur", kur_alpha=20.0), 3).head.alpha == 20
    assert type(build_classifier(VanillaSettings(**small), 3).head) is torch.nn.Conv2d
    folder = saved(tmp_path / "kur", network, head="kur", kur_alpha=3.0)
    warm = build_classifier(VanillaSettings(**small, head="kur"), 3, folder)
    assert torch.equal(warm.head.weight, network.head.weight)
    with pytest.raises(WsssError, match="for 'head: kur, kur_alpha: 3', this recipe has 'head: linear'"):
        build_classifier(VanillaSettings(**small), 3, folder)
    with pytest.raises(WsssError, match="this recipe has 'head: kur, kur_alpha: 20'"):
        build_classifier(VanillaSettings(**small, head="kur", kur_alpha=20.0), 3, folder)
    with pytest.raises(ValidationError, match="kur_alpha has no effect without head: kur"):
        VanillaSettings(kur_alpha=20.0)
