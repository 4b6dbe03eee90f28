"""Saliency: training a disentangler or a saliency network, and finding out which side is the foreground; or a network
that is taken as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.inference.saliency import border_test
from wsss.models.saliency_net import save_saliency
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.objectives.c2am_h import strengths
from wsss.objectives.token_cut import TokenCutLearner
from wsss.runtime.run import Run
from wsss.settings import C2amHSettings, SaliencyNetSettings, SaliencySettings, TokenCutSettings
from wsss.store.maps import MapStore
from wsss.store.masks import FileOf, MaskFolder
from wsss.system.log import log
from wsss.system.packs import AnyFile
from wsss.training.checkpoint import keep_product
from wsss.training.train import given_classifiers, prepare, tell_weights, train


def make(run: Run) -> None:
    """Train the network of ``run.settings``; write weights and metrics.

    A disentangler learns from the training images that have a tag, since the others hold nothing to tell from the
    background; a saliency network from all. TokenCut learns from none: its network is written as it is.

    Raises:
        WsssError: No image to learn from, or the hints or masks that the recipe refers to are absent or not whole.
    """
    if isinstance(run.settings, TokenCutSettings):
        return untrained(run, run.settings)
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
    if run.world.rank:
        return
    inverted = False
    if settings.objective == "c2am":
        border, interior = border_test(network, items, settings.long_side[1], device, run.args.threads)
        inverted = border > interior
        swapped = ": the sides are swapped" if inverted else ""
        log.info(f"foreground share {border:.3f} on borders, {interior:.3f} inside{swapped}")
        run.note(border=round(border, 4), interior=round(interior, 4))
    if not network_of_masks:
        run.note(inverted=inverted)
    save_saliency(run.out, network, settings, inverted)
    keep_product(run)
    run.note(images=len(items), untagged_left_out=len(index.split("train")) - len(items))


def untrained(run: Run, settings: TokenCutSettings) -> None:
    """Write the network of a recipe that trains none."""
    prepare(run)
    network = TokenCutLearner(settings, given_classifiers(run, settings).get("warm_start")).network
    if settings.pretrained is True and settings.warm_start is None:
        tell_weights(run, network, settings.backbone)
    if not run.world.rank:
        save_saliency(run.out, network, settings)


def _target(
    run: Run, settings: SaliencySettings, items: list[Item]
) -> Callable[[Item], AnyFile] | Callable[[Item], np.ndarray] | None:
    """What the images' targets are: masks of two labels, hints, or nothing."""
    if isinstance(settings, SaliencyNetSettings):
        if "saliency" not in run.inputs:
            raise WsssError(f"--saliency: the recipe learns from {settings.saliency!r}; give the folder of its masks")
        masks = MaskFolder(run.inputs["saliency"] / "masks")
        masks.require(items, "let 'maps.splits' of that saliency include train and make its maps and masks again")
        return FileOf(masks)
    if isinstance(settings, C2amHSettings):
        if "hints" not in run.inputs:
            raise WsssError(f"--hints: the recipe takes hints from {settings.hints!r}; give the folder of these maps")
        hints = Hints(MapStore(run.inputs["hints"]), settings.hint_threshold)
        hints.store.require(items)
        return hints
    return None


@dataclass(frozen=True)
class Hints:
    """Strength of the hints of an image, uint8 (H, W), as ``strengths`` of its maps. Call with an item.

    Raises :class:`WsssError` when the maps are of an image of another size.
    """

    store: MapStore
    threshold: float | Literal["otsu"]

    def __call__(self, item: Item) -> np.ndarray:
        return strengths(self.store.full_of(item), self.threshold)
