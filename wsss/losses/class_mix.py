"""ClassMix (Olsson et al., WACV 2021): objects of one training image pasted into another, with all that is known of
their pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from wsss.compute.devices import upload
from wsss.data.transforms import IGNORE
from wsss.errors import WsssError
from wsss.losses.segmentation import pixel_counts


def pasted_from_partner(
    masks: torch.Tensor, draws: torch.Tensor, classes: int, share: float, seen_in: torch.Tensor | None = None
) -> torch.Tensor:
    """Which pixels of each image come from its partner: those of half of the classes in the partner's mask.

    Images 2k and 2k + 1 of a micro-batch are partners, which is a random pair since the order is random. Several
    processes share a micro-batch in slices of even length, so no pair is torn and the result does not depend on their
    number. Which classes is drawn from the image's own uniform number. The background and 255 are never pasted.

    Published: all images that no mask is known of are mixed, and classes are those of the network's own prediction.

    Args:
        masks: int64 (B, H, W), 0 background, c + 1 the object class c, 255 left out.
        draws: float32 (B,) in [0, 1): uniform numbers. An image gets something where its own is below ``share``.
        classes: C.
        share: Of the images, in [0, 1].
        seen_in: ``masks`` on the CPU, where they are on a GPU; ``draws`` are on the CPU then, too.

    Returns:
        bool (B, H, W).

    Raises:
        WsssError: B is odd.
    """
    if len(masks) % 2:
        raise WsssError(
            f"pairs of images are mixed, and this process has {len(masks)} of each micro-batch; let 'batch_size' be a "
            "multiple of twice the number of processes"
        )
    partners = of_partners(masks)
    seen = pixel_counts(of_partners(masks if seen_in is None else seen_in))[:, 1 : classes + 1] > 0
    table = torch.zeros(len(masks), IGNORE + 1, dtype=torch.bool)
    for image, chosen in enumerate(_chosen(seen.cpu().numpy(), draws.tolist(), share)):
        table[image, chosen + 1] = True
    return upload(table, masks.device).gather(1, partners.flatten(1)).view_as(masks)


def _chosen(seen: np.ndarray, draws: list[float], share: float) -> Iterator[np.ndarray]:
    """Half of the classes that each row of ``seen``, bool (B, C), has, the odd one too; none from ``share`` on."""
    for row, draw in zip(seen, draws, strict=True):
        present = np.flatnonzero(row) if draw < share else np.empty(0, np.int64)
        rng = np.random.default_rng(int(draw * 2**24))  # all digits of a float32
        yield rng.permutation(present)[: (len(present) + 1) // 2]


def of_partners(values: torch.Tensor) -> torch.Tensor:
    """What the partner of each image has: rows 2k and 2k + 1 of a tensor (B, ...) exchanged."""
    return values.reshape(-1, 2, *values.shape[1:]).flip(1).flatten(0, 1)


def paste(values: torch.Tensor, pasted: torch.Tensor) -> torch.Tensor:
    """Values (B, H, W) or (B, D, H, W) with those of the partners where ``pasted``, bool (B, H, W)."""
    where = pasted if values.ndim == pasted.ndim else pasted[:, None]
    return torch.where(where, of_partners(values), values)
