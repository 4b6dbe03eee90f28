"""What only shows where recipes meet: images that one has and the next one needs, and masks that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsss.settings import (
    KINDS,
    CamsSettings,
    ChoiceSettings,
    ContinualSettings,
    EnsembleSettings,
    ExplanationSettings,
    FolderSettings,
    GuidedSettings,
    MasksSettings,
    MemorySettings,
    SegmentationSettings,
    SegmenterMasksSettings,
    Settings,
)
from wsss.settings.fields import named, references
from wsss.text import listed

Recipes = dict[str, dict[str, Any]]
Path = tuple[str, ...]
Problem = tuple[Path, str]


def inconsistencies(recipes: Recipes, datasets: tuple[str, ...]) -> Iterator[Problem]:
    """Every such problem as (path, text); recipes that were refused on their own are not there.

    ``recipes``: kind -> name -> settings; ``datasets``: names of those that are run on.
    """
    blind = [d for d in datasets if isinstance(s := recipes["datasets"].get(d), FolderSettings) and s.masks is None]
    for kind in KINDS:
        for name, settings in recipes[kind].items():
            yield from uncovered(recipes, kind, name, settings)
            yield from unguided(recipes, kind, name, settings)
            yield from untaught(recipes, kind, name, settings)
            yield from unlearnt(recipes, kind, name, settings)
            yield from unlike(recipes, kind, name, settings)
            for path, value, _, remedy in looks_at_masks(kind, name, settings):
                for d in blind:
                    yield (
                        path,
                        f"{value!r} needs ground-truth masks, but datasets.{d} has none; "
                        f"set datasets.{d}.masks, or {remedy}",
                    )


def looks_at_masks(kind: str, name: str, settings: Settings) -> Iterator[tuple[Path, str | int, tuple[str, ...], str]]:
    """Where a recipe needs ground-truth masks: path, value, the maps that are compared with them, and what to do
    without."""
    if isinstance(settings, MasksSettings) and settings.threshold.looks_at_masks:
        if settings.saliency is None and settings.ignore is None:
            yield (kind, name, "threshold", "policy"), settings.threshold.policy, (settings.cams,), "use 'fixed'"
    if isinstance(settings, EnsembleSettings) and settings.rule == "calibrated":
        yield (kind, name, "rule"), settings.rule, settings.members, "use 'mean'"
    if isinstance(settings, ChoiceSettings) and settings.by == "masks":
        yield (kind, name, "by"), settings.by, (), "use 'agreement'"
    if getattr(settings, "supervision", None) == "masks" and kind == "segmenters":
        yield (kind, name, "supervision"), "masks", (), "leave this recipe out"
    if isinstance(settings, MemorySettings) and settings.supervision == "masks":
        yield (kind, name, "supervision"), "masks", (), "use 'pseudo'"
    if isinstance(settings, ExplanationSettings) and settings.region == "given":
        yield (kind, name, "region"), "given", (), "take another region"
    if isinstance(settings, GuidedSettings) and settings.gt_masks:
        yield (kind, name, "gt_masks"), settings.gt_masks, (), "set it to 0"


def unguided(recipes: Recipes, kind: str, name: str, settings: Settings) -> Iterator[Problem]:
    """Maps that are to be read as logits, of a classifier that has none of the background."""
    if isinstance(settings, SegmentationSettings) and settings.classifier is not None:
        key, of = "classifier", settings.classifier
        why, cure = "only heatmaps of the objective guided are trained as segmentation", "name a guided classifier"
    elif isinstance(settings, CamsSettings) and settings.normalise == "softmax":
        key, of = "normalise", settings.classifier
        why, cure = "'softmax' is for classifiers of the objective guided", "use 'class', or a guided classifier"
    else:
        return
    classifier = recipes["classifiers"].get(of)
    if classifier is not None and not isinstance(classifier, GuidedSettings):
        yield (kind, name, key), f"{why}, and classifiers.{of} is {classifier.objective!r}; {cure}"


def untaught(recipes: Recipes, kind: str, name: str, settings: Settings) -> Iterator[Problem]:
    """Probabilities that are to be learnt from, of masks that keep none."""
    if isinstance(settings, SegmentationSettings) and settings.soft_weight and settings.masks is not None:
        masks = recipes["masks"].get(settings.masks)
        if masks is None or getattr(masks, "keep_probabilities", False):
            return
        remedy = (
            f"set masks.{settings.masks}.keep_probabilities to true"
            if isinstance(masks, SegmenterMasksSettings)
            else "name masks of 'source: segmenter' with 'keep_probabilities: true'"
        )
        yield (
            (kind, name, "soft_weight"),
            f"{settings.soft_weight:g} learns from probabilities, and masks.{settings.masks} keeps none; {remedy}, or "
            "set soft_weight to 0",
        )


def unlearnt(recipes: Recipes, kind: str, name: str, settings: Settings) -> Iterator[Problem]:
    """Steps of learning after a network that knows all classes, or that learn a class again."""
    if not isinstance(settings, ContinualSettings) or settings.warm_start is None:
        return
    before, seen = set[str](), {name}
    of: str | None = settings.warm_start
    while of is not None and of not in seen:
        seen.add(of)
        step = recipes["segmenters"].get(of)
        if step is None:
            return
        if not isinstance(step, ContinualSettings) or step.classes is None:
            yield (
                (kind, name, "warm_start"),
                f"segmenters.{of} learns all classes at once, so there is none left to learn; name a network of "
                "'objective: continual' with 'classes'",
            )
            return
        before |= set(step.classes)
        of = step.warm_start
    if again := [one for one in settings.classes or () if one in before]:
        yield (kind, name, "classes"), f"{listed(again)} was learnt in a step before; name new classes"


def unlike(recipes: Recipes, kind: str, name: str, settings: Settings) -> Iterator[Problem]:
    """Classifiers that start from another's weights and see features in another way."""
    of: str | None = getattr(settings, "warm_start", None)
    if kind != "classifiers" or of is None or of not in recipes[kind]:
        return
    mine, theirs = getattr(settings, "features", "plain"), getattr(recipes[kind][of], "features", "plain")
    if mine != theirs:
        yield (
            (kind, name, "features"),
            f"{mine!r}, but it starts from classifiers.{of}, whose features are {theirs!r}; give both the same",
        )


