"""Deletion and insertion curves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.explain.nets import Affine, Pixels, images, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Regions, Subject, find
from wsss.explain.curves import curves, random_saliency
from wsss.explain.fills import blurred

THREE = Classes("pred", only=range(3))


def affine():
    subject, x = Subject(seeded(Affine)), images(2, 8)
    made = find("gradient-x-input")()(subject, x, THREE)
    return subject, x, made, made.maps.sum(1)


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
@pytest.mark.parametrize("fill", [None, "black", "noise"])
def test_t_da_1_ends_are_the_image_and_the_fill(mode, fill):
    subject, x, made, maps = affine()
    found = curves(subject, x, THREE, made, mode, maps=maps, fill=fill, ids=["a", "b"], score="logit", steps=7, chunk=3)
    whole = made.output.flatten()
    assert found.fractions[0] == 0 and found.fractions[-1] == 1 and found.scores.shape == (6, 8)
    occluded = find("occlusion")(
        window=8, stride=8, fill=fill or ("mean" if mode == "deletion" else "blur"), score="logit"
    )
    gone = whole - occluded(subject, x, THREE, ids=["a", "b"]).maps[:, 0, 0]
    first, last = (whole, gone) if mode == "deletion" else (gone, whole)
    torch.testing.assert_close(found.scores[:, 0], first, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.scores[:, -1], last, atol=1e-5, rtol=1e-4)
    assert found.kind == "logit"


class Constant(nn.Module):
    def forward(self, x):
        return torch.full((len(x), 3), 0.3) + 0 * x.sum()


def test_t_da_2_a_constant_score_has_its_own_area():
    _, x, made, maps = affine()
    found = curves(Subject(Constant()), x, THREE, made, maps=maps)
    assert found.auc.tolist() == pytest.approx([torch.tensor(0.3).sigmoid().item()] * 6) and found.kind == "probability"


@pytest.mark.parametrize("fill", ["mean", "blur"])
@pytest.mark.parametrize("steps", [8, 7])
def test_t_da_3_insertion_backwards_mirrors_deletion(fill, steps):
    subject, x, made, maps = affine()
    removed = curves(subject, x, THREE, made, "deletion", maps=maps, fill=fill, steps=steps)
    put = curves(subject, x, THREE, made, "insertion", maps=maps, fill=fill, steps=steps, reverse=True)
    torch.testing.assert_close(put.scores, removed.scores.flip(1))
    torch.testing.assert_close(put.fractions, 1 - removed.fractions.flip(0))
    assert removed.scores.std(1).min() > 1e-3


def test_deletion_of_a_linear_model_by_hand():
    subject, x, made, maps = affine()
    found = curves(subject, x, THREE, made, maps=maps, score="logit", steps=4)
    falls = maps.flatten(1).sort(descending=True).values.view(6, 4, 16).sum(2).cumsum(1)
    torch.testing.assert_close(found.scores, made.output.flatten()[:, None] - torch.cat([torch.zeros(6, 1), falls], 1),
                               atol=1e-5, rtol=1e-4)  # fmt: skip
    area = ((found.scores[:, :-1] + found.scores[:, 1:]) / 2).mean(1)
    torch.testing.assert_close(found.auc, area)
    best, worst = (curves(subject, x, THREE, made, maps=sign * maps, score="logit").auc for sign in (1, -1))
    assert (best < worst).all()


def test_equal_pixels_go_from_the_top_left():
    subject, x, made, _ = affine()
    flat = curves(subject, x, THREE, made, maps=torch.zeros(6, 8, 8), steps=8, score="logit")
    half = x.clone()
    half[:, :, :4] = 0
    torch.testing.assert_close(flat.scores[:, 4], subject.network(half).flatten().detach(), atol=1e-5, rtol=1e-4)


def test_regions_keep_their_pixels_and_use_the_metric():
    subject, x = Subject(seeded(Pixels, kernel=3, resize=True), "body"), images(2)
    made = find("seg-grad-cam")()(subject, x, Regions(range(3)))
    found = curves(subject, x, Regions(range(3)), made, steps=5)
    assert found.kind == "iou" and found.scores.shape == (6, 6)
    present = made.rows.masks.flatten(1).any(1)
    torch.testing.assert_close(found.scores[:, 0], present.float())
    mean = torch.stack([torch.zeros_like(x[0])] * 2)
    after = subject.network.eval()(mean).argmax(1)
    for row, (image, c) in enumerate(zip(made.image_idx, made.class_idx, strict=True)):
        one, two = made.rows.masks[row], after[image] == c
        expected = (one & two).sum() / (one | two).sum().clamp(min=1)
        assert found.scores[row, -1].item() == pytest.approx(expected.item(), abs=1e-6)
    inserted = curves(subject, x, Regions(range(3)), made, "insertion", steps=2, score="probability")
    row = int(present.nonzero()[-1])
    start = subject.network(blurred(x[made.image_idx[row]])[None]).softmax(1)[0, made.class_idx[row]]
    mask = made.rows.masks[row]
    assert inserted.scores[row, 0].item() == pytest.approx(start[mask].mean().item(), abs=1e-5)


def test_t_da_4_a_random_order_to_compare_with():
    subject, x, made, maps = affine()
    noise = random_saliency(subject, x, made.rows, ["a", "b"], seed=1)
    assert noise.shape == (6, 8, 8) and torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[3])
    assert torch.equal(noise[3], random_saliency(subject, x[1:], made.rows.of(1, 1), ["b"], seed=1)[0])
    random, best = (curves(subject, x, THREE, made, maps=m, score="logit").auc for m in (noise, maps))
    assert (best < random).all()


def test_curves_refuse_what_they_cannot_rank():
    subject, x, made, maps = affine()
    with pytest.raises(WsssError, match="see postprocess.reduce_channels"):
        curves(subject, x, THREE, made)
    with pytest.raises(WsssError, match="curve 'delete'"):
        curves(subject, x, THREE, made, "delete", maps=maps)
    with pytest.raises(WsssError, match="another fill than window_mean"):
        curves(subject, x, THREE, made, maps=maps, fill="window_mean")
