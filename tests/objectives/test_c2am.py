"""C2AM and C2AM-H: values by hand, slow twins, ranks, empty sets, gradient routes, several devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.engine.process_group import together
from wsss.data.loading import Batch
from wsss.losses.base import TrainingStep
from wsss.models.disentangler import Disentangled
from wsss.objectives import c2am, c2am_h, find
from wsss.objectives.saliency import saliency_loss
from wsss.refine.thresholds import otsu_of_each
from wsss.settings import C2amHSettings, C2amSettings, SaliencyNetSettings

TINY = {"backbone": "test_resnet", "pretrained": False, "crop": 64, "long_side": (64, 64), "batch_size": 4}


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.dist(a, [0] * len(a)) / math.dist(b, [0] * len(b))


def clamped(s):
    return min(max(s, 0.0005), 0.9995)


def slow_sim_min(background, foreground):
    pairs = [(b, f) for b in background.tolist() for f in foreground.tolist()]
    return sum(-math.log(1 - clamped(cosine(b, f))) for b, f in pairs) / len(pairs)


def slow_sim_max(vectors, alpha):
    rows, total = vectors.tolist(), 0.0
    for i, a in enumerate(rows):
        others = sorted((j for j in range(len(rows)) if j != i), key=lambda j: -cosine(a, rows[j]))
        for rank, j in enumerate([i, *others]):
            total += math.exp(-alpha * (rank - 1)) * -math.log(clamped(cosine(a, rows[j])))
    return total / len(rows) ** 2


def test_by_hand():
    """Two images: cosines 0.6 between them, 1 with themselves."""
    v = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    own, other = -math.log(0.9995), -math.log(0.6)
    expected = (2 * math.exp(0.25) * own + 2 * 1.0 * other) / 4
    assert c2am.sim_max(v, 0.25).item() == pytest.approx(expected, rel=1e-5)
    b = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    # cosines with v: 0, 0.8 and 1, 0.6
    expected = -sum(math.log(1 - s) for s in (0.0005, 0.8, 0.9995, 0.6)) / 4
    assert c2am.sim_min(b, v).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 2.0])
def test_against_loops(alpha):
    torch.manual_seed(0)
    f, b = torch.rand(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    assert c2am.sim_min(b, f).item() == pytest.approx(slow_sim_min(b, f), rel=1e-4)
    for v in (f, b):
        assert c2am.sim_max(v, alpha).item() == pytest.approx(slow_sim_max(v, alpha), rel=1e-4)


def test_ranks_begin_with_the_image_itself_and_carry_no_gradient():
    twins = torch.ones(3, 2)  # all alike: the image itself still comes first
    weights = c2am.rank_weights(c2am.cosines(twins, twins), 1.0)
    torch.testing.assert_close(weights.diagonal(), torch.full((3,), math.e))
    for row in weights:
        torch.testing.assert_close(row.sort(descending=True).values, torch.exp(torch.tensor([1.0, 0.0, -1.0])))
    similarities = torch.tensor([[1.0, 0.2, 0.7], [0.2, 1.0, 0.5], [0.7, 0.5, 1.0]], requires_grad=True)
    weights = c2am.rank_weights(similarities, 1.0)
    assert not weights.requires_grad
    torch.testing.assert_close(weights[0], torch.exp(torch.tensor([1.0, -1.0, 0.0])))


def test_gradients_pull_positives_together_and_push_negatives_apart():
    torch.manual_seed(0)
    v = torch.rand(4, 6, requires_grad=True)
    c2am.sim_max(v, 0.25).backward()
    closer = v.detach() - 0.1 * v.grad
    assert c2am.cosines(closer, closer).mean() > c2am.cosines(v, v).mean()
    b, f = torch.rand(4, 6, requires_grad=True), torch.rand(4, 6)
    c2am.sim_min(b, f).backward()
    assert c2am.cosines(b.detach() - 0.1 * b.grad, f).mean() < c2am.cosines(b, f).mean()


def hint_twin(logits, hinted, a):
    found = [(z, 1 - a / 2) for z, h in zip(logits.flatten().tolist(), hinted.flatten().tolist(), strict=True) if h]
    return sum(-t * math.log(1 / (1 + math.exp(-z))) - (1 - t) * math.log(1 / (1 + math.exp(z))) for z, t in found) / (
        len(found) or 1
    )


def test_hint_loss():
    """The mean over the hinted cells of both images together; 0 for the empty set (specification, section 22)."""
    logits = torch.tensor([[[[0.0, 2.0], [5.0, -1.0]]], [[[1.0, -3.0], [0.5, 0.0]]]], requires_grad=True)
    where = torch.tensor([[[[1, 1], [0, 0]]], [[[0, 1], [0, 0]]]], dtype=torch.bool)
    one = c2am_h.hint_loss(logits, where, 0.0)
    assert one.item() == pytest.approx((math.log(2) + math.log1p(math.exp(-2)) + math.log1p(math.exp(3))) / 3)
    assert c2am_h.hint_loss(logits, where, 0.1).item() == pytest.approx(hint_twin(logits, where, 0.1), rel=1e-5)
    one.backward()
    assert ((logits.grad != 0) == where).all() and (logits.grad[where] < 0).all()
    empty = c2am_h.hint_loss(logits, torch.zeros_like(where), 0.1)
    assert empty.item() == 0.0
    empty.backward()
    assert torch.isfinite(logits.grad).all()


def test_the_hinted_set():
    strengths = torch.zeros(1, 64, 64, dtype=torch.long)
    strengths[:, :32, :32] = round(0.5 * 254)
    strengths[:, 48:] = 255  # outside the image
    strengths[:, 32:48, 32:] = round(0.3 * 254)
    expected = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    expected[..., :2, :2] = True
    assert torch.equal(c2am_h.hinted(strengths, (4, 4), 0.4), expected)
    expected[..., 2, 2:] = True
    assert torch.equal(c2am_h.hinted(strengths, (4, 4), 0.29), expected)
    assert not c2am_h.hinted(strengths, (4, 4), 0.6).any()


def batch(masks=None):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 64, 64, generator=generator)
    return Batch(images, torch.ones(4, 2), torch.zeros(4), masks)


def test_parts_add_up_and_all_parameters_learn():
    torch.manual_seed(0)
    goal = find("c2am")(C2amSettings(**TINY))
    (loss,) = goal.losses(batch(), TrainingStep(0, 0.0))
    assert loss.network == goal.product == "disentangler" and torch.isfinite(loss.value)
    parts = loss.parts
    assert parts["loss"] == pytest.approx(parts["foreground"] + parts["negative"] + parts["background"])
    loss.value.backward()
    assert all(p.grad is not None for p in goal.networks["disentangler"].parameters())


def slow_strength(values, otsu):
    """One pixel: its values in the maps, and the thresholds of these maps."""
    bent = [126 * v / t if v <= t else 127 + 127 * (v - t) / (1 - t) for v, t in zip(values, otsu, strict=True)]
    return max(bent, default=0)


@pytest.mark.parametrize("seed", range(4))
def test_strengths_by_otsu_are_those_of_each_pixel(seed):
    rng = np.random.default_rng(seed)
    maps = rng.beta(1, 3, (1 + seed, 9, 11)).astype(np.float32)
    maps[0, :2] = np.float32(0.25)  # values at a border of a bin
    limits = otsu_of_each(maps)
    found = c2am_h.strengths(maps, "otsu")
    assert found.dtype == np.uint8 and found.shape == (9, 11)
    for y, x in np.ndindex(9, 11):
        assert abs(int(found[y, x]) - slow_strength(maps[:, y, x].tolist(), limits.tolist())) <= 0.5 + 1e-4
    exceeds = (maps > limits[:, None, None]).any(axis=0)
    assert exceeds.any() and not exceeds.all()
    sure = c2am_h.hinted(torch.from_numpy(found.astype(np.int64))[None], (9, 11), c2am_h.MIDDLE)
    np.testing.assert_array_equal(sure[0, 0].numpy(), exceeds)  # its own size: nothing is resized


def test_strengths_do_not_depend_on_otsu_where_a_number_is_set():
    maps = np.float32([[[-0.1, 0.25, 0.5]], [[0.1, 0.3, 1.5]]])
    assert c2am_h.strengths(maps, 0.4).tolist() == c2am_h.strengths(maps, 0.9).tolist() == [[25, 76, 254]]


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_map_that_cannot_be_parted_hints_at_nothing(value):
    flat = c2am_h.strengths(np.full((1, 4, 5), value, np.float32), "otsu")
    assert flat.max() <= 126
    assert not c2am_h.hinted(torch.from_numpy(flat.astype(np.int64))[None], (2, 2), c2am_h.MIDDLE).any()
    assert not c2am_h.strengths(np.zeros((0, 4, 5), np.float32), "otsu").any()


def test_a_weak_map_hints_by_otsu_and_not_by_a_constant():
    weak = np.zeros((1, 64, 64), np.float32)
    weak[:, :32, :32] = 0.2  # far from 0.4, and all there is
    expected = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    expected[..., :2, :2] = True
    fixed, otsu = (torch.from_numpy(c2am_h.strengths(weak, t).astype(np.int64))[None] for t in (0.4, "otsu"))
    assert not c2am_h.hinted(fixed, (4, 4), 0.4).any()
    assert torch.equal(c2am_h.hinted(otsu, (4, 4), c2am_h.MIDDLE), expected)
    torch.manual_seed(0)
    goal = find("c2am-h")(C2amHSettings(**TINY, hints="x", hint_threshold="otsu", label_smoothing=0.0))
    logits = goal.networks["disentangler"].train()(batch().images).logits
    corner = torch.nn.functional.softplus(-logits[:, :, :2, :2]).mean().item()
    assert logits.shape[-2:] == (4, 4)
    (loss,) = goal.losses(batch(otsu[0].expand(4, 64, 64)), TrainingStep(0, 0.0))
    assert loss.parts["hints"].item() == pytest.approx(corner, rel=1e-3)


def test_hints_by_otsu_change_no_identity_of_hints_by_a_number():
    plain = C2amHSettings(hints="x").counted()
    assert plain == {**C2amHSettings(hints="x", hint_threshold="otsu").counted(), "hint_threshold": 0.4}
    with pytest.raises(ValidationError, match="hint_threshold"):
        C2amHSettings.read({"objective": "c2am-h", "hints": "x", "hint_threshold": "ostu"})


def test_hints_are_added_to_c2am():
    masks = torch.zeros(4, 64, 64, dtype=torch.long)
    masks[:2] = 254
    values = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        goal = find("c2am-h")(C2amHSettings(**TINY, hints="x", hint_weight=weight, label_smoothing=0.0))
        (loss,) = goal.losses(batch(masks), TrainingStep(0, 0.0))
        values[weight] = loss
    torch.manual_seed(0)
    (plain,) = find("c2am")(C2amSettings(**TINY)).losses(batch(), TrainingStep(0, 0.0))
    assert values[0.0].value.item() == pytest.approx(plain.value.item(), rel=1e-6)
    torch.manual_seed(0)
    logits = goal.networks["disentangler"].train()(batch().images).logits
    expected = torch.nn.functional.softplus(-logits[:2]).mean()
    assert values[2.0].parts["hints"].item() == pytest.approx(2 * expected.item(), rel=1e-3)
    assert (values[2.0].value - values[0.0].value).item() == pytest.approx(2 * expected.item(), rel=1e-3)
    (none,) = goal.losses(batch(torch.full((4, 64, 64), 255)), TrainingStep(0, 0.0))
    assert none.parts["hints"] == 0 and torch.isfinite(none.value)


def test_the_threshold_of_hints_is_set():
    masks = torch.zeros(4, 64, 64, dtype=torch.long)
    masks[:2], masks[2:] = round(0.8 * 254), round(0.5 * 254)
    found = {}
    for threshold in (0.4, 0.6, 0.9):
        torch.manual_seed(0)
        goal = find("c2am-h")(C2amHSettings(**TINY, hints="x", hint_threshold=threshold, label_smoothing=0.0))
        (loss,) = goal.losses(batch(masks), TrainingStep(0, 0.0))
        found[threshold] = loss.parts["hints"].item()
    torch.manual_seed(0)
    each = torch.nn.functional.softplus(-goal.networks["disentangler"].train()(batch().images).logits)
    assert found[0.4] == pytest.approx(each.mean().item(), rel=1e-3)
    assert found[0.6] == pytest.approx(each[:2].mean().item(), rel=1e-3)
    assert found[0.9] == 0 and abs(found[0.4] - found[0.6]) > 1e-3


def test_saliency_loss_by_hand():
    logits = torch.tensor([[[[0.0, 2.0, -9.0]]]], requires_grad=True)
    masks = torch.tensor([[[1, 0, 255]]])
    loss = saliency_loss(logits, masks, 0.0)
    assert loss.item() == pytest.approx((math.log(2) + math.log1p(math.exp(2))) / 2)
    smoothed = saliency_loss(logits, masks, 0.2)
    expected = (math.log(2) + 0.9 * math.log1p(math.exp(2)) + 0.1 * math.log1p(math.exp(-2))) / 2
    assert smoothed.item() == pytest.approx(expected)
    loss.backward()
    assert logits.grad[0, 0, 0, 2] == 0
    assert saliency_loss(logits, torch.full((1, 1, 3), 255), 0.0).item() == 0.0


def test_the_network_of_masks_gets_its_gradient():
    settings = SaliencyNetSettings(**TINY, saliency="x")
    goal = find("saliency")(settings)
    masks = torch.zeros(4, 64, 64, dtype=torch.long)
    masks[..., 20:40, 20:40] = 1
    (loss,) = goal.losses(batch(masks), TrainingStep(0, 0.0))
    assert loss.network == goal.product and 0.5 < loss.value < 1.0
    loss.value.backward()
    assert goal.networks["saliency"].score.weight.grad.abs().sum() > 0


def _device(rank, f, b, logits, hinted):
    half = slice(2 * rank, 2 * rank + 2)
    mine = [t[half].clone().requires_grad_() for t in (f, b, logits)]
    loss = sum(c2am.contrast(Disentangled(mine[0], mine[1], mine[2]), 0.25).values())
    loss = loss + c2am_h.hint_loss(mine[2], hinted[half], 0.1)
    loss.backward()
    return [t.grad.tolist() for t in mine]


def test_two_devices_contrast_the_whole_batch():
    """The mean over devices of the gradients is the gradient of one device with all images."""
    torch.manual_seed(2)
    f, b, logits = torch.rand(4, 6), torch.rand(4, 6), torch.randn(4, 1, 2, 2)
    hinted = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    hinted[0], hinted[3, 0, 0, 0] = True, True
    whole = [t.clone().requires_grad_() for t in (f, b, logits)]
    contrast = sum(c2am.contrast(Disentangled(*whole), 0.25).values())
    (contrast + c2am_h.hint_loss(whole[2], hinted, 0.1)).backward()
    halves = together(2, _device, f, b, logits, hinted)
    for k, one in enumerate(whole):
        # each device's own rows, over two devices
        joined = torch.cat([torch.tensor(half[k]) for half in halves]) / 2
        torch.testing.assert_close(joined, one.grad, atol=1e-5, rtol=1e-4)