def uncovered(recipes: Recipes, kind: str, name: str, settings: Settings) -> Iterator[Problem]:
    """What a recipe reads lacks images of its own splits, or those that it learns from or is calibrated on."""
    own = getattr(settings, "splits", None)
    if isinstance(settings, ChoiceSettings):  # compared on training images, whichever it passes on
        own = tuple(dict.fromkeys(("train", *settings.splits)))
    for key, target in references(type(settings)).items():
        for _, other in named(key, getattr(settings, key)):
            held = held_splits(recipes, target, other)
            if held is None or not (lacking := [split for split in own or ("train",) if split not in held]):
                continue
            block = f"{target}.{other}" + (".maps" if target == "saliency" else "")
            here = own and not isinstance(settings, ChoiceSettings)
            remedy = f"add {listed(lacking)} to {block}.splits" + (", or leave it out here" if here else "")
            yield (kind, name, "splits" if own else key), f"{block} holds images of {listed(held)} only; {remedy}"
    for path, value, maps, _ in looks_at_masks(kind, name, settings):
        for cams in maps:
            held = held_splits(recipes, "cams", cams)
            if held is not None and "train" not in held:
                text = (
                    f"{value!r} looks at maps of training images, but cams.{cams} holds images of {listed(held)} only"
                )
                yield path, f"{text}; add train there"


def held_splits(recipes: Recipes, kind: str, name: str) -> tuple[str, ...] | None:
    """The splits that an artefact holds images of; None where that is not for the recipe to say."""
    settings = recipes[kind].get(name)
    return getattr(getattr(settings, "maps", settings), "splits", None)
