"""The puzzle: tiles, their maps, the reconstruction term, and the entropy of the maps."""

from __future__ import annotations

import math

import pytest
import torch

from wsss.losses.puzzle import merge_tiles, present_entropy, reconstruction_loss, split_tiles
from wsss.models.classifier import logits


def slow_split(images: torch.Tensor, tiles: int) -> torch.Tensor:
    side_h, side_w = images.shape[2] // tiles, images.shape[3] // tiles
    pieces = []
    for row in range(tiles):
        for column in range(tiles):
            for image in images:
                pieces.append(image[:, row * side_h : (row + 1) * side_h, column * side_w : (column + 1) * side_w])
    return torch.stack(pieces)


@pytest.mark.parametrize("tiles", [2, 3])
def test_split_is_piece_major(tiles):
    images = torch.randn(2, 3, 6, 12)
    assert torch.equal(split_tiles(images, tiles), slow_split(images, tiles))


@pytest.mark.parametrize("tiles", [2, 3])
def test_merge_of_an_identity_map_is_the_input(tiles):
    images = torch.randn(3, 4, 12, 6)
    assert torch.equal(merge_tiles(split_tiles(images, tiles), tiles), images)


def test_pooling_merged_maps_is_the_mean_of_the_tiles():
    maps = torch.randn(8, 5, 3, 3)
    means = logits(maps).reshape(4, 2, 5).mean(0)
    torch.testing.assert_close(logits(merge_tiles(maps, 2)), means)


def test_reconstruction_by_hand():
    whole = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]]], [[[5.0, 5.0]], [[1.0, 3.0]]]])  # B=2, C=2, 1x2
    merged = torch.zeros_like(whole)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # present maps: means of |1|,|2| and of |1|,|3| = 1.5 and 2
    assert reconstruction_loss(whole, merged, labels, "present").item() == pytest.approx((1.5 + 2) / 2)
    assert reconstruction_loss(whole, merged, labels, "all").item() == pytest.approx((1.5 + 2) / 4)


def test_reconstruction_against_loops_and_gradients_on_both_sides():
    whole = torch.randn(3, 4, 2, 5, requires_grad=True)
    merged = torch.randn(3, 4, 2, 5, requires_grad=True)
    labels = (torch.rand(3, 4) > 0.5).float()
    total, present = 0.0, 0
    for b in range(3):
        for c in range(4):
            if labels[b, c]:
                present += 1
                for u in range(2):
                    for v in range(5):
                        total += abs(whole[b, c, u, v].item() - merged[b, c, u, v].item())
    assert reconstruction_loss(whole, merged, labels, "all").item() == pytest.approx(total / (3 * 4 * 10), rel=1e-5)
    loss = reconstruction_loss(whole, merged, labels, "present")
    assert loss.item() == pytest.approx(total / 10 / present, rel=1e-5)
    loss.backward()
    assert torch.equal(whole.grad, -merged.grad) and whole.grad.abs().sum() > 0
    assert whole.grad[labels == 0].abs().sum() == 0


def test_reconstruction_without_present_classes_is_zero():
    maps = torch.randn(2, 3, 4, 4)
    for over in ("all", "present"):
        assert reconstruction_loss(maps, -maps, torch.zeros(2, 3), over).item() == 0


