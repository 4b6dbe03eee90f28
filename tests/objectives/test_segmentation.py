"""The cross entropy that takes hard pixels for wrong labels, against its slow twin."""

from __future__ import annotations

import math

import pytest
import torch

from wsss.data.transforms import normalise
from wsss.losses.segmentation import on_canvas, segmentation_loss


def slow(scores, masks, a, cap):
    """The loss and how many pixels are capped, pixel by pixel."""
    logs = scores.double().log_softmax(dim=1)
    plain, each = [], []
    for i, y, x in torch.cartesian_prod(*map(torch.arange, masks.shape)).tolist():
        target = masks[i, y, x].item()
        if target != 255:
            plain.append(-logs[i, target, y, x].item())
            each.append((1 - a) * plain[-1] - a * logs[i, :, y, x].mean().item())
    easy = sum(plain) / len(plain) < cap
    capped = [easy and one > cap for one in plain]
    return sum(cap if far else one for far, one in zip(capped, each, strict=True)) / len(each), sum(capped)


@pytest.mark.parametrize(("factor", "cap", "some"), [(1.0, 0.9, False), (9.0, 1.7, True)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_pixels_are_capped_once_most_are_learnt(factor, cap, some, smoothing):
    torch.manual_seed(2)
    masks = torch.randint(0, 4, (3, 5, 6))
    known = torch.nn.functional.one_hot(masks, 4).permute(0, 3, 1, 2).float()
    scores = (factor * known + torch.randn(3, 4, 5, 6)).requires_grad_()
    masks[0, :2], masks[1, 0, 0], masks[2, 3] = 255, (masks[1, 0, 0] + 1) % 4, (masks[2, 3] + 1) % 4
    loss = segmentation_loss(scores, masks, smoothing, cap=cap)
    expected, capped = slow(scores.detach(), masks, smoothing, cap)
    assert loss.item() == pytest.approx(expected, rel=1e-5) and (capped > 0) == some
    loss.backward()
    without = (scores.grad == 0).all(dim=1) & (masks != 255)
    assert without.sum() == capped
    torch.testing.assert_close(
        segmentation_loss(scores, masks, smoothing, cap=1e9), segmentation_loss(scores, masks, smoothing)
    )


def test_masks_that_leave_everything_out_cost_nothing():
    masks = torch.full((1, 2, 2), 255)
    assert segmentation_loss(torch.randn(1, 3, 2, 2), masks, 0.1, cap=0.5).item() == 0


def test_no_colour_of_a_pixel_is_taken_for_the_canvas():
    grey = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256).permute(1, 2, 0).numpy()
    image = torch.from_numpy(normalise(grey))[None]
    assert image.shape == (1, 3, 1, 256) and (image != 0).all()
    image[..., 7] = 0
    assert on_canvas(image).sum() == 1
    assert math.prod(on_canvas(image).shape) == 256
