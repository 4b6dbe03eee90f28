"""Score-CAM (Wang et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from wsss.explain import postprocess
from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass

VERSION = 1


@dataclass(frozen=True)
class ScoreCam(Explainer):
    """L_u = sum_k s_k A_k with s_k the score of u for x * m_k, where m_k is A_k resized to the input and brought to
    [0, 1].

    Channels are streamed in chunks, and one masked pass gives the scores of all classes: K + 1 passes an image. A flat
    channel has weight 0; a flat result is a zero map.
    """

    differentiates: ClassVar[bool] = False
    score: str = "probability"
    weighting: Literal["prob", "softmax_over_channels", "increase"] = "prob"
    """``prob``: the class's probability (sigmoid, or softmax where classes exclude each other);
    ``softmax_over_channels``: softmax of the probabilities over the channels; ``increase``: the probability minus that
    of an image of zeros, the mean of the dataset."""
    maps: Literal["layer", "input"] = "layer"
    """What is added up: A_k at the layer's resolution, or resized to the input."""
    top_channels: int | None = None
    """Use only so many channels of each image, those with the largest spatial standard deviation; None: all."""
    chunk: int = 32
    """Masked images in one pass; the result does not depend on it."""

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        activations = forward.cut().detach()
        size = forward.images.shape[2:] if self.maps == "input" else activations.shape[2:]
        made = [self._image(forward, image, activations[image], size) for image in range(len(activations))]
        return torch.cat(made) if made else activations.new_zeros(0, *size)

    def _image(self, forward: ForwardPass, image: int, activations: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """Maps of the rows of one image; ``activations`` are (K, h, w)."""
        count = int((forward.rows.image_idx == image).sum())
        spread = activations.flatten(1).std(1, correction=0)
        span = activations.flatten(1).amax(1) - activations.flatten(1).amin(1)
        used = (span > 0).nonzero()[:, 0]
        if self.top_channels is not None:
            used = used[spread[used].argsort(descending=True, stable=True)[: self.top_channels]]
        if not count or not len(used):
            return activations.new_zeros(count, *size)
        weights = torch.cat(
            [self._scores(forward, image, activations[some]) for some in torch.split(used, self.chunk)], 1
        )
        if self.weighting == "softmax_over_channels":
            weights = weights.softmax(1)
        elif self.weighting == "increase":
            nothing = forward.run(torch.zeros_like(forward.images[image : image + 1]))
            weights = weights - self._of(forward, nothing, image, 1)
        total = weights.new_zeros(())
        for some, weight in zip(torch.split(used, self.chunk), torch.split(weights, self.chunk, 1), strict=True):
            part = activations[some] if self.maps == "layer" else self._resized(forward, activations[some])
            total = total + torch.einsum("rk,khw->rhw", weight, part)
        flat = total.flatten(1).amax(1) == total.flatten(1).amin(1)
        return torch.where(flat[:, None, None], 0, total)

    def _scores(self, forward: ForwardPass, image: int, activations: torch.Tensor) -> torch.Tensor:
        """Scores (rows, n) of the image under the masks of n channels."""
        masks = self._resized(forward, activations)
        low, high = (getattr(masks, name)((1, 2), keepdim=True) for name in ("amin", "amax"))
        masks = (masks - low) / torch.where(high > low, high - low, 1)
        output = forward.run(forward.images[image] * masks[:, None].to(forward.images.dtype))
        return self._of(forward, output, image, len(masks))

    @staticmethod
    def _resized(forward: ForwardPass, activations: torch.Tensor) -> torch.Tensor:
        """Channels (n, h, w) at the input's size."""
        size = forward.images.shape[2:]
        return postprocess.resize(forward.subject.covering(activations, size), size)

    def _of(self, forward: ForwardPass, output: torch.Tensor, image: int, copies: int) -> torch.Tensor:
        rows = forward.rows.of(image, copies)
        return forward.target.score(output, rows, self.score, forward.subject.single_label).view(copies, -1).T
