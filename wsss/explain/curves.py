"""Deletion and insertion curves (Petsiuk et al. 2018): what happens to a score while pixels go, most salient first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from wsss.errors import WsssError
from wsss.explain import postprocess
from wsss.explain.base import Explanation
from wsss.explain.fills import Fill, filled
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.subject import Subject, undisturbed
from wsss.explain.targets import Classes, Rows, Target


@dataclass(frozen=True, eq=False)
class Curves:
    """One curve a row.

    Attributes:
        fractions: Share of the pixels that are deleted or inserted, fp32 (steps + 1,) from 0 to 1.
        scores: fp32 (R, steps + 1).
        auc: Area under each curve by trapezoids, fp32 (R,): low is good for deletion, high for insertion.
        kind: Kind of score.
    """

    fractions: torch.Tensor
    scores: torch.Tensor
    auc: torch.Tensor
    kind: str


def random_saliency(
    subject: Subject, images: torch.Tensor, rows: Rows, ids: Sequence[str] | None = None, seed: int = 0
) -> torch.Tensor:
    """Maps fp32 (R, H, W) of uniform noise, one per image: what every curve is to be compared with."""
    forward = ForwardPass(subject, images, Classes("pred"), None if ids is None else list(ids), seed)
    noise = [torch.rand(images.shape[2:], generator=forward.generator(image)) for image in range(len(images))]
    return torch.stack(noise).to(rows.image_idx.device)[rows.image_idx]


def curves(
    subject: Subject,
    images: torch.Tensor,
    target: Target,
    explanation: Explanation,
    mode: Literal["deletion", "insertion"] = "deletion",
    *,
    maps: torch.Tensor | None = None,
    fill: Fill | None = None,
    steps: int = 20,
    score: str | None = None,
    reverse: bool = False,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    chunk: int = 32,
) -> Curves:
    """Curves of the rows of an explanation; regions stay those of the unperturbed prediction.

    Args:
        subject, images, target, ids, seed: As for the explanation.
        explanation: Its rows, and its maps unless others are given.
        mode: ``deletion``: the most salient pixels are filled first; ``insertion``: all are filled, and the most
            salient ones come back first.
        maps: Saliency (R, h, w) of any size; it is resized to the images before pixels are ranked. Of equal pixels the
            one nearer to the top left goes first.
        fill: As for ``fills.filled``; None: ``mean`` for deletion, ``blur`` for insertion.
        steps: Points of the curve besides the first; each costs a forward pass a row.
        score: Kind of score; None: what the target says (a probability for classes, the IoU for regions).
        reverse: Least salient pixels first.
        chunk: Images in one pass; the result does not depend on it.

    Raises:
        WsssError: Unknown mode, fill or score, maps with channels, or no window to take ``window_mean`` of.
    """
    maps = explanation.maps if maps is None else maps
    rows = explanation.rows
    if mode not in ("deletion", "insertion"):
        raise WsssError(f"curve {mode!r}: there are deletion and insertion")
    if maps.ndim != 3 or len(maps) != len(rows):
        raise WsssError(
            f"curves need maps ({len(rows)}, height, width), these are {tuple(maps.shape)}; "
            "see postprocess.reduce_channels"
        )
    fill = fill or ("mean" if mode == "deletion" else "blur")
    if fill == "window_mean" or steps < 1:
        raise WsssError("curves take pixels away one by one, in at least one step; take another fill than window_mean")
    kind = score or target.perturbed
    with undisturbed(subject), torch.no_grad():
        images = images.to(maps.device)
        forward = ForwardPass(subject, images, target, None if ids is None else list(ids), seed, rows=rows)
        size = images.shape[2:]
        pixels = size[0] * size[1]
        counts = torch.tensor([round(step * pixels / steps) for step in range(steps + 1)], device=maps.device)
        found = maps.new_zeros(len(rows), steps + 1)
        for row, image in enumerate(rows.image_idx.tolist()):
            saliency = maps[row] if maps.shape[1:] == size else postprocess.resize(maps[row : row + 1], size)[0]
            order = saliency.flatten().argsort(dim=0, descending=True, stable=True)
            order = order.flip(0) if reverse else order
            turn = torch.empty_like(order)
            turn[order] = torch.arange(pixels, device=maps.device)
            gone = (turn < counts[:, None]).view(-1, 1, *size)
            gone = gone if mode == "deletion" else ~gone
            copies = torch.where(gone, filled(forward, image, fill).to(images.dtype), images[image])
            for first in range(0, steps + 1, chunk):
                some = copies[first : first + chunk]
                repeated = rows.row(row, len(some))
                values = target.score(forward.run(some), repeated, kind, subject.single_label)
                found[row, first : first + chunk] = values
        fractions = counts.float() / pixels
    return Curves(fractions, found, torch.trapezoid(found, fractions, dim=1), kind)