def test_normed_reconstruction_by_hand():
    whole = torch.tensor([[[[1.0, -3.0]], [[9.0, 9.0]]], [[[4.0, 0.0]], [[6.0, 2.0]]]])  # B=2, C=2, 1x2
    merged = torch.tensor([[[[1.0, -1.0]], [[0.0, 0.0]]], [[[2.0, 0.0]], [[6.0, 0.0]]]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    # differences of present maps: 1; 1 and 1; mean absolute values of each image's present maps: 2; (2 + 4) / 2 = 3
    for norm in ("scale", "relative"):
        present = reconstruction_loss(whole, merged, labels, "present", norm).item()
        assert present == pytest.approx((1 / 2 + 1 / 3 + 1 / 3) / 3, rel=1e-4)
        assert reconstruction_loss(whole, merged, labels, "all", norm).item() == pytest.approx(present * 3 / 4)


def test_shrinking_the_maps_lowers_only_the_published_loss():
    whole, merged = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    for norm, factor in (("none", 0.1), ("scale", 1.0), ("relative", 1.0)):
        full = reconstruction_loss(whole, merged, labels, "present", norm)
        shrunk = reconstruction_loss(0.1 * whole, 0.1 * merged, labels, "present", norm)
        assert shrunk.item() == pytest.approx(factor * full.item(), rel=1e-3)


def test_only_the_relative_loss_has_no_gradient_along_the_maps():
    """d loss / d s at s = 1 of the maps s A and s A_tiles: what the gradient says to shrinking both."""
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    slopes = {}
    for norm in ("none", "scale", "relative"):
        torch.manual_seed(0)
        whole, merged = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
        reconstruction_loss(whole, merged, labels, "present", norm).backward()
        slopes[norm] = ((whole * whole.grad).sum() + (merged * merged.grad).sum()).item()
        assert merged.grad.abs().sum() > 0
    assert slopes["none"] > 0.1 and slopes["scale"] > 0.1 and abs(slopes["relative"]) < 1e-4


def slow_entropy(maps, labels):
    total = 0.0
    for scores, row in zip(maps.tolist(), labels.tolist(), strict=True):
        present = [c for c, label in enumerate(row) if label]
        for u in range(len(scores[0])):
            for v in range(len(scores[0][0])):
                powers = [math.exp(scores[c][u][v]) for c in present]
                total -= sum(p / sum(powers) * math.log(p / sum(powers)) for p in powers)
    return total / (maps.shape[0] * maps.shape[2] * maps.shape[3])


def test_entropy_by_hand_against_loops_and_its_gradient():
    level = torch.zeros(1, 4, 2, 2)
    assert present_entropy(level, torch.tensor([[1.0, 1.0, 0.0, 1.0]])).item() == pytest.approx(math.log(3))
    assert present_entropy(level, torch.tensor([[0.0, 1.0, 0.0, 0.0]])).item() == 0
    assert present_entropy(level, torch.zeros(1, 4)).item() == 0
    maps = torch.randn(3, 4, 2, 5, requires_grad=True)
    labels = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]]).float()
    loss = present_entropy(maps, labels)
    assert loss.item() == pytest.approx(slow_entropy(maps.detach(), labels), rel=1e-5)
    loss.backward()
    assert maps.grad.isfinite().all() and maps.grad[labels == 0].abs().sum() == 0 and maps.grad.abs().sum() > 0
    certain = torch.tensor([200.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    present_entropy(certain, torch.ones(1, 2)).backward()
    assert certain.grad.isfinite().all()


def test_contrast_sees_through_shrinking_and_flattening():
    """Over the standard deviation of each map: the value does not move when both maps shrink, and grows as they flatten
    around their mean while their difference stays."""
    torch.manual_seed(0)
    whole, difference = torch.randn(2, 3, 4, 4), 0.1 * torch.randn(2, 3, 4, 4)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])

    def loss(a, b):
        return reconstruction_loss(a, b, labels, "present", "contrast").item()

    own = loss(whole, whole + difference)
    expected = [
        (difference[i, c].abs().mean() / (whole[i, c].std(correction=0) + 0.01 * whole[i, c].abs().mean())).item()
        for i, c in ((0, 0), (0, 2), (1, 1))
    ]
    assert own == pytest.approx(sum(expected) / 3, rel=1e-4)
    assert loss(0.01 * whole, 0.01 * (whole + difference)) == pytest.approx(own, rel=0.01)
    mean = whole.mean((2, 3), keepdim=True)
    flat = mean + 0.1 * (whole - mean)
    assert loss(flat, flat + difference) == pytest.approx(10 * own, rel=0.05)


def test_contrast_of_constant_maps_is_bounded():
    """By a hundred times the relative difference; without the floor it would be 10^5 times the difference."""
    labels = torch.ones(1, 2)
    for noise in (0.0, 1e-6):
        torch.manual_seed(0)
        whole = torch.tensor([3.0, -20.0]).reshape(1, 2, 1, 1) + noise * torch.randn(1, 2, 4, 4)
        merged = (1.1 * whole).requires_grad_()
        whole.requires_grad_()
        loss = reconstruction_loss(whole, merged, labels, "present", "contrast")
        assert loss.item() == pytest.approx(0.1 / 0.01, rel=0.01)
        loss.backward()
        for maps in (whole, merged):
            assert maps.grad.isfinite().all() and maps.grad.abs().max() < 100
