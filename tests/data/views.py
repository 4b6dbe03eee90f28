"""Training views as networks see them, written with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsss.data import transforms


def training_view(*given: Any, **options: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """``wsss.data.transforms.training_view``, its pixels as float32 (3, S, S), normalised, 0 where no image is."""
    pixels, labels, shares = transforms.training_view(*given, **options)
    assert pixels.dtype == np.uint8 and pixels.flags["C_CONTIGUOUS"] and set(np.unique(pixels[..., 3])) <= {0, 255}
    image = transforms.normalise(pixels[..., :3])
    image[:, pixels[..., 3] == 0] = 0
    return image, labels, shares
