"""Saliency: training a disentangler or a saliency network, finding out which side is the foreground, and the maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsss.compute.devices import choose_device, prepare_cpu
from wsss.data.buckets import Buckets, buckets
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.inference.cams import PROBE, outputs_of
from wsss.models.disentangler import Disentangler
from wsss.models.folding import fold_batch_norm
from wsss.models.saliency_net import load_saliency
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.objectives.c2am_h import STRONGEST
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, Maps, write_maps
from wsss.runtime.program import Run, say
from wsss.settings import C2amHSettings, InferenceSettings, SaliencyMapSettings, SaliencyNetSettings, SaliencySettings
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import save_weights
from wsss.training.engine import keep_product
from wsss.training.train import given_classifiers, prepare, train

SIGN_IMAGES = 64
"""Training images that decide which side of a disentangler is the foreground."""
FINE_STRIDE = 4
"""Pixels a side that share a stored value, for networks that answer at the size of the image."""


def train_saliency(run: Run) -> None:
    """Train the network of ``run.settings``; write weights and metrics.

    A disentangler learns from the training images that have a tag, since the others hold nothing to tell from the
    background; a saliency network from all.

    Raises:
        WsssError: No image to learn from, or the hints or masks that the recipe refers to are absent or not whole.
    """
    settings: SaliencySettings = run.settings
    index = Index.load(run.inputs["index"])
    network_of_masks = isinstance(settings, SaliencyNetSettings)
    items = index.split("train") if network_of_masks else index.labelled("train")
    if not items:
        raise WsssError(f"{index.folder}: no training image {'' if network_of_masks else 'has a tag'}; see report.json")
    target = _target(run, settings, items)
    device = prepare(run)
    goal: Callable[..., Objective] = find(run.settings.objective)
    objective = goal(settings, given_classifiers(run, settings).get("warm_start"))
    network = train(run, objective, items, len(index.classes), device, target)
    if run.team.rank:
        return
    about: dict[str, Any] = {"backbone": settings.backbone, "output_stride": settings.output_stride}
    if isinstance(settings, SaliencyNetSettings):
        about |= {"kind": "saliency-net", "architecture": settings.architecture}
    else:
        about |= {"kind": "disentangler", "inverted": False}
        if run.settings.objective == "c2am":
            border, interior = border_test(network, items, settings.long_side[1], device, run.args.threads)
            about["inverted"] = border > interior
            say(f"foreground share {border:.3f} on borders, {interior:.3f} inside"
                f"{': the sides are swapped' if about['inverted'] else ''}")  # fmt: skip
            run.note(border=round(border, 4), interior=round(interior, 4))
        run.note(inverted=about["inverted"])
    save_weights(run.out / "model.safetensors", network.state_dict(), about)
    keep_product(run)
    run.note(images=len(items), untagged_left_out=len(index.split("train")) - len(items))


def _target(
    run: Run, settings: SaliencySettings, items: list[Item]
) -> Callable[[Item], Path] | Callable[[Item], np.ndarray] | None:
    """What the images' targets are: masks of two labels, hints, or nothing."""
    if isinstance(settings, SaliencyNetSettings):
        if "saliency" not in run.inputs:
            raise WsssError(f"--saliency: the recipe learns from {settings.saliency!r}; give the folder of its masks")
        masks = MaskFolder(run.inputs["saliency"] / "masks")
        absent = [item.id for item in items if item.id not in masks]
        if absent:
            raise WsssError(
                f"{masks.path}: {len(absent)} training images have no mask, the first is {absent[0]}; "
                "let 'maps.splits' of that saliency include train and make its maps and masks again"
            )
        return lambda item: masks.file(item.id)
    if isinstance(settings, C2amHSettings):
        if "hints" not in run.inputs:
            raise WsssError(f"--hints: the recipe takes hints from {settings.hints!r}; give the folder of these maps")
        hints = Hints(MapStore(run.inputs["hints"]))
        absent = [item.id for item in items if item.id not in hints.store]
        if absent:
            raise WsssError(
                f"{hints.store.folder}: {len(absent)} training images have no maps, the first is {absent[0]}; "
                "let 'splits' of the maps include train and make them again"
            )
        return hints
    return None


@dataclass(frozen=True)
class Hints:
    """Strength of the hints of an image: its largest map, uint8 (H, W), 0 to 254 for 0 to 1. Call with an item.

    Raises :class:`WsssError` when the maps are of an image of another size.
    """

    store: MapStore

    def __call__(self, item: Item) -> np.ndarray:
        maps = self.store.full(item.id)
        if maps.shape[1:] != (item.height, item.width):
            raise WsssError(
                f"the maps of {item.id!r} in {self.store.folder} are of a {maps.shape[1]} x {maps.shape[2]} image, "
                f"{item.image} is {item.height} x {item.width}; make the maps again"
            )
        strength: np.ndarray = (np.clip(maps.max(axis=0, initial=0), 0, 1) * STRONGEST).round().astype(np.uint8)
        return strength


