"""Gradients of pixels, their average under noise, and FullGrad."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.explain.nets import Affine, Pooled, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find
from wsss.explain.methods.full_grad import FullGrad

EVERY = Classes("pred", only=range(4))
THREE = Classes("pred", only=range(3))
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def maps(name, subject, target=EVERY, x=None, seed=0, ids=None, **options):
    return find(name)(**options)(subject, images(2, 8) if x is None else x, target, seed=seed, ids=ids).maps


def test_t_g_1_linear_model():
    subject = Subject(seeded(Affine))
    made = maps("gradient", subject, THREE)
    assert made.shape == (6, 3, 8, 8)
    torch.testing.assert_close(made, subject.network.fc.weight.view(3, 3, 8, 8).repeat(2, 1, 1, 1).detach())


def test_t_g_2_homogeneous_networks_add_up_to_the_score():
    subject = Subject(seeded(Pooled, bias=False))
    made = find("gradient-x-input")()(subject, images(2, 8), EVERY)
    score = made.output[made.image_idx, made.class_idx]
    torch.testing.assert_close(made.maps.sum((1, 2, 3)), score, **CLOSE)
    assert score.abs().min() > 1e-4
    gradient = maps("gradient", subject)
    torch.testing.assert_close(made.maps, gradient * images(2, 8).repeat_interleave(4, 0))


def test_t_sg_1_no_noise_is_the_base():
    for name in ("gradient", "grad-cam", "full-grad"):
        made = maps("smooth-grad", pooled(), base=find(name)(), sigma=0.0, n=3)
        torch.testing.assert_close(made, maps(name, pooled()), **CLOSE)


def test_t_sg_2_linear_models_do_not_see_noise():
    subject = Subject(seeded(Affine))
    for sigma in (0.15, 3.0):
        made = maps("smooth-grad", subject, THREE, sigma=sigma, n=4)
        torch.testing.assert_close(made, maps("gradient", subject, THREE), **CLOSE)


def test_t_sg_3_same_seed_same_bits():
    one, other, third = (maps("smooth-grad", pooled(), n=4, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one, other) and not torch.allclose(one, third)


def test_t_sg_4_batches_and_chunks_change_nothing():
    ids = ["a", "b", "c"]
    whole = maps("smooth-grad", pooled(), x=images(3, 8), ids=ids, n=5)
    alone = [maps("smooth-grad", pooled(), x=images(3, 8)[i : i + 1], ids=ids[i : i + 1], n=5) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), whole, **CLOSE)
    for chunk in (2, 5, 9):
        made = maps("smooth-grad", pooled(), x=images(3, 8), ids=ids, n=5, chunk=chunk)
        torch.testing.assert_close(made, whole, **CLOSE)


class Recording(Pooled):
    """Keeps what it is asked about."""

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return super().forward(images)


def test_noise_is_a_share_of_the_images_range():
    network, x = seeded(Recording), images(2, 8)
    x[1] *= 10
    for options, expected in (({}, 0.15 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))), ({"relative": False}, [0.15] * 2)):
        network.seen = []
        made = find("smooth-grad")(n=50, **options)(Subject(network), x, EVERY)
        assert made.about["cost"] == {"forwards": 102, "backwards": 400}
        noise = torch.stack(network.seen[1:]) - x
        for image in range(2):
            assert noise[:, image].std().item() == pytest.approx(float(expected[image]), rel=0.05)
        assert abs(noise.mean()) < 0.1
    assert made.about["options"]["base"] == {"name": "gradient"}


def test_rows_are_those_of_the_image_without_noise():
    loud = find("smooth-grad")(n=3, sigma=50.0, relative=False)(pooled(), images(4, 8), Classes("pred"))
    quiet = find("gradient")()(pooled(), images(4, 8), Classes("pred"))
    assert torch.equal(loud.class_idx, quiet.class_idx) and torch.equal(loud.image_idx, quiet.image_idx)


def test_absolute_values_before_or_after():
    kinked = Subject(seeded(Pooled))
    after, before = (
        maps("smooth-grad", kinked, n=8, sigma=2.0, relative=False, abs_when=when) for when in ("after", "before")
    )
    assert (after < 0).any() and (before >= after.abs() - 1e-6).all() and (before > after.abs() + 1e-4).any()


def test_t_fg_1_complete_with_convolutions_normalisation_and_a_linear_layer():
    from wsss.explain.methods.full_grad import biased_layers

    network, x = seeded(Pooled).eval(), images(2, 8)
    found = []
    with biased_layers(network, found):
        leaf = x.clone().requires_grad_()
        score = network(leaf)[1, 2]
    gradient, *slopes = torch.autograd.grad(score, [leaf, *(z for z, _ in found)])
    terms = [(slope * bias)[1].sum() for slope, (_, bias) in zip(slopes, found, strict=True)]
    assert len(terms) == 4 and min(abs(term) for term in terms) > 1e-4
    total = (gradient * leaf).sum() + sum(terms)
    torch.testing.assert_close(total, score, **CLOSE)
    without_last = total - network.fc.bias[2]
    torch.testing.assert_close(without_last, score - network.fc.bias[2], **CLOSE)
    torch.testing.assert_close(terms[-1], network.fc.bias[2], **CLOSE)


def test_full_grad_by_hand():
    network, x = seeded(Pooled).eval(), images(1, 8)
    network.body[3].bias.data.zero_()

    def scaled(term):
        term = term.abs()
        return ((term - term.min()) / (term.max() - term.min() + 1e-6)).sum(0)

    z1 = network.body[0](x).detach().requires_grad_()
    gradient = maps("gradient", Subject(network), x=x)[1]
    z2 = network.body[1](z1).detach().requires_grad_()
    score = network.fc(network.body[3:](z2.clone().relu()).mean((2, 3)))[0, 1]
    (slope2,) = torch.autograd.grad(score, z2)
    slope1 = torch.autograd.grad((network.body[1](z1) * slope2).sum(), z1)[0]
    norm = network.body[1]
    shift = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    terms = [slope1[0] * network.body[0].bias[:, None, None], slope2[0] * shift[:, None, None]]
    expected = scaled(gradient * x[0]) + sum(enlarged(scaled(t)) for t in terms)
    torch.testing.assert_close(maps("full-grad", Subject(network), x=x)[1], expected.detach(), **CLOSE)


def enlarged(term: torch.Tensor, size: int = 8) -> torch.Tensor:
    """A map (h, h) at (size, size) as the authors resize: the centres of the corners' cells stay in the corners."""
    found = torch.empty(size, size)
    at = [n * (len(term) - 1) / (size - 1) for n in range(size)]
    for y, v in enumerate(at):
        for x, u in enumerate(at):
            top, left = min(int(v), len(term) - 2), min(int(u), len(term) - 2)
            a, b = v - top, u - left
            upper = (1 - b) * term[top, left] + b * term[top, left + 1]
            found[y, x] = (1 - a) * upper + a * ((1 - b) * term[top + 1, left] + b * term[top + 1, left + 1])
    return found


