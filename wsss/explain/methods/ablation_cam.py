"""Ablation-CAM (Desai and Ramaswamy 2020), for segmentation too (Gipiskis et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.explain.base import Explainer
from wsss.explain.callables import Scalars
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.head import Head
from wsss.explain.linear import pooled, weighted

VERSION = 1


@dataclass(frozen=True)
class AblationCam(Explainer):
    """L_u = sum_k w_k A_k with w_k = (S_u - S_u without channel k) / |S_u|.

    A linear head on pooled features needs no further forward pass: w_k = W_uk mean(A_k) / |S_u|. Any other head is run
    once for each channel that is not zero everywhere (whose weight is exactly 0); all classes share the passes.
    """

    differentiates: ClassVar[bool] = False
    normaliser: Literal["abs", "score", "none"] = "abs"
    """What the drop is divided by: |S_u|, or S_u itself as published, which turns the map's sign where S_u < 0 (both at
    least 1e-6 in size); or nothing."""
    closed_form: bool = True
    """Use the closed form where the subject names a head. False: run the head all the same."""
    part: Literal["all", "inside", "outside"] = "all"
    """For regions: where a channel is set to zero, everywhere, inside M or outside it (M resized by nearest)."""
    chunk: int = 32
    """Channels that are ablated in one pass; the result does not depend on it."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        if self.closed_form and forward.subject.head is not None and not isinstance(forward.target, Scalars):
            activations, weight = pooled(forward)
            rows = forward.rows
            drops = weight[rows.class_idx] * activations.mean((2, 3))[rows.image_idx]
            return weighted(forward, drops / self._divisor(forward.scores())[:, None])
        if forward.subject.grid is not None:
            raise WsssError("ablation needs a layer that gives maps itself; explain the head's input of this network")
        with Head(forward) as head:
            if self.part != "all" and forward.rows.masks is None:
                raise WsssError(f"part: {self.part} is for regions of a segmentation network")
            base = forward.scores()
            drops = base[:, None] - self._scores_without(forward, head)
        return weighted(forward, drops / self._divisor(base)[:, None])

    def _scores_without(self, forward: ForwardPass, head: Head) -> torch.Tensor:
        """Scores (R, K) without each channel. Where only a row's own region is ablated, rows cannot share a pass."""
        rows, base = forward.rows, forward.scores()
        activations = head.activations
        found = base[:, None].repeat(1, activations.shape[1])
        kept = None
        if self.part != "all":
            assert rows.masks is not None  # explain refuses it
            region = rows.masks[:, None].float()
            if forward.subject.padded is not None:
                size = region.shape[2:]
                tall, wide = forward.subject.padded(size)
                region = F.pad(region, (0, wide - size[1], 0, tall - size[0]))
            region = F.interpolate(region, size=activations.shape[2:], mode="nearest")
            kept = region if self.part == "outside" else 1 - region
        alive = (activations != 0).any(0).flatten(1).any(1).nonzero()[:, 0]
        for some in torch.split(alive, self.chunk) if len(alive) else ():
            if kept is None:
                scores = self._ablated(forward, head, some, torch.zeros_like(activations[:, :1]))
                found[:, some] = scores
                continue
            for turn in forward.turns():
                keep = torch.ones_like(activations[:, :1])
                keep[rows.image_idx[turn]] = kept[turn]
                found[turn[:, None], some] = self._ablated(forward, head, some, keep)[turn]
        return found

    def _ablated(self, forward: ForwardPass, head: Head, channels: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Scores (R, n) with each of the channels multiplied by ``keep`` (B, 1, h, w)."""
        count, batch = len(channels), len(forward.images)
        altered = head.activations.repeat(count, 1, 1, 1)
        copy = torch.arange(count * batch, device=altered.device)
        which = channels.repeat_interleave(batch)
        altered[copy, which] = altered[copy, which] * keep[:, 0].repeat(count, 1, 1)
        output = head.run(altered)
        scores = forward.target.score(
            output, forward.rows.repeated(count, batch), "logit", forward.subject.single_label
        )
        return scores.view(count, -1).T

    def _divisor(self, scores: torch.Tensor) -> torch.Tensor:
        if self.normaliser == "none":
            return torch.ones_like(scores)
        size = scores.abs().clamp(min=1e-6)
        return size if self.normaliser == "abs" else torch.where(scores < 0, -size, size)
