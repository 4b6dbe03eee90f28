"""Explanations of segmentation networks: what a region is, and the identities of the specification."""

from __future__ import annotations

from dataclasses import replace

import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from tests.explain.nets import Pixels, images, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Regions, Subject, find, subject_of
from wsss.explain.postprocess import reduce_channels
from wsss.explain.regions import component
from wsss.models.segmenter import Segmenter

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def pixels(**options) -> Subject:
    """A 1x1 convolution after A, or another head, behind the body."""
    return Subject(seeded(Pixels, **options), "body")


def maps(name, subject, target, x=None, **options):
    return find(name)(**options)(subject, images(2) if x is None else x, target).maps


def boxes(*corners) -> torch.Tensor:
    """bool (B, 8, 8)."""
    made = torch.zeros(len(corners), 8, 8, dtype=torch.bool)
    for mask, (top, left, bottom, right) in zip(made, corners, strict=True):
        mask[top:bottom, left:right] = True
    return made


HERE = boxes((0, 0, 3, 4), (2, 2, 5, 5))
THERE = boxes((5, 1, 8, 5), (5, 5, 8, 8))
EVERY = range(3)


def given(masks) -> Regions:
    return Regions(EVERY, "given", masks)


# Regions


def scores() -> torch.Tensor:
    """Two parts of class 1 (4 and 1 pixels), class 2 elsewhere with little confidence, class 0 in one row."""
    labels = torch.full((4, 6), 2)
    labels[0:2, 0:2], labels[3, 5], labels[2] = 1, 1, 0
    y = 3.0 * F.one_hot(labels, 3).permute(2, 0, 1).float()
    y[:, 3, :5] *= 0.1
    return y[None]


def region(**options):
    rows = Regions(**options).rows(scores())
    return {int(c): m.int().tolist() for c, m in zip(rows.class_idx, rows.masks, strict=True)}, rows


def test_regions_of_the_prediction():
    found, rows = region()
    assert sorted(found) == [1, 2] and rows.image_idx.tolist() == [0, 0] and rows.present is None
    assert found[1] == [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 1]]
    assert sorted(region(background=True)[0]) == [0, 1, 2]
    sure, _ = region(where="confident")
    assert sure[1] == found[1] and sure[2][3] == [0] * 6 and sure[2][:3] == found[2][:3]
    assert region(where="largest")[0][1] == [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0] * 6, [0] * 6]
    assert region(where="smallest")[0][1] == [[0] * 6] * 3 + [[0, 0, 0, 0, 0, 1]]
    diagonal = torch.eye(4, dtype=torch.bool)
    assert torch.equal(component(diagonal, "largest"), diagonal)  # corners touch
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert torch.equal(component(nothing, "smallest"), nothing)


def test_regions_that_are_told():
    assert region(where="pixel", at=(1, 2), classes=[0])[0] == {0: [[0] * 6, [0, 0, 1, 0, 0, 0], [0] * 6, [0] * 6]}
    assert region(where="box", at=(0, 4, 2, 6), classes=[1])[0] == {1: [[0, 0, 0, 0, 1, 1]] * 2 + [[0] * 6] * 2}
    assert region(where="image", classes=[1])[0] == {1: [[1] * 6] * 4}
    truth = torch.tensor([[[1, 2, 255], [1, 1, 0]]])  # half the size: nearest
    found, rows = region(where="given", masks=truth, classes=[1])
    assert found[1] == [[1, 1, 0, 0, 0, 0]] * 2 + [[1, 1, 1, 1, 0, 0]] * 2
    assert rows.valid[0].int().tolist() == [[1, 1, 1, 1, 0, 0]] * 2 + [[1] * 6] * 2
    found, rows = region(where="given", masks=truth == 1, classes=[1, 2])
    assert found[1] == found[2] and rows.valid is None


