"""What the methods share that read the head's weights, and the check that the head is what they take it for."""

from __future__ import annotations

import torch

from wsss.errors import WsssError
from wsss.explain.forward_pass import ForwardPass

TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 2e-2}
"""Largest difference between the scores and those of the pooled features, relative to the largest sum of the sizes of
what is added up, by the network's precision: rounding stays below, a head that is not linear does not."""
USUAL = 2e-3
"""The same for fp32, which a GPU may compute with factors of 11 bits."""


def pooled(forward: ForwardPass) -> tuple[torch.Tensor, torch.Tensor]:
    """One cut forward pass; A fp32 (B, K, h, w) and W fp32 (C, K).

    Raises:
        WsssError: The scores are not GAP(A) W^T + b, or the target asks for no classes.
    """
    activations = forward.cut()
    weight, bias = forward.subject.class_weights()
    if weight.shape[1] != activations.shape[1]:
        raise WsssError(
            f"{forward.subject.head} takes {weight.shape[1]} channels, layer {forward.subject.layer} has "
            f"{activations.shape[1]}; name the layer whose pooled output the head takes, or take hires-cam"
        )
    if forward.output.shape != (len(activations), len(weight)):
        raise WsssError("this method needs class scores of the head itself; take hires-cam for another network")
    if forward.rows.present is None:  # rows' numbers are not those of classes
        raise WsssError("this method reads the head's weights of a class; its target is Classes, not a function")
    if not forward.differentiable:
        activations, weight = activations.detach(), weight.detach()
    given, means = forward.output.detach().float(), activations.detach().mean((2, 3))
    made = means @ weight.detach().T + bias.detach()
    size = means.abs() @ weight.detach().abs().T + bias.detach().abs()
    if bool((given - made).abs().max() > TOLERANCE.get(forward.precision, USUAL) * size.max()):
        raise WsssError(
            f"the scores are not those of {forward.subject.head} on the pooled layer {forward.subject.layer}: "
            "something is between them (normalisation, another pooling); name the layer right before the pooling, or "
            "take hires-cam"
        )
    return activations, weight


def weighted(forward: ForwardPass, weights: torch.Tensor) -> torch.Tensor:
    """sum_k w_k A_k: maps (R, h, w) of weights (R, K)."""
    return torch.einsum("rk,rkhw->rhw", weights, forward.activations[forward.rows.image_idx])
