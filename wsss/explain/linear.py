"""What the methods share that read the head's weights, and the check that the head is what they take it for."""

from __future__ import annotations

import torch

from wsss.errors import WsssError
from wsss.explain.forward_pass import Look

TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 2e-2}
"""Largest difference between the scores and those of the pooled features, relative to the largest sum of the sizes of
what is added up, by the network's precision: rounding stays below, a head that is not linear does not."""
USUAL = 2e-3
"""The same for fp32, which a GPU may compute with factors of 11 bits."""


def pooled(look: Look) -> tuple[torch.Tensor, torch.Tensor]:
    """One cut forward pass; A fp32 (B, K, h, w) and W fp32 (C, K).

    Raises:
        WsssError: The scores are not GAP(A) W^T + b, or the target asks for no classes.
    """
    activations = look.cut()
    weight, bias = look.subject.class_weights()
    if weight.shape[1] != activations.shape[1]:
        raise WsssError(
            f"{look.subject.head} takes {weight.shape[1]} channels, layer {look.subject.layer} has "
            f"{activations.shape[1]}; name the layer whose pooled output the head takes, or take hires-cam"
        )
    if look.output.shape != (len(activations), len(weight)):
        raise WsssError("this method needs class scores of the head itself; take hires-cam for another network")
    if look.rows.present is None:  # rows' numbers are not those of classes
        raise WsssError("this method reads the head's weights of a class; its target is Classes, not a function")
    if not look.differentiable:
        activations, weight = activations.detach(), weight.detach()
    given, means = look.output.detach().float(), activations.detach().mean((2, 3))
    made = means @ weight.detach().T + bias.detach()
    size = means.abs() @ weight.detach().abs().T + bias.detach().abs()
    if bool((given - made).abs().max() > TOLERANCE.get(look.precision, USUAL) * size.max()):
        raise WsssError(
            f"the scores are not those of {look.subject.head} on the pooled layer {look.subject.layer}: something is "
            "between them (normalisation, another pooling); name the layer right before the pooling, or take hires-cam"
        )
    return activations, weight


def weighted(look: Look, weights: torch.Tensor) -> torch.Tensor:
    """sum_k w_k A_k: maps (R, h, w) of weights (R, K)."""
    return torch.einsum("rk,rkhw->rhw", weights, look.activations[look.rows.image_idx])