@pytest.mark.parametrize("act", [nn.ReLU6(inplace=True), nn.ReLU6(), nn.Hardtanh(-0.4, 0.7)])
def test_clipping_layers_add_constants(act):
    """Where such a layer is saturated its output is a constant, which is one more bias of the score."""
    network, x = seeded(Pooled, act=act).eval(), 9 * images(2, 8)
    with torch.no_grad():
        shown = network.body[:3](x)
    high, low = getattr(act, "max_val", 6.0), act.min_val
    assert 0.05 < float((shown >= high).float().mean()) < 0.95
    terms, seen = [], FullGrad._complete
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FullGrad, "_complete", lambda self, t, s: (terms.append((t, s)), seen(self, t, s)))
        made = maps("full-grad", Subject(network), Classes("pred", only=[1]), x)
    assert made.shape == (2, 8, 8)
    ((found, scores),) = terms
    total = sum(term.flatten(1).sum(1) for term in found)
    torch.testing.assert_close(total, scores, atol=1e-4, rtol=1e-4)
    leaf = shown.clone().requires_grad_()
    score = network.fc(network.body[3:](leaf.clone()).mean((2, 3)))[:, 1]
    (slope,) = torch.autograd.grad(score.sum(), leaf)
    constant = torch.where(shown >= high, high, torch.where(shown <= low, low, 0.0))
    assert any(torch.allclose(term, slope * constant, atol=1e-5) for term in found if term.shape == slope.shape)


def test_full_grad_of_a_photo_backbone():
    """MobileNetV2 has ReLU6 within its batch normalisations."""
    import timm

    network = seeded(timm.create_model, "mobilenetv2_035", num_classes=3)
    made = maps("full-grad", Subject(network), Classes("pred", only=[1]), 20 * images(1, 32))
    assert made.isfinite().all() and made.max() > 0


def test_full_grad_of_the_projects_classifier_and_refusals():
    from wsss.explain import subject_of
    from wsss.models.classifier import Classifier

    torch.manual_seed(0)
    made = maps("full-grad", subject_of(seeded(Classifier, "test_resnet", 3, 16)), THREE, images(1, 64))
    assert made.shape == (3, 64, 64) and made.min() >= 0 and made.max() > 0
    for act in (nn.GELU(), nn.SiLU(), nn.Sigmoid()):
        curved = Subject(seeded(Pooled, act=act))
        with pytest.raises(WsssError, match="do not add up"):
            maps("full-grad", curved)
    assert maps("full-grad", curved, check=False).isfinite().all()
