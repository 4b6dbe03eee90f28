"""ROAD (Rong et al. 2022) by pytorch-grad-cam, an optional extra that is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.explain import postprocess
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.subject import Subject, undisturbed
from wsss.explain.targets import Rows, Target

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)


def library() -> ModuleType:
    """pytorch-grad-cam's module of ROAD. Raises ``WsssError`` where it is not installed."""
    try:
        return import_module("pytorch_grad_cam.metrics.road")
    except ImportError as error:
        raise WsssError(f"ROAD needs pytorch-grad-cam: install wsss[gradcam] ({error})") from error


def road(
    subject: Subject,
    images: torch.Tensor,
    target: Target,
    rows: Rows,
    maps: torch.Tensor,
    *,
    percentiles: Sequence[int] = PERCENTILES,
    score: str | None = None,
    ids: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """How a score changes when pixels are imputed from their neighbours: mean over percentiles, score after - before.

    Slow: one sparse system an image and percentile is solved on the CPU. The noise of the imputed pixels follows from
    the seed and the image's name.

    Args:
        subject, images, target, rows: What was explained.
        maps: Saliency (R, h, w) of any size and sign. Only the order of pixels counts, and as in the curves the nearer
            to the top left comes first among equals: a map with many equal pixels would leave the system without a
            solution.
        percentiles: Of the pixels' ranks, in (0, 100).
        score: Kind of score; None: what the target says.

    Returns:
        fp32 (R,) each: ``road_morf``, most relevant pixels imputed (low is good); ``road_lerf``, least relevant ones
        (high is good); ``road``, (LeRF - MoRF) / 2 (high is good).

    Raises:
        WsssError: pytorch-grad-cam is not installed; percentiles out of range.
    """
    if not percentiles or not all(0 < each < 100 for each in percentiles):
        raise WsssError(f"ROAD's percentiles lie between 0 and 100, these are {list(percentiles)}")
    made = library()
    both = {
        "road_morf": made.ROADMostRelevantFirstAverage(list(percentiles)),
        "road_lerf": made.ROADLeastRelevantFirstAverage(list(percentiles)),
    }
    found: dict[str, list[float]] = {name: [] for name in both}
    with undisturbed(subject), torch.no_grad():
        images = images.to(subject.device or images.device)
        forward = ForwardPass(subject, images, target, None if ids is None else list(ids), seed, rows=rows)
        network = _Read(subject)
        for row, image in enumerate(rows.image_idx.tolist()):
            shown = ranks(postprocess.resize(maps[row : row + 1], images.shape[2:])).cpu().numpy()
            one = rows.row(row, 1)
            scalar = partial(_score, subject, target, one, score or target.perturbed)
            for name, metric in both.items():
                with torch.random.fork_rng(devices=[]):
                    torch.default_generator.manual_seed(forward.generator(image).initial_seed())
                    found[name].append(float(metric(images[image : image + 1], shown, [scalar], network)[0]))
    result = {name: torch.tensor(values, device=images.device) for name, values in found.items()}
    return {**result, "road": (result["road_lerf"] - result["road_morf"]) / 2}


def ranks(maps: torch.Tensor) -> torch.Tensor:
    """Pixels of maps (R, H, W) by their order, fp32 in [0, 1]: 1 for the most salient."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    steps = torch.linspace(1, 0, order.shape[1], device=maps.device).expand(len(maps), -1)
    return torch.zeros_like(steps).scatter(1, order, steps).view(maps.shape)


class _Read(nn.Module):
    """A subject's network that returns its scores."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.subject = subject

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.subject.read(self.subject.network(images))


def _score(subject: Subject, target: Target, rows: Rows, kind: str, output: torch.Tensor) -> torch.Tensor:
    return target.score(output[None], rows, kind, subject.single_label)[0]