@torch.inference_mode()
def border_test(
    network: Disentangler, items: list[Item], side: int, device: torch.device, threads: int
) -> tuple[float, float]:
    """Mean of sigmoid(P) over the outermost cells and over the others, each the mean of up to 64 evenly spaced images.

    Nothing ties the foreground to sigmoid(P) rather than to its complement, but photographers put objects inside: the
    side that is stronger along the border is the background. (C2AM asks whether the border is above 0.5, on the last
    batch it happened to see; against the interior the answer does not depend on how much is foreground at all.)

    Args:
        network: In eval mode, on ``device``.
        items: Training images.
        side: Longest side of the images in pixels.
    """
    spaced = np.linspace(0, len(items) - 1, min(SIGN_IMAGES, len(items))).round().astype(int)
    chosen = [items[n] for n in spaced]
    view = InferenceSettings(scales=(1.0,), flip=False, max_side=max(32, side))
    found = []
    for _, (logits,) in outputs_of(lambda images: network(images).logits, chosen, view, device, threads, "border test"):
        share = logits[0, 0].float().sigmoid()
        inside = torch.zeros_like(share, dtype=torch.bool)
        inside[1:-1, 1:-1] = True
        if inside.any():
            found.append((share[~inside].mean().item(), share[inside].mean().item()))
    if not found:
        raise WsssError("every map is less than 3 cells a side, all of it border; use larger images or 'output_stride'")
    border, interior = np.mean(found, axis=0)
    return float(border), float(interior)


def write_saliency_maps(run: Run) -> None:
    """Write the saliency map of every image of the splits as HDF5 shards, one class 0 = salient.

    ``activation: relu`` stores rectified logits, whose views are divided by the image's maximum; ``sigmoid`` stores
    probabilities, meant as they are (``relative`` 0). A disentangler's maps keep its own resolution; those of a
    saliency network are means over 4 x 4 pixels.

    Raises:
        WsssError: ``relu`` for a saliency network.
    """
    settings: SaliencyMapSettings = run.settings
    items = items_of(run, Index.load(run.inputs["index"]))

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        network, about = load_saliency(run.inputs["saliency"])
        fine = about["kind"] == "saliency-net"
        if fine and settings.activation != "sigmoid":
            raise WsssError("activation: a saliency network gives probabilities; use sigmoid")
        prepare_cpu(run.args.threads)
        device = choose_device(run.args.device)
        network.to(device).to(memory_format=torch.channels_last).eval()
        fold_batch_norm(network, torch.zeros(1, 3, PROBE, PROBE, device=device))
        stride = FINE_STRIDE if fine else about["output_stride"]

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            return saliency_maps(network, part, settings, fine, device, run.args.threads, buckets(items))

        relative = {"relative": int(settings.activation == "relu")}
        return Format(settings.scales, settings.flip, stride, stride, relative), maps_of

    write_maps(run, items, begin)


@torch.inference_mode()
def saliency_maps(
    network: nn.Module,
    items: list[Item],
    settings: SaliencyMapSettings,
    fine: bool,
    device: torch.device,
    threads: int,
    among: Buckets | None = None,
) -> Iterator[Maps]:
    """Saliency maps before views are made of them, class 0.

    ``relu``: a_s = ReLU(P(x_s)) + flip(ReLU(P(flip(x_s)))), the scheme of class activation maps; ``sigmoid``: the mean
    of the probabilities of the image and its mirror.

    Args:
        network: Logits (B, 1, h, w) of images, positive on the foreground.
        fine: The logits have the size of the image; their values are averaged over 4 x 4 pixels.
        items, settings, device, threads, among: As for ``outputs_of``.

    Yields:
        The item, [0], and for each scale float32 (1, h_s, w_s), non-negative.
    """
    for item, found in outputs_of(network, items, settings, device, threads, "saliency", among):
        maps = []
        for each in found:
            logits = each.float()
            values = F.relu(logits) if settings.activation == "relu" else logits.sigmoid()
            if settings.flip:
                values = values[:1] + values[1:].flip(-1)
                if settings.activation == "sigmoid":
                    values = values / 2
            maps.append((_cells(values) if fine else values)[0].cpu().numpy())
        yield item, [0], maps


def _cells(values: torch.Tensor) -> torch.Tensor:
    """Means over cells of 4 x 4 pixels; where a cell reaches over the border, the last row or column is repeated."""
    height, width = values.shape[-2:]
    values = F.pad(values, (0, -width % FINE_STRIDE, 0, -height % FINE_STRIDE), mode="replicate")
    return F.avg_pool2d(values, FINE_STRIDE)
