"""The puzzle: tiles, their maps, the reconstruction term."""

from __future__ import annotations

import pytest
import torch

from wsss.models.classifier import logits
from wsss.objectives.tiles import merge_tiles, reconstruction_loss, split_tiles


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