def test_regions_refuse_what_makes_no_sense():
    for match, options in {
        "region 'nowhere': there are predicted": {"where": "nowhere"},
        "'given' needs masks": {"where": "given"},
        "'pixel' needs 'at' with 2": {"where": "pixel"},
        "'box' needs 'at' with 4": {"where": "box", "at": (1, 2)},
        r"pixel \(4, 0\) is outside": {"where": "pixel", "at": (4, 0)},
        "class 3 is asked for": {"classes": [3]},
        "masks are": {"where": "given", "masks": torch.zeros(2, 4, 6)},
    }.items():
        with pytest.raises(WsssError, match=match):
            region(**options)
    with pytest.raises(WsssError, match="ask for Regions"):
        maps("grad-cam", pixels(), Classes("pred"))
    with pytest.raises(WsssError, match="ask for Classes"):
        Regions().rows(torch.zeros(2, 3))


def test_scores_of_regions():
    y = scores()
    rows = Regions(classes=[1], where="given", masks=torch.tensor([[[1] * 6, [1] * 6, [0] * 6, [0] * 6]])).rows(y)
    target = Regions()
    assert target.score(y, rows).item() == pytest.approx(12)
    assert replace(target, reduction="mean").score(y, rows).item() == pytest.approx(1)
    assert target.score(y, rows, "iou").item() == pytest.approx(4 / 13)
    assert target.score(y, rows, "f1").item() == pytest.approx(8 / 17)
    p = y.softmax(1)[0, 1, :2].mean().item()
    assert target.score(y, rows, "probability").item() == pytest.approx(p)
    unknown = torch.full((1, 4, 6), 255)
    unknown[0, 0] = 1
    rows = Regions(classes=[1], where="given", masks=unknown).rows(y)
    assert target.score(y, rows, "iou").item() == pytest.approx(2 / 6)  # unknown pixels do not count
    with pytest.raises(WsssError, match="score 'loss': for regions"):
        target.score(y, rows, "loss")


# Gradients at a layer


def test_t_seg_1_seg_grad_cam_does_not_see_where_the_region_is():
    made = {}
    for name, masks in (("here", HERE), ("there", THERE)):
        made[name] = find("seg-grad-cam")()(pixels(), images(2), given(masks))
        of = made[name]
        bias = pixels().network.head.bias[of.class_idx].view(-1, 1, 1).detach()
        share = masks.sum((1, 2))[of.image_idx].view(-1, 1, 1) / 64
        torch.testing.assert_close(of.maps, share * (of.output[of.image_idx, of.class_idx] - bias), **CLOSE)
    assert HERE[0].sum() == THERE[0].sum()  # as many pixels in the first image
    torch.testing.assert_close(made["here"].of(0)[1], made["there"].of(0)[1], **CLOSE)


def test_t_seg_2_the_high_resolution_form_is_local():
    made = find("seg-hires-grad-cam")()(pixels(), images(2), given(HERE))
    outside = ~HERE[made.image_idx]
    assert made.maps[outside].abs().max() == 0 and made.maps[~outside].abs().max() > 0.01
    total = (made.output[made.image_idx, made.class_idx] * HERE[made.image_idx]).sum((1, 2))
    bias = pixels().network.head.bias[made.class_idx].detach() * HERE.sum((1, 2))[made.image_idx]
    torch.testing.assert_close(made.maps.sum((1, 2)), total - bias, **CLOSE)


@pytest.mark.parametrize("name", ["seg-grad-cam", "seg-hires-grad-cam", "gradient"])
def test_t_seg_3_disjoint_regions_add_up(name):
    subject = pixels(kernel=3)
    one, other, both = (maps(name, subject, given(m)) for m in (HERE, THERE, HERE | THERE))
    assert not (HERE & THERE).any() and one.abs().max() > 0 and not torch.allclose(one, other, atol=1e-3)
    torch.testing.assert_close(one + other, both, **CLOSE)


