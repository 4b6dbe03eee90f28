"""What is computed in another way under ``torch.use_deterministic_algorithms`` gives the same but for rounding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from wsss.data.transforms import IGNORE
from wsss.losses.segmentation import pixel_cross_entropy
from wsss.models.pooling import average_pool


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 7), (4, 3)])
def test_average_pooling_is_that_of_torch(size: tuple[int, int], deterministic: None) -> None:
    """Windows that overlap, and ones that do not."""
    x, y = (torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2))
    found, expected = average_pool(x, size), F.adaptive_avg_pool2d(y, size)
    torch.testing.assert_close(found, expected)
    for each in (found, expected):
        each.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_cross_entropy_of_pixels_in_a_row_is_that_of_pictures(reduction: str, deterministic: None) -> None:
    rng = torch.Generator().manual_seed(0)
    scores, masks = torch.randn(2, 4, 5, 6, generator=rng), torch.randint(0, 4, (2, 5, 6), generator=rng)
    masks[0, :2] = IGNORE
    found = pixel_cross_entropy(scores, masks, reduction, label_smoothing=0.1)
    expected = F.cross_entropy(scores, masks, ignore_index=IGNORE, label_smoothing=0.1, reduction=reduction)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)
