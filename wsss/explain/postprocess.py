"""From raw maps to maps that are looked at or cut at a threshold. Sources differ, so each way has its name.

All take maps (..., h, w) of any sign and give fp32; a map that is nowhere positive becomes all zero. Resizing is
bilinear, with ``align_corners=False`` unless it says otherwise. Order matters: a map that is resized after it was
normalised may stay below 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from wsss.errors import WsssError


def relu_minmax(maps: torch.Tensor) -> torch.Tensor:
    """ReLU, minus its minimum, over its maximum then (MinMax-CAM's metrics): in [0, 1].

    It differs from ``relu_max`` where the rectified map has no zero.
    """
    return _minmax(maps.float().relu())


def relu_max(maps: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """ReLU over (maximum + eps) (P-NOC's seeds): in [0, 1). The one to compare with a background threshold."""
    maps = maps.float().relu()
    return maps / (maps.amax((-2, -1), keepdim=True) + eps)


def pgc(maps: torch.Tensor | Sequence[torch.Tensor], size: Sequence[int], eps: float = 1e-7) -> torch.Tensor:
    """As pytorch-grad-cam shows maps: ReLU, minmax, resize, mean over layers, minmax again.

    Args:
        maps: Maps (R, h, w), or a list of those of several layers.
        size: (H, W) in pixels.
        eps: Is added to what is divided by.
    """
    layers = [maps] if isinstance(maps, torch.Tensor) else list(maps)
    mean = torch.stack([resize(_shifted(each.float().relu(), eps), size) for each in layers]).mean(0)
    return _shifted(mean.relu(), eps)


def sgc(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Seg-Grad-CAM's way: resize, ReLU, over the maximum."""
    maps = resize(maps, size).relu()
    return _over(maps, maps.amax((-2, -1), keepdim=True))


def abs_minmax(maps: torch.Tensor) -> torch.Tensor:
    """Absolute values, minus their minimum, over their maximum then: for saliency of pixels."""
    return _minmax(maps.float().abs())


def resize(maps: torch.Tensor, size: Sequence[int], align_corners: bool = False) -> torch.Tensor:
    """Maps (R, h, w) at (R, H, W)."""
    return F.interpolate(maps.float()[None], size=tuple(size), mode="bilinear", align_corners=align_corners)[0]


def strongest(maps: torch.Tensor, share: float) -> torch.Tensor:
    """Keep the ``share`` in (0, 1] of the pixels with the highest values, and make the others zero."""
    flat = maps.float().flatten(-2)
    kept = max(1, round(share * flat.shape[-1]))
    order = flat.argsort(dim=-1, descending=True, stable=True)
    keep = torch.zeros_like(flat).scatter(-1, order[..., :kept], 1.0)
    return (flat * keep).view(maps.shape)


CHANNELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "max_abs": lambda maps: maps.abs().amax(1),  # Simonyan et al. 2014
    "mean_abs": lambda maps: maps.abs().mean(1),
    "sum_abs": lambda maps: maps.abs().sum(1),
    "sum": lambda maps: maps.sum(1),  # signed, for gradient x input
}
"""Ways to make one channel of maps (R, 3, H, W)."""


def reduce_channels(maps: torch.Tensor, how: str = "max_abs") -> torch.Tensor:
    """Maps (R, H, W) of maps (R, 3, H, W); ``how`` is a key of ``CHANNELS``. Raises ``WsssError`` for another."""
    if how not in CHANNELS:
        raise WsssError(f"reduction of channels {how!r}: there are {', '.join(CHANNELS)}")
    return CHANNELS[how](maps.float())


def _minmax(maps: torch.Tensor) -> torch.Tensor:
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return _over(maps, maps.amax((-2, -1), keepdim=True))


def _shifted(maps: torch.Tensor, eps: float) -> torch.Tensor:
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / (maps.amax((-2, -1), keepdim=True) + eps)


def _over(maps: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    return maps / torch.where(most > 0, most, 1)
