"""CAM and its kin, and gradients at a layer: the identities of the specification on random networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.explain.nets import Deep, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find

EVERY = Classes("pred", only=range(4))
LABELS = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]])
GT = Classes("gt", LABELS)
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def maps(name, subject=None, target=EVERY, x=None, **options):
    return find(name)(**options)(pooled() if subject is None else subject, images() if x is None else x, target).maps


def weighted(weights, subject, rows):
    """sum_k w_rk A_k for weights (R, K), by hand."""
    return torch.einsum("rk,rkhw->rhw", weights, subject.network.eval().body(images())[rows.image_idx]).detach()


def parts(subject):
    """W, b, pooled A (B, K), logits (B, C)."""
    network = subject.network.eval()
    with torch.no_grad():
        a = network.body(images())
        return network.fc.weight.detach(), network.fc.bias.detach(), a.mean((2, 3)), network(images())


def test_t_cam_1_mean_and_bias_make_the_logit():
    subject = pooled()
    made = find("cam")()(subject, images(), EVERY)
    score = made.output[made.image_idx, made.class_idx]
    torch.testing.assert_close(made.maps.mean((1, 2)) + subject.network.fc.bias[made.class_idx], score, **CLOSE)


def test_t_cam_2_linear_in_the_weights_and_in_the_features():
    subject = pooled()
    plain = maps("cam", subject)
    with torch.no_grad():
        subject.network.fc.weight.mul_(-3)
    torch.testing.assert_close(maps("cam", subject), -3 * plain, **CLOSE)
    for factor in (1.0, 2.5):  # A of the last convolution scales with its weights and bias
        scaled = pooled()
        with torch.no_grad():
            scaled.network.body[3].weight.mul_(factor)
            scaled.network.body[3].bias.mul_(factor)
        torch.testing.assert_close(maps("cam", scaled), factor * plain, **CLOSE)


def test_t_cam_3_and_t_gc_1_grad_cam_is_cam_up_to_the_grid():
    cam = maps("cam")
    torch.testing.assert_close(maps("grad-cam"), cam / 64, **CLOSE)
    torch.testing.assert_close(maps("grad-cam", reduction="sum"), cam, **CLOSE)
    torch.testing.assert_close(maps("hires-cam"), cam / 64, **CLOSE)


def test_hires_cam_is_complete_and_not_grad_cam_behind_another_head():
    made = find("hires-cam")()(pooled(), images(), EVERY)
    bias = pooled().network.fc.bias[made.class_idx]
    torch.testing.assert_close(made.maps.sum((1, 2)), made.output[made.image_idx, made.class_idx] - bias, **CLOSE)
    deep = Subject(seeded(Deep), "body")
    assert not torch.allclose(maps("hires-cam", deep), maps("grad-cam", deep), atol=1e-4)
    # by hand, in double precision, for one row
    network = seeded(Deep).eval().double()
    a = network.body(images().double()).detach().requires_grad_()
    score = network.fc(network.neck(a.clone()).mean((2, 3)))[1, 2]
    (gradient,) = torch.autograd.grad(score, a)
    torch.testing.assert_close(maps("hires-cam", deep)[6].double(), (gradient * a).sum(1)[1].detach(), **CLOSE)
    by_hand = (gradient.mean((2, 3), keepdim=True) * a).sum(1)[1].detach()
    torch.testing.assert_close(maps("grad-cam", deep)[6].double(), by_hand, **CLOSE)


def test_cam_refuses_heads_that_are_not_linear():
    with pytest.raises(WsssError, match="something is between them"):
        maps("cam", Subject(seeded(Deep), "body", "fc"))
    with pytest.raises(WsssError, match="give Subject a 'head'"):
        maps("cam", Subject(seeded(Deep), "body"))
    with pytest.raises(WsssError, match="takes 6 channels, layer body.0 has 8"):
        network = pooled().network
        network.body[0], network.body[1] = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 6, 1)
        maps("minmax-cam", Subject(network, "body.0", "fc"))


def test_t_gpp_1_closed_form():
    subject = pooled()
    weight, _, mean, _ = parts(subject)
    made = find("grad-cam-plus-plus")()(subject, images(), EVERY)
    own = weight[made.class_idx]
    expected = weighted(own.relu() / (2 + own * mean[made.image_idx]), subject, made.rows)
    torch.testing.assert_close(made.maps, expected, **CLOSE)


def test_grad_cam_plus_plus_keeps_small_gradients_and_can_normalise():
    subject = pooled()
    with torch.no_grad():
        subject.network.fc.weight.mul_(1e-6)  # gradients of 1e-8
    weight, _, mean, _ = parts(subject)
    made = find("grad-cam-plus-plus")()(subject, images(), EVERY)
    own = weight[made.class_idx]
    expected = weighted(own.relu() / (2 + own * mean[made.image_idx]), subject, made.rows)
    assert expected.abs().max() > 0
    torch.testing.assert_close(made.maps / expected.abs().max(), expected / expected.abs().max(), **CLOSE)
    # alpha sums to 1 over the cells with a positive gradient: here all cells of channels with W > 0
    normed = maps("grad-cam-plus-plus", pooled(), alpha_norm=True)
    own = parts(pooled())[0][made.class_idx]
    torch.testing.assert_close(normed, weighted(own.relu() / 64, pooled(), made.rows), **CLOSE)


MINMAX = ["minmax-cam", "minmax-grad-cam"]


@pytest.mark.parametrize("name", MINMAX)
def test_t_mm_1_one_present_class_is_cam(name):
    alone = Classes("gt", torch.eye(4)[:3])
    torch.testing.assert_close(maps(name, target=alone), maps("cam", target=alone), **CLOSE)


@pytest.mark.parametrize("name", MINMAX)
def test_t_mm_2_maps_of_the_present_classes_add_up_to_zero(name):
    made = find(name)()(pooled(), images(), GT)
    for image in (0, 2):
        assert made.of(image)[1].abs().max() > 0.01
        torch.testing.assert_close(made.of(image)[1].sum(0), torch.zeros(8, 8), **CLOSE)


@pytest.mark.parametrize("name", MINMAX)
def test_t_mm_3_two_present_classes_are_opposite(name):
    one, other = find(name)()(pooled(), images(), GT).of(2)[1]
    torch.testing.assert_close(one, -other, **CLOSE)
    assert not ((one > 1e-5) & (other > 1e-5)).any() and (one > 1e-5).any()


@pytest.mark.parametrize("name", MINMAX)
def test_t_mm_4_equal_rows_vanish(name):
    subject = pooled()
    with torch.no_grad():
        subject.network.fc.weight[:] = subject.network.fc.weight[0].clone()
    made = find(name)()(subject, images(), GT)
    assert made.of(0)[1].abs().max() < 1e-6 and made.maps.isfinite().all() and made.of(1)[1].abs().max() > 0.01


@pytest.mark.parametrize("name", [*MINMAX, "d-minmax-cam", "d-minmax-grad-cam"])
def test_t_mm_5_mixed_batches_equal_single_images(name):
    alone = [maps(name, target=Classes("gt", LABELS[i : i + 1]), x=images()[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(maps(name, target=GT), torch.cat(alone), **CLOSE)


def test_the_divisor_of_classes_that_are_not_present():
    target = replace(GT, only=[2])  # of image 0 not present: contrast over 3 classes
    weight, *_ = parts(pooled())
    made = find("minmax-cam")()(pooled(), images(), target)
    contrast = weight[[0, 1, 3]].sum(0)
    cell = [weighted((weight[2] - contrast / n)[None].expand(3, -1), pooled(), made.rows)[0] for n in (3, 2)]
    torch.testing.assert_close(made.maps[0], cell[0], **CLOSE)
    torch.testing.assert_close(maps("minmax-cam", target=target, reference_divisor=True)[0], cell[1], **CLOSE)
    torch.testing.assert_close(maps("minmax-grad-cam", target=target, reference_divisor=True)[0], cell[1], **CLOSE)


def test_weights_and_all_classes_of_the_contrast():
    weight, *_ = parts(pooled())
    made = find("minmax-cam")(l_pos=2.0, l_neg=0.5, all_classes=True)(pooled(), images(), GT)
    own = weight[made.class_idx]
    expected = weighted(2 * own - 0.5 * (weight.sum(0) - own) / 3, pooled(), made.rows)
    torch.testing.assert_close(made.maps, expected, **CLOSE)
    grad = maps("minmax-grad-cam", target=GT, l_pos=2.0, l_neg=0.5, all_classes=True)
    torch.testing.assert_close(grad, expected, **CLOSE)


def test_t_mmg_1_sum_over_the_grid_is_minmax_cam():
    torch.testing.assert_close(maps("minmax-grad-cam", target=GT), maps("minmax-cam", target=GT), **CLOSE)
    mean = maps("minmax-grad-cam", target=GT, reduction="mean")
    torch.testing.assert_close(mean, maps("minmax-cam", target=GT) / 64, **CLOSE)


@pytest.mark.parametrize("name", ["d-minmax-cam", "d-minmax-grad-cam"])
def test_t_dm_1_one_present_class_is_cam(name):
    alone = Classes("gt", torch.eye(4)[:3])
    torch.testing.assert_close(maps(name, target=alone), maps("cam", target=alone), **CLOSE)


def test_t_dm_2_weights_that_are_not_negative_give_minmax_cam():
    subject = pooled()
    assert not torch.allclose(maps("d-minmax-cam", target=GT), maps("minmax-cam", target=GT), atol=1e-3)
    with torch.no_grad():
        subject.network.fc.weight.abs_()
    torch.testing.assert_close(maps("d-minmax-cam", subject, GT), maps("minmax-cam", subject, GT), **CLOSE)


@pytest.mark.parametrize("options", [{}, {"all_classes": True}, {"l_pos": 2.0, "l_neg": 0.3, "l_bg": 0.7}])
@pytest.mark.parametrize("target", [GT, replace(GT, only=[2, 3]), EVERY])
def test_t_dm_3_gradient_form_is_cam_form(target, options):
    one, other = (maps(name, target=target, **options) for name in ("d-minmax-grad-cam", "d-minmax-cam"))
    torch.testing.assert_close(one, other, **CLOSE)


def test_t_dm_4_bounded_by_the_positive_weights():
    made = find("d-minmax-cam")()(pooled(), images(), GT)
    bound = weighted(parts(pooled())[0][made.class_idx].relu(), pooled(), made.rows)
    assert (made.maps <= bound + 1e-5).all() and (made.maps < bound - 0.01).any()


def test_d_minmax_by_hand():
    weight, *_ = parts(pooled())
    made = find("d-minmax-cam")(l_pos=1.0, l_neg=1.0, l_bg=1.0)(pooled(), images(), GT)
    w = weight[0].relu() - F.relu(weight[1] + weight[3]) / 2 + (weight[0] + weight[1] + weight[3]).clamp(max=0) / 3
    torch.testing.assert_close(made.maps[0], weighted(w[None], pooled(), made.rows.of(0, 1))[0], **CLOSE)


def test_contrast_needs_classes():
    from wsss.explain import Regions

    class Flat(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(WsssError, match="its target is Classes"):
        maps("minmax-grad-cam", Subject(nn.Sequential(nn.Conv2d(3, 3, 1), Flat()), "0"), Regions([1], "image"))
