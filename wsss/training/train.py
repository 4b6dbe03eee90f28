"""The two trainings: classifiers on tags, segmentation networks on masks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.compute.devices import choose_device, prepare_cpu
from wsss.data.balance import balanced_chances, class_counts
from wsss.data.few_masks import few_masks, masked_chances, masks_of
from wsss.data.index import Index, Item
from wsss.data.loading import TrainingViews
from wsss.errors import WsssError
from wsss.inference.cams import tag_probabilities
from wsss.models.backbone import hub_weights
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.objectives.segmentation import Goal as Segmentation
from wsss.runtime.program import Run, say
from wsss.settings import ClassifierSettings, GuidedSettings, InferenceSettings, SegmenterSettings, TrainingSettings
from wsss.store.manifest import atomic_path
from wsss.store.weights import load_weights, save_weights
from wsss.training.engine import Trainer, keep_product


def train_classifier(run: Run) -> None:
    """Train the classifier of ``run.settings``; write weights, metrics and tag probabilities of the validation images.

    Raises:
        WsssError: No labelled training image, fewer true masks than the recipe asks for, or a classifier that the
            objective needs was not given or has other classes.
    """
    settings: ClassifierSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = index.labelled("train")
    if not items:
        raise WsssError(f"{index.folder}: no training image has a label; see report.json there")
    given = given_classifiers(run, settings)
    for folder in given.values():
        check_classes(folder, index.classes)
    device = prepare(run)
    classes = len(index.classes)
    frequencies = torch.from_numpy(class_counts(items, classes) / len(items))
    goal: Callable[..., Objective] = find(run.settings.objective)
    objective = goal(settings, classes, given, frequencies)
    chances = balanced_chances(items, classes) if settings.sampling == "balanced" else None
    mask_of = None
    if isinstance(settings, GuidedSettings) and settings.true_masks:
        shown = looked_at(run, few_masks(index, settings.true_masks, run.args.seed), settings.true_masks)
        mask_of = masks_of(shown)
        if settings.masked_share is not None:
            ids = {item.id for item in shown}
            chances = masked_chances(np.array([item.id in ids for item in items]), settings.masked_share, chances)
    network = objective.kept(train(run, objective, items, classes, device, mask_of, chances))
    if run.team.rank:
        return
    about: dict[str, Any] = {
        "kind": "classifier",
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "classes": list(index.classes),
    }
    if settings.head == "kur":
        about |= {"head": "kur", "kur_alpha": float(settings.kur_alpha or classes)}
    if isinstance(settings, GuidedSettings):
        about["heatmap_scale"] = settings.heatmap_scale
    save_weights(run.out / "model.safetensors", network.state_dict(), about)
    validation = index.split("val")
    if validation:
        view = InferenceSettings(scales=(1.0,), flip=False, max_side=settings.long_side[1])
        probabilities = tag_probabilities(network, validation, view, device, run.args.threads)
        with atomic_path(run.out / "predictions.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "split", *index.classes])
            for item, row in zip(validation, probabilities, strict=True):
                writer.writerow([item.id, item.split, *(f"{p:.9g}" for p in row)])
    keep_product(run)
    run.note(images=len(items), validation_images=len(validation))


def train_segmenter(run: Run) -> None:
    """Train the segmentation network of ``run.settings``; write weights and metrics.

    Raises:
        WsssError: A training image has no mask, or there are fewer than the recipe asks for.
    """
    settings: SegmenterSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = index.split("train")
    if settings.supervision == "masks":
        items = [item for item in items if item.mask is not None]
        if not items:
            raise WsssError(f"{index.folder}: 'supervision: masks' needs true masks, and no training image has one")
        if settings.true_masks != "all":
            items = looked_at(run, few_masks(index, settings.true_masks, run.args.seed), settings.true_masks)

        def mask_of(item: Item) -> Path:
            assert item.mask is not None  # as chosen above
            return item.mask
    else:
        if "masks" not in run.inputs:
            raise WsssError("--masks: name the folder of pseudo masks to learn from")
        folder = run.inputs["masks"] / "masks"

        def mask_of(item: Item) -> Path:
            return folder / f"{item.id}.png"

        absent = [item.id for item in items if not mask_of(item).is_file()]
        if absent:
            raise WsssError(
                f"{folder}: {len(absent)} training images have no mask, the first is {absent[0]}; "
                "let 'splits' of the masks include train and make them again"
            )
    device = prepare(run)
    network = train(run, Segmentation(settings, len(index.classes)), items, len(index.classes), device, mask_of)
    if run.team.rank:
        return
    about = {
        "kind": "segmenter",
        "architecture": settings.architecture,
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "atrous_rates": list(settings.atrous_rates),
        "classes": list(index.classes),
    }
    save_weights(run.out / "model.safetensors", network.state_dict(), about)
    keep_product(run)
    run.note(images=len(items))


def looked_at(run: Run, items: list[Item], wanted: int | str) -> list[Item]:
    """The same images, after the manifest was told how many true masks the training looks at, and if few, which."""
    run.note(masks_looked_at=len(items))
    if wanted != "all":
        run.note(true_masks=[item.id for item in items])
    return items


def given_classifiers(run: Run, settings: TrainingSettings) -> dict[str, Path]:
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
    mask_of: Callable[[Item], Path | np.ndarray] | None = None,
    chances: np.ndarray | None = None,
) -> Any:
    """Train an objective's networks on ``items`` and return its product in eval mode, whatever the stage.

    With several processes all train it and all have it; what comes of it is for the first one to write.

    ``mask_of`` is as for ``TrainingViews``, ``chances`` as for ``Order``.

    A checkpoint is resumed only if it is of the artefact that is to be made: of the same identity, that is.
    """
    views = TrainingViews(items, classes, run.settings, run.args.seed, mask_of)
    trainer = Trainer(objective, views, run.settings, run, device, chances)
    if run.team.rank == 0:
        if run.settings.pretrained is True and "warm_start" not in run.inputs:
            run.tell(hub_weights=hub_weights(objective.networks[objective.product]))
        where = f"{device} in {str(trainer.type).removeprefix('torch.')}"
        spread = f" by {trainer.ranks} processes" if trainer.ranks > 1 else ""
        say(f"{len(items)} images, {trainer.micro_steps} steps on {where}{spread}")
    return trainer.train()
