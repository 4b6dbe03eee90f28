"""Other libraries' answers, where they are installed; and their explainers behind our interface."""

from __future__ import annotations

import sys

import pytest
import torch
import torchvision
from torch import nn

from tests.explain.nets import Affine, Deep, Pixels, Pooled, images, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Regions, Scalars, Subject, find
from wsss.explain.postprocess import pgc

EVERY = Classes("pred", only=range(4))
CLOSE = {"atol": 1e-6, "rtol": 1e-4}


def deep() -> Subject:
    network = seeded(Deep)
    network.neck[0].inplace = False
    return Subject(network, "body")


# Scalars


def test_a_function_is_a_target():
    subject, x = deep(), images(3)
    functions = [lambda output, c=c: output[c] for c in (2, 0, 3)]
    made = find("grad-cam")()(subject, x, Scalars(functions))
    usual = find("grad-cam")()(subject, x, EVERY).maps.view(3, 4, 8, 8)
    torch.testing.assert_close(made.maps, usual[[0, 1, 2], [2, 0, 3]])
    one = find("ablation-cam")(normaliser="none")(subject, x, Scalars(lambda output: output[1] - output[0]))
    apart = find("ablation-cam")(normaliser="none")(subject, x, EVERY).maps.view(3, 4, 8, 8)
    torch.testing.assert_close(one.maps, apart[:, 1] - apart[:, 0], atol=1e-5, rtol=1e-4)
    with pytest.raises(WsssError, match="2 functions for 3 images"):
        find("grad-cam")()(subject, x, Scalars(functions[:2]))


# captum


def test_t_gc_2_captum_grad_cam():
    captum = pytest.importorskip("captum.attr")
    subject, x = deep(), images(3)
    network = subject.network.eval()
    made = find("grad-cam")()(subject, x, EVERY).maps.view(3, 4, 8, 8)
    for c in range(4):
        theirs = captum.LayerGradCam(network, network.body).attribute(x, target=c)[:, 0]
        torch.testing.assert_close(made[:, c], theirs.detach(), **CLOSE)


def test_captum_ablation_saliency_occlusion_and_noise():
    captum = pytest.importorskip("captum.attr")
    subject, x = deep(), images(2)
    network = subject.network.eval()
    layers = torch.arange(6).view(1, 6, 1, 1).expand(1, 6, 8, 8)
    a = network.body(x).detach()
    made = find("ablation-cam")(normaliser="none")(subject, x, EVERY).maps.view(2, 4, 8, 8)
    for c in range(4):
        drop = captum.LayerFeatureAblation(network, network.body).attribute(x, target=c, layer_mask=layers)[..., 0, 0]
        torch.testing.assert_close(made[:, c], torch.einsum("bk,bkhw->bhw", drop, a).detach(), atol=1e-5, rtol=1e-4)
    gradient = find("gradient")()(subject, x, EVERY).maps.view(2, 4, 3, 16, 16)
    theirs = captum.Saliency(network).attribute(x.clone(), target=1, abs=False)
    torch.testing.assert_close(gradient[:, 1], theirs, **CLOSE)
    noisy = captum.NoiseTunnel(captum.Saliency(network))
    quiet = find("smooth-grad")(sigma=0.0, n=3)(subject, x, EVERY).maps.view(2, 4, 3, 16, 16)
    theirs = noisy.attribute(x.clone(), nt_samples=3, stdevs=0.0, target=1, abs=False)
    torch.testing.assert_close(quiet[:, 1], theirs, **CLOSE)
    hidden = find("occlusion")(window=6, stride=4, score="logit")(subject, x, EVERY).maps.view(2, 4, 16, 16)
    theirs = captum.Occlusion(network).attribute(x, (3, 6, 6), strides=(3, 4, 4), target=2, perturbations_per_eval=8)
    torch.testing.assert_close(hidden[:, 2], theirs[:, 0].detach(), atol=1e-5, rtol=1e-4)


