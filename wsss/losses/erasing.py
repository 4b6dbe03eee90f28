"""Class-specific erasing (OC-CSE, Kweon et al. 2021): the activation of one class is masked in the image.

Which class: ``wsss.losses.class_choice``.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from wsss.compute.collectives import global_max

EPSILON = 1e-5


def without(labels: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Labels (B, C) with the chosen class (B,) of each image set to 0.

    Examples:
        >>> without(torch.tensor([[1.0, 1.0, 0.0]]), chosen=torch.tensor([1]))
        tensor([[1., 0., 0.]])
    """
    return labels.scatter(1, chosen[:, None], 0.0)


def activation_mask(maps: torch.Tensor, chosen: torch.Tensor, size: tuple[int, int], over: str) -> torch.Tensor:
    """Soft mask psi in [0, 1], (B, 1, H, W): the rectified map of the chosen class, upsampled, over its largest value.

    Args:
        maps: Raw class activation maps (B, C, h, w).
        chosen: int64 (B,).
        size: (H, W).
        over: ``batch``: the largest value of the whole batch, over all devices (OC-CSE's global normalisation);
            ``image``: of each image.

    Examples:
        >>> maps = torch.tensor([[[[-1.0, 1.0], [2.0, 4.0]]]])  # one image, one class
        >>> activation_mask(maps, torch.tensor([0]), size=(2, 2), over="image")
        tensor([[[[0.0000, 0.2500],
                  [0.5000, 1.0000]]]])
    """
    rows = torch.arange(len(chosen), device=maps.device)
    activation = F.relu(maps[rows, chosen].float())[:, None]
    activation = F.interpolate(activation, size=size, mode="bilinear", align_corners=False)
    largest = global_max(activation.max()) if over == "batch" else activation.amax((1, 2, 3), keepdim=True)
    return activation / (largest + EPSILON)


def erase_soft(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """x (1 - psi): erased pixels move to 0, the mean colour of normalised images.

    Examples:
        >>> erase_soft(torch.tensor([3.0, 3.0, 3.0]), mask=torch.tensor([0.0, 0.5, 1.0]))
        tensor([3.0000, 1.5000, 0.0000])
    """
    return images * (1 - mask)


def erase_hard(images: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
    """x 1[psi <= threshold]: pixels above the threshold become exactly 0 (P-NOC; its diagram prints the inequality the
    other way round).

    Examples:
        >>> erase_hard(torch.tensor([3.0, 3.0, 3.0]), mask=torch.tensor([0.0, 0.2, 0.3]), threshold=0.2)
        tensor([3., 3., 0.])
    """
    return images * (mask <= threshold)
