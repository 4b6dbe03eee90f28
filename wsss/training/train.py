"""The two trainings: classifiers on tags, segmentation networks on masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wsss.compute.devices import choose_device, prepare_cpu
from wsss.data.copies import Copies
from wsss.data.index import Item
from wsss.data.loading import TrainingViews
from wsss.errors import WsssError
from wsss.models.backbone import hub_weights
from wsss.models.hub import told_weights
from wsss.objectives.base import Objective
from wsss.runtime.run import Run
from wsss.settings import NetworkSettings, Settings
from wsss.store.weights import load_weights
from wsss.system.log import log
from wsss.system.packs import AnyFile
from wsss.training.engine import Trainer


def looked_at(run: Run, items: list[Item], wanted: int | str) -> list[Item]:
    """The same images, after the manifest was told how many ground-truth masks the training looks at, and if few,
    which."""
    run.note(masks_looked_at=len(items))
    if wanted != "all":
        run.note(gt_masks=[item.id for item in items])
    return items


def given_classifiers(run: Run, settings: Settings) -> dict[str, Path]:
    """The folders of the classifiers that the recipe refers to."""
    given = {}
    for name in ("ordinary", "warm_start"):
        wanted = getattr(settings, name, None)
        if wanted is not None and name not in run.inputs:
            raise WsssError(
                f"--{name.replace('_', '-')}: the recipe refers to {wanted!r}; give the folder of that classifier"
            )
        if wanted is not None:
            given[name] = run.inputs[name]
    return given


def check_classes(folder: Path, classes: Sequence[str]) -> None:
    """Raise :class:`WsssError` if the classifier in ``folder`` has other classes than ``classes``, or in another order:
    its outputs would be taken for those of other classes."""
    _, about = load_weights(folder / "model.safetensors")
    known = about.get("classes")
    if known is not None and list(known) != list(classes):
        raise WsssError(
            f"{folder}: this classifier was trained on the classes {', '.join(known)}; the dataset has "
            f"{', '.join(classes)}; train it on this dataset, or bring the classes into the same order"
        )


def tell_weights(run: Run, network: nn.Module, backbone: str) -> None:
    """Facts for ``run.json``: which of timm's weights a network has just been built with (``hub_weights``). For the
    manifest: ``weights``, with their source, licence and checksum, where a file on this machine has them."""
    run.record(hub_weights=hub_weights(network))
    if told := told_weights(backbone):
        run.note(weights=told)


def prepare(run: Run) -> torch.device:
    """Seed the initial weights, set the CPU up, and choose the device."""
    prepare_cpu(run.args.threads)
    torch.manual_seed(run.args.seed)  # the initial weights
    return choose_device(run.args.device)


def train(
    run: Run,
    objective: Objective,
    items: list[Item],
    classes: int,
    device: torch.device,
    mask_of: Callable[[Item], AnyFile | np.ndarray] | None = None,
    chances: np.ndarray | None = None,
    soft_of: Callable[[Item], np.ndarray] | None = None,
    network: NetworkSettings | None = None,
) -> Any:
    """Train an objective's networks on ``items`` and return its product in eval mode, whatever the stage.

    With several processes all train it and all have it; what comes of it is for the first one to write.

    ``mask_of`` and ``soft_of`` are as for ``TrainingViews``, ``chances`` as for ``Order``; ``network`` says where the
    weights came from if that is not the recipe.

    A checkpoint is resumed only if it is of the artefact that is to be made: of the same identity, that is.
    """
    copies = Copies.below(run.settings.stage_to)
    views = TrainingViews(items, classes, run.settings, run.args.seed, mask_of, soft_of, copies)
    trainer = Trainer(objective, views, run.settings, run, device, chances)
    if run.world.rank == 0:
        if (network or run.settings).pretrained is True and "warm_start" not in run.inputs:
            tell_weights(run, objective.networks[objective.product], (network or run.settings).backbone)
        where = f"{device} in {trainer.precision.name}"
        spread = f" by {trainer.ranks} processes" if trainer.ranks > 1 else ""
        log.info(f"{len(items)} images, {trainer.micro_steps} steps on {where}{spread}")
    return trainer.train()