def test_explainers_of_captum_are_called_alike():
    pytest.importorskip("captum.attr")
    subject, x = deep(), images(2)
    made = find("external:captum:LayerGradCam")()(subject, x, EVERY)
    torch.testing.assert_close(made.maps, find("grad-cam")()(subject, x, EVERY).maps, **CLOSE)
    assert made.about["method"] == "external:captum:LayerGradCam" and not made.about["normalised"]
    integrated = find("external:captum:IntegratedGradients")(options_of_call={"n_steps": 8})
    linear, y = Subject(seeded(Affine)), images(2, 8)
    found = integrated(linear, y, Classes("pred", only=range(3)))
    exact = find("gradient-x-input")()(linear, y, Classes("pred", only=range(3)))
    torch.testing.assert_close(found.maps, exact.maps, atol=1e-5, rtol=1e-4)
    assert found.about["options"] == {"n_steps": 8}
    regions = find("external:captum:Saliency")(options_of_call={"abs": False})
    pixels = Subject(seeded(Pixels, kernel=3), "body")
    one, other = (m(pixels, x, Regions(range(3))) for m in (regions, find("gradient")()))
    torch.testing.assert_close(one.maps, other.maps, **CLOSE)
    assert len(find("external:captum:Saliency")()(subject, x, Classes("gt", torch.zeros(2, 4))).maps) == 0


# pytorch-grad-cam


@pytest.mark.parametrize("name, theirs", [("grad-cam", "GradCAM"), ("hires-cam", "HiResCAM")])
def test_t_gc_3_pytorch_grad_cam(name, theirs):
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    subject, x = deep(), images(3)
    made = pgc(find(name)()(subject, x, EVERY).maps, (16, 16)).view(3, 4, 16, 16)
    method = getattr(library, theirs)(subject.network.eval(), [subject.network.body])
    for c in range(4):
        shown = torch.from_numpy(method(input_tensor=x, targets=[ClassifierOutputTarget(c)] * 3))
        torch.testing.assert_close(made[:, c], shown, atol=1e-4, rtol=0)
        # their targets are ours
        ours = find(name)()(subject, x, Scalars([ClassifierOutputTarget(c)] * 3))
        torch.testing.assert_close(pgc(ours.maps, (16, 16)), shown, atol=1e-4, rtol=0)
    assert made.max() > 0.9


def test_t_seg_4_pytorch_grad_cam_on_regions():
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    subject, x = Subject(seeded(Pixels, kernel=3, resize=True), "body"), images(2)
    made = find("seg-grad-cam")()(subject, x, Regions(range(3)))
    shown = pgc(made.maps, (16, 16))
    method = library.GradCAM(subject.network.eval(), [subject.network.body])
    for row, (image, c) in enumerate(zip(made.image_idx.tolist(), made.class_idx.tolist(), strict=True)):
        target = SemanticSegmentationTarget(c, made.rows.masks[row].float().numpy())
        theirs = torch.from_numpy(method(input_tensor=x[image : image + 1], targets=[target]))[0]
        torch.testing.assert_close(shown[row], theirs, atol=1e-4, rtol=0)
    assert shown.max() > 0.9


# torchcam


@pytest.mark.parametrize(
    "name, theirs",
    [("grad-cam", "GradCAM"), ("external:pgc:LayerCAM", "LayerCAM"), ("external:pgc:XGradCAM", "XGradCAM")],
)
def test_torchcam(name, theirs):
    """Its explainers behind our interface, against ours and those of another library."""
    pytest.importorskip("torchcam")
    if name.startswith("external"):
        pytest.importorskip("pytorch_grad_cam")
    subject, x = deep(), images(3)
    before = {key: value.clone() for key, value in subject.network.state_dict().items()}
    made = find(f"external:torchcam:{theirs}")()(subject, x, EVERY)
    other = find(name)()(subject, x, EVERY)
    assert made.maps.shape == (12, 8, 8) and len(made.maps.unique()) > 12
    if name == "grad-cam":
        torch.testing.assert_close(made.maps, other.maps.relu(), **CLOSE)
    else:
        torch.testing.assert_close(pgc(made.maps, (16, 16)), other.maps, atol=1e-3, rtol=0)
    assert all(torch.equal(before[key], value) for key, value in subject.network.state_dict().items())
    assert not any(module._forward_hooks for module in subject.network.modules())


