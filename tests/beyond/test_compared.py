"""How alike two maps and two predictions are: cases by hand, and each figure against a plain second writing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from wsss.beyond.aims import aim_of, disagreement, divergence, far_corner
from wsss.beyond.compared import against, centre, cosine, spearman, top, top_kept, unit_maps
from wsss.beyond.perceived import psnr, ssim
from wsss.beyond.predicted import agreement, confidence, entropy, image_miou, region_iou

DESCENDING, ASCENDING = torch.tensor([[4.0, 3], [2, 1]]), torch.tensor([[1.0, 2], [3, 4]])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_top_and_ranks_by_hand():
    assert top_kept(DESCENDING, ASCENDING, count=2) == 0 and spearman(DESCENDING, ASCENDING) == pytest.approx(-1)
    assert top_kept(DESCENDING, torch.tensor([[4.0, 1], [3, 2]]), count=2) == 0.5
    assert top(torch.tensor([[1.0, 1], [1, 1]]), count=1).tolist() == [[True, False], [False, False]]
    assert spearman(torch.ones(4), torch.ones(4)) == 1 and spearman(torch.ones(4), torch.arange(4.0)) == 0


def test_ranks_against_scipy_with_many_ties():
    for seed in range(5):
        a, b = (drawn(40, seed=seed) * 5).round(), (drawn(40, seed=seed + 9) * 5).round()
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_unit_maps_are_unit_and_keep_zero():
    made = unit_maps(torch.stack([drawn(8, 8) - 0.5, torch.full((8, 8), -1.0)]), None, 4)
    assert made.shape == (2, 4, 4) and float(made[0].sum()) == pytest.approx(1) and not made[1].any()
    gradients = drawn(1, 3, 8, 8) - 0.5
    assert torch.allclose(unit_maps(gradients, "max_abs", 8)[0] * gradients.abs().sum(), gradients[0].abs().sum(0))
    summed = gradients[0].sum(0).relu()
    assert torch.allclose(unit_maps(gradients, "sum", 8)[0] * summed.sum(), summed, atol=1e-6)


def test_a_map_that_leaks_can_be_raised_where_it_is_cut_off():
    raw = torch.tensor([[[3.0, -1.0], [-2.0, 1.0]]], requires_grad=True)
    box = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    slopes = []
    for leak in (0.0, 0.1):
        made = unit_maps(raw, None, 2, leak)[0]
        assert float(made.relu().sum()) == pytest.approx(1)
        slopes.append(torch.autograd.grad(cosine(made, box), raw)[0])
    assert not slopes[0].any() and bool((slopes[1][0][box > 0] > 0).all())


def test_every_pixel_counts_on_a_coarser_grid():
    """A change of any one pixel moves the map: plain bilinear reduction would look at one in nine."""
    base = torch.ones(1, 12, 12)
    for y in range(4, 8):
        for x in range(4, 8):
            changed = base.clone()
            changed[0, y, x] = 20
            assert not torch.allclose(unit_maps(changed, None, 4), unit_maps(base, None, 4), atol=1e-4)


def test_cosine_centre_and_shift():
    assert float(cosine(torch.tensor([1.0, 0]), torch.tensor([3.0, 4]))) == pytest.approx(0.6)
    assert float(cosine(torch.zeros(2), torch.ones(2))) == 0
    assert centre(torch.tensor([[0.0, 0], [0, 2]])).tolist() == [1, 1] and centre(torch.zeros(3, 3)).tolist() == [1, 1]
    told = against(torch.tensor([[0.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [0, 0]]), None)
    assert told["shift"] == pytest.approx(0.5) and told["cosine_target"] is None and told["cosine_clean"] == 0


def test_targets():
    map = torch.zeros(10, 10)
    map[0, 9] = 1
    box = far_corner(map)
    assert box[7:, :3].all() and float(box.sum()) == 9
    inverted = aim_of("inverted", map).target
    assert inverted is not None and inverted[0, 9] == 0 and float(inverted.sum()) == pytest.approx(1)
    assert float(aim_of("top-k", map).distance(map)) == 1
    assert float(aim_of("centre", map).distance(box / 9)) < -0.5
    assert float(aim_of("uniform", map).distance(torch.ones(10, 10))) == pytest.approx(0, abs=1e-6)


def plain_divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_divergences_one_distribution_at_a_time():
    a, b = drawn(1, 3, 2, 2) * 4, drawn(1, 3, 2, 2, seed=1) * 4
    cells = [(y, x) for y in range(2) for x in range(2)]
    plain = [plain_divergence(a[0, :, y, x].softmax(0).tolist(), b[0, :, y, x].softmax(0).tolist()) for y, x in cells]
    assert float(divergence(a, b)) == pytest.approx(sum(plain) / 4, rel=1e-5)
    assert float(divergence(a, a)) == 0
    c, d = drawn(1, 4) * 4 - 2, drawn(1, 4, seed=1) * 4 - 2
    pairs = zip(c[0].sigmoid().tolist(), d[0].sigmoid().tolist(), strict=True)
    plain = [plain_divergence([p, 1 - p], [q, 1 - q]) for p, q in pairs]
    assert float(divergence(c, d)) == pytest.approx(sum(plain) / 4, rel=1e-4)
    assert float(disagreement(c, c)) < float(disagreement(c, -c))


def test_predictions():
    assert agreement(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 1, 0])) == 0.75
    assert region_iou(torch.tensor([[1, 1, 0]]), torch.tensor([[0, 1, 1]]), 0) == pytest.approx(1 / 3)
    assert region_iou(torch.tensor([True, True]), torch.tensor([True, False]), 0) == 0.5
    assert region_iou(torch.tensor([0]), torch.tensor([0]), 3) == 1
    assert image_miou(torch.tensor([[0, 1], [1, 1]]), np.array([[0, 1], [0, 255]], np.uint8), 2) == 0.5
    assert (
        entropy(torch.zeros(1, 4, 2, 2)) == pytest.approx(math.log(4)) and confidence(torch.zeros(1, 4, 2, 2)) == 0.25
    )
    assert entropy(torch.zeros(1, 3)) == pytest.approx(math.log(2)) and confidence(torch.zeros(1, 3)) == 0.5
    assert entropy(torch.full((1, 3), 1e4)) == 0


def plain_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """One window at a time."""
    at = np.arange(11) - 5
    line = np.exp(-(at**2) / (2 * 1.5**2))
    w = np.outer(line, line) / line.sum() ** 2
    found = []
    for c in range(a.shape[0]):
        for y in range(a.shape[1] - 10):
            for x in range(a.shape[2] - 10):
                p, q = (one[c, y : y + 11, x : x + 11] for one in (a, b))
                mp, mq = (w * p).sum(), (w * q).sum()
                vp, vq, both = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
                top, below = (2 * mp * mq + 1e-4) * (2 * both + 9e-4), (mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)
                found.append(top / below)
    return float(np.mean(found))


def test_what_can_be_seen():
    a, b = drawn(3, 14, 13), drawn(3, 14, 13, seed=1)
    assert ssim(a, b) == pytest.approx(plain_ssim(a.double().numpy(), b.double().numpy()), abs=1e-9)
    assert ssim(a, a) == pytest.approx(1) and ssim(a[:, :5, :3], a[:, :5, :3]) == pytest.approx(1)
    assert psnr(a, a) == math.inf and psnr(a * 0, a * 0 + 0.1) == pytest.approx(20, abs=1e-5)
