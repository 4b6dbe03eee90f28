"""Training a classifier on images and their tags."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsss.data.few_masks import few_masks, masks_of
from wsss.data.index import Index, Item
from wsss.data.sampling import balanced_chances, class_counts, masked_chances
from wsss.evaluate.classification import classification_metrics, read_predictions
from wsss.inference.cams import tag_probabilities
from wsss.models.classifier import save_classifier
from wsss.objectives import find_learner
from wsss.objectives.base import Fitted, Objective
from wsss.runtime.run import Run
from wsss.settings import Classifier, ClassifierSettings, GuidedSettings, InferenceSettings, LinearSettings
from wsss.system.files import atomic_path
from wsss.system.log import log
from wsss.training.checkpoint import keep_product
from wsss.training.records import METRICS
from wsss.training.train import check_classes, given_classifiers, looked_at, prepare, tell_weights, train

PREDICTIONS = "predictions.csv"
CLEAR = 0.01
"""Differences of mAP below a point say nothing."""


def make(run: Run) -> None:
    """Train the classifier of ``run.settings``; write weights, metrics and tag probabilities of the validation images.

    Raises:
        WsssError: No labelled training image, fewer ground-truth masks than the recipe asks for, or a classifier that
            the objective needs was not given or has other classes.
    """
    settings: Classifier = run.settings
    index = Index.load(run.inputs["index"])
    items = index.training_items()
    given = given_classifiers(run, settings)
    for folder in given.values():
        check_classes(folder, index.classes)
    device = prepare(run)
    classes = len(index.classes)
    frequencies = torch.from_numpy(class_counts(items, classes) / len(items))
    learner = find_learner(settings.objective)(settings, classes, given, frequencies)
    if isinstance(settings, LinearSettings):
        assert isinstance(learner, Fitted)
        network = fitted(run, learner, items, device)
    else:
        assert isinstance(learner, Objective)
        network = trained(run, settings, learner, index, items, device)
    if run.world.rank:
        return
    save_classifier(run.out, network, settings, index.classes)
    validation = index.split("val")
    if validation:
        view = InferenceSettings(scales=(1.0,), flip=False, max_side=settings.validation_side)
        probabilities = tag_probabilities(network, validation, view, device, run.args.threads)
        with atomic_path(run.out / PREDICTIONS) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "split", *index.classes])
            for item, row in zip(validation, probabilities, strict=True):
                writer.writerow([item.id, item.split, *(f"{p:.9g}" for p in row)])
        if start := given.get("warm_start"):
            warn_if_worse(start, validation, probabilities, index.classes)
    keep_product(run)
    run.note(images=len(items), validation_images=len(validation))


def warn_if_worse(start: Path, items: list[Item], probabilities: np.ndarray, classes: tuple[str, ...]) -> None:
    """Say on stderr that a classifier knows the tags of the validation images less well than the one it started from.

    ``probabilities``: (N, C) of ``items``. Nothing is said where the two cannot be compared: no tag there, or a start
    that was not tried on these images.
    """
    before = read_predictions(start / PREDICTIONS, classes) if (start / PREDICTIONS).is_file() else {}
    found = before.get("val", {})
    if any(item.id not in found for item in items) or not any(item.labels for item in items):
        return
    truth = np.array([[c in item.labels for c in range(len(classes))] for item in items])
    known = np.stack([found[item.id] for item in items]), probabilities
    was, now = (classification_metrics(truth, one, classes)["map"] for one in known)
    if now < was - CLEAR:
        log.warning(
            f"worse than what it started from: mAP {100 * now:.1f} on {len(items)} validation images, {start.name} has "
            f"{100 * was:.1f}; a lower lr or fewer epochs keep more of it, or make the CAMs of {start.name}"
        )


def trained(
    run: Run,
    settings: ClassifierSettings,
    objective: Objective,
    index: Index,
    items: list[Item],
    device: torch.device,
) -> nn.Module:
    """What the engine makes of an objective on images and tags, and with few masks where the recipe wants that."""
    classes = len(index.classes)
    chances = balanced_chances(items, classes) if settings.sampling == "balanced" else None
    mask_of = None
    if isinstance(settings, GuidedSettings) and settings.gt_masks:
        shown = looked_at(run, few_masks(index, settings.gt_masks, run.args.seed), settings.gt_masks)
        mask_of = masks_of(shown)
        if settings.masked_share is not None:
            ids = {item.id for item in shown}
            chances = masked_chances(np.array([item.id in ids for item in items]), settings.masked_share, chances)
    return objective.kept(train(run, objective, items, classes, device, mask_of, chances))


def fitted(run: Run, learner: Fitted, items: list[Item], device: torch.device) -> nn.Module:
    """What is fitted at once, without checkpoints: a fit that is killed begins anew."""
    if run.settings.pretrained is True and "warm_start" not in run.inputs:
        tell_weights(run, learner.network, run.settings.backbone)
    network, losses = learner.fit(items, device, run.args.threads, run.check_stop)
    lines = [json.dumps({"step": n, "epoch": n, "loss": round(loss, 6)}) for n, loss in enumerate(losses)]
    if run.world.rank == 0:
        with atomic_path(run.out / METRICS) as path:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return network