def test_score_cam_with_their_weights():
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    subject, x = Subject(seeded(Pooled, act=nn.Softplus()), "body"), images(1)

    class Probabilities(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = subject.network

        def forward(self, x):
            return self.network(x).sigmoid()

    made = find("score-cam")(weighting="softmax_over_channels")(subject, x, Classes("pred", only=[2]))
    method = library.ScoreCAM(Probabilities().eval(), [subject.network.body])
    theirs = torch.from_numpy(method(input_tensor=x, targets=[ClassifierOutputTarget(2)]))
    torch.testing.assert_close(pgc(made.maps, (16, 16)), theirs, atol=1e-3, rtol=0)


def test_explainers_of_pytorch_grad_cam_are_called_alike():
    pytest.importorskip("pytorch_grad_cam")
    subject, x = deep(), images(2)
    subject.network.requires_grad_(False)
    subject.network.fc.weight.grad = torch.ones_like(subject.network.fc.weight)
    made = find("external:pgc:GradCAM")()(subject, x, EVERY)
    usual = pgc(find("grad-cam")()(subject, x, EVERY).maps, (16, 16))
    torch.testing.assert_close(made.maps, usual, atol=1e-4, rtol=0)
    assert made.about["normalised"] and made.maps.min() >= 0
    assert torch.equal(subject.network.fc.weight.grad, torch.ones(4, 6))
    assert all(p.grad is None for p in subject.network.body.parameters())
    assert not any(m._forward_hooks for m in subject.network.modules())
    other = find("external:pgc:LayerCAM")()(subject, x, Classes("pred", only=[1]))
    assert other.maps.shape == (2, 16, 16) and other.maps.max() > 0.9


def test_their_failures_leave_no_trace():
    pytest.importorskip("pytorch_grad_cam")
    subject, x = deep(), images(1)
    body, before = subject.network.body, find("gradient")()(subject, x, EVERY).maps

    def refusing(output):
        raise RuntimeError("no")

    for name in ("AblationCAM", "GradCAM"):
        with pytest.raises(RuntimeError, match="no"):
            find(f"external:pgc:{name}")(options_of_call={"targets": [refusing]})(subject, x, EVERY)
        assert subject.network.body is body and not any(m._forward_hooks for m in subject.network.modules())
    assert torch.equal(find("gradient")()(subject, x, EVERY).maps, before)
    made = find("external:pgc:AblationCAM")()(subject, x, EVERY)
    assert subject.network.body is body and made.maps.shape == (4, 16, 16)


def test_absent_libraries_and_unknown_names(monkeypatch):
    with pytest.raises(WsssError, match="called external:captum:NAME or external:pgc:NAME"):
        find("external:lime:Lime")
    for module in [name for name in sys.modules if name.startswith("captum")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(WsssError, match=r"external:captum:Saliency needs captum: install wsss\[captum\]"):
        find("external:captum:Saliency")


def test_unknown_names_in_a_library():
    pytest.importorskip("captum.attr")
    with pytest.raises(WsssError, match="captum.attr has none of this name"):
        find("external:captum:Magic")


def test_torchvision_resnet_against_captum():
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    network, x = torchvision.models.resnet18(num_classes=4).eval(), images(2, 64)
    made = find("grad-cam")()(Subject(network, "layer3"), x, Classes("pred", only=[1]))
    theirs = captum.LayerGradCam(network, network.layer3).attribute(x, target=1)[:, 0].detach()
    torch.testing.assert_close(made.maps / theirs.abs().max(), theirs / theirs.abs().max(), atol=1e-5, rtol=1e-4)