def test_weights_of_one_sign():
    subject, target = pixels(kernel=3), given(HERE)
    a = subject.network.eval().body(images(2)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad((subject.network.head(a)[:, 1] * HERE).sum(), a)
    weight = gradient.mean((2, 3))
    assert (weight < 0).any()
    for how, changed in {"signed": weight, "abs": weight.abs(), "relu": weight.relu()}.items():
        expected = torch.einsum("bk,bkhw->bhw", changed, a).detach()
        torch.testing.assert_close(maps("seg-grad-cam", subject, target, weights=how)[1::3], expected, **CLOSE)


# Ablation


def test_t_sa_1_closed_form():
    made = find("seg-ablation-cam")()(pixels(), images(2), given(HERE))
    network = pixels().network.eval()
    a, masks = network.body(images(2)).detach()[made.image_idx], HERE[made.image_idx]
    total = (made.output[made.image_idx, made.class_idx] * masks).sum((1, 2))
    own = network.head.weight[made.class_idx, :, 0, 0].detach()
    drops = own * (a * masks[:, None]).sum((2, 3))
    bias = network.head.bias[made.class_idx].detach() * masks.sum((1, 2))
    torch.testing.assert_close((drops / total[:, None]).sum(1), (total - bias) / total, **CLOSE)
    expected = torch.einsum("rk,rkhw->rhw", drops / total[:, None], a)
    torch.testing.assert_close(maps("seg-ablation-cam", pixels(), given(HERE), normaliser="score"), expected, **CLOSE)
    torch.testing.assert_close(made.maps, expected * total.sign()[:, None, None], **CLOSE)


def test_t_sa_2_only_the_foreground_counts_behind_a_pointwise_head():
    every, inside, outside = (
        maps("seg-ablation-cam", pixels(), given(HERE), part=part) for part in ("all", "inside", "outside")
    )
    assert every.abs().max() > 0.01 and outside.abs().max() < 1e-4
    torch.testing.assert_close(inside, every, **CLOSE)
    wide = [maps("seg-ablation-cam", pixels(kernel=3), given(HERE), part=part) for part in ("all", "inside", "outside")]
    assert wide[2].abs().max() > 0.01 and not torch.allclose(wide[0], wide[1], atol=1e-3)
    with pytest.raises(WsssError, match="part: inside is for regions"):
        from tests.explain.nets import pooled

        maps("seg-ablation-cam", pooled(), Classes("pred", only=[0]), part="inside")


def test_regions_of_one_image_share_the_passes_of_the_decoder():
    made = find("seg-ablation-cam")()(pixels(), images(1), given(HERE[:1]))
    alive = int((pixels().network.eval().body(images(1)) != 0).flatten(2).any(2).sum())
    assert made.about["cost"] == {"forwards": 1, "head_forwards": alive} and len(made.maps) == 3


# Pixels


def test_gradients_and_smoothing_of_regions():
    subject = pixels(kernel=3, resize=True)
    made = find("gradient")()(subject, images(2), Regions(EVERY))
    x = images(2).requires_grad_()
    y = subject.network.eval()(x)
    region = y.argmax(1)[1] == 2
    (expected,) = torch.autograd.grad((y[1, 2] * region).sum(), x)
    torch.testing.assert_close(made.of(1)[1][2], expected[1], **CLOSE)
    still = maps("smooth-grad", subject, Regions(EVERY), sigma=0.0, n=2)
    torch.testing.assert_close(still, made.maps, **CLOSE)
    # a region is not asked for again under noise
    loud = find("smooth-grad")(n=2, sigma=9.0)(subject, images(2), Regions())
    assert torch.equal(loud.rows.masks, find("gradient")()(subject, images(2), Regions()).rows.masks)
    assert reduce_channels(made.maps).shape == (6, 16, 16)


def test_occlusion_measures_the_metric_of_the_class():
    subject, x = pixels(kernel=3, resize=True), images(2)
    network = subject.network.eval()
    before, covered = network(x).argmax(1), x.clone()
    covered[..., :4, :4] = 0
    after = network(covered).argmax(1)
    truth = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    for reference, target in ((before, Regions(EVERY)), (truth, Regions(EVERY, "given", truth))):
        made = find("occlusion")(window=4, stride=4)(subject, x, target)
        assert made.about["score"] == "iou"
        for row, (image, c) in enumerate(zip(made.image_idx, made.class_idx, strict=True)):
            ref, one, two = (each[image] == c for each in (reference, before, after))
            drop = (one & ref).sum() / (one | ref).sum().clamp(min=1) - (two & ref).sum() / (two | ref).sum().clamp(
                min=1
            )
            torch.testing.assert_close(made.maps[row, :4, :4], drop.expand(4, 4), **CLOSE)
    assert made.maps.abs().max() > 0
    f1 = maps("occlusion", subject, Regions(EVERY), x, window=4, stride=4, score="f1")
    assert not torch.allclose(f1, maps("occlusion", subject, Regions(EVERY), x, window=4, stride=4))


@pytest.mark.parametrize("fill", ["black", "white", "mean", "blur", "noise"])
def test_occlusion_of_regions_with_every_fill(fill):
    subject, x = pixels(kernel=3, resize=True), images(2)
    made = maps("occlusion", subject, Regions(EVERY), x, window=8, stride=4, fill=fill, score="probability")
    others = [f for f in ("black", "white", "mean", "blur", "noise") if f != fill]
    assert made.shape == (6, 16, 16) and made.isfinite().all() and made.abs().max() > 0
    again = [
        maps("occlusion", subject, Regions(EVERY), x, window=8, stride=4, fill=f, score="probability") for f in others
    ]
    assert all(not torch.allclose(made, each, atol=1e-4) for each in again)


# Networks of libraries


SEGMENTERS = {
    "deeplabv3plus": lambda: subject_of(Segmenter("deeplabv3plus", "test_resnet", 3)),
    "unet": lambda: subject_of(Segmenter("unet", "test_resnet", 3)),
    "smp": lambda: Subject(smp.FPN("resnet18", encoder_weights=None, classes=3), "encoder.layer4"),
    "torchvision": lambda: Subject(
        seeded(torchvision.models.segmentation.lraspp_mobilenet_v3_large, weights_backbone=None, num_classes=3),
        "backbone.16",
    ),
}


@pytest.mark.parametrize("name", SEGMENTERS)
def test_networks_of_libraries(name):
    torch.manual_seed(0)
    subject, x = SEGMENTERS[name](), images(1, 64)
    before = {k: v.clone() for k, v in subject.network.state_dict().items()}
    target = Regions([0, 1], "box", at=(10, 10, 30, 30))
    made = {method: maps(method, subject, target, x) for method in ("seg-grad-cam", "seg-hires-grad-cam")}
    few = find("seg-ablation-cam")(chunk=64)(subject, x, target)
    made["seg-ablation-cam"] = few.maps
    assert all(each.shape == made["seg-grad-cam"].shape and each.isfinite().all() for each in made.values())
    assert made["seg-hires-grad-cam"].abs().max() > 0 and few.maps.abs().max() > 0
    assert all(torch.equal(v, before[k]) for k, v in subject.network.state_dict().items())


def test_a_bottleneck_in_a_list_of_features():
    torch.manual_seed(0)
    network, x = Segmenter("unet", "test_resnet", 3).eval(), images(1, 64)
    made = find("seg-hires-grad-cam")()(subject_of(network), x, Regions([1], "image"))
    features = [f.detach() for f in network.network.encoder(x)]
    features[-1].requires_grad_()
    total = network.network.segmentation_head(network.network.decoder(features))[:, 1].sum()
    (gradient,) = torch.autograd.grad(total, features[-1])
    torch.testing.assert_close(made.maps[0], (gradient * features[-1]).sum(1)[0].detach(), atol=1e-3, rtol=1e-3)
    assert isinstance(network.network.encoder, nn.Module) and made.maps.abs().max() > 0
