"""What counting refuses, where no other test does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.evaluate.counting import CoverageCounter, true_mask
from wsss.store.masks import MaskFolder

ITEM = Item("a", "train", Path("a.png"), None, 4, 5, (0,), True)
"""To be scored, without a mask."""


def test_an_image_whose_mask_is_gone() -> None:
    with pytest.raises(
        (WsssError, ValueError), match="it is to be scored and has no ground-truth mask; build the index again"
    ):
        true_mask(ITEM)


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    masks = MaskFolder(tmp_path)
    masks.write("a", np.zeros((5, 4), np.uint8))
    counter = CoverageCounter(masks, None, 1)
    with pytest.raises((WsssError, ValueError), match=re.escape("it is 4 x 5 pixels, what is to be scored (5, 4)")):
        counter.add(counter.start(), ITEM)
