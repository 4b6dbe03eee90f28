"""Which classes a class is contrasted with."""

from __future__ import annotations

import torch

from wsss.errors import WsssError
from wsss.explain.forward_pass import ForwardPass


def present_of(forward: ForwardPass) -> torch.Tensor:
    """Classes considered present in each image, bool (B, C).

    Raises:
        WsssError: The target has no set of present classes.
    """
    if forward.rows.present is None:
        raise WsssError("this method contrasts the present classes of a classifier; its target is Classes")
    return forward.rows.present


def others(forward: ForwardPass, all_classes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The contrast set of every row.

    Args:
        all_classes: Every other class, whichever are present.

    Returns:
        N_u = C_i without u, fp32 (R, C) in {0, 1}; and C_i, fp32 (R, C) in {0, 1}.

    Raises:
        WsssError: The target has no set of present classes.
    """
    present = present_of(forward)[forward.rows.image_idx].float()
    if all_classes:
        present = torch.ones_like(present)
    return present.scatter(1, forward.rows.class_idx[:, None], 0.0), present


def count(members: torch.Tensor) -> torch.Tensor:
    """Sizes fp32 (R, 1) of sets (R, C), at least 1."""
    return members.sum(1, keepdim=True).clamp(min=1)
