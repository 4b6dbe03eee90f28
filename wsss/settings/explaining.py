"""Explanations: which explainer, with which options, and how its maps are measured."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Fraction, Names, Neutral, Ref, ScatteredSettings, Settings, Split, as_list

METHODS = Path(__file__).resolve().parents[1] / "explain" / "methods"
"""One file per explainer."""
PACKAGE = "wsss.explain.methods"
SEEDS = "wsss.explain.seeds"
"""The module by which explainers make maps for the chain."""
OF_CLASSES = ("cam", "d-minmax-cam", "d-minmax-grad-cam", "minmax-cam", "minmax-grad-cam")
"""Explainers that read the weights of a classifier's head, or contrast the classes of an image."""
OF_REGIONS = "seg-"
"""Begins the names of explainers of segmentation networks alone."""
USUAL_OF_REGIONS = "seg-hires-grad-cam"
"""What explains a segmentation network unless another is named: of 47 regions of 24 generated scenes its maximum lay
within 8 pixels of the object in 98 %, that of seg-grad-cam in 79 %."""
Fill = Literal["black", "white", "gray", "mean", "image_mean", "noise", "blur"]
"""What stands for pixels that are taken away (``wsss.explain.fills``)."""
REGIONS = Literal["predicted", "confident", "given", "largest", "smallest", "pixel", "box", "image"]
"""Which pixels stand for a class of a segmentation network (``wsss.explain.regions``)."""
LIBRARIES = ("captum", "pgc", "torchcam")
"""Others are called ``external:LIBRARY:NAME``."""


@cache
def explainers(regions: bool = False) -> tuple[str, ...]:
    """Names of the explainers of classifiers, or of ``regions`` of segmentation networks, read from the folder:
    importing them would import torch."""
    found = sorted(path.stem.replace("_", "-") for path in METHODS.glob("[!_]*.py"))
    if regions:
        return tuple(name for name in found if name not in OF_CLASSES)
    return tuple(name for name in found if not name.startswith(OF_REGIONS))


def unusable(explainer: str, regions: bool = False) -> str | None:
    """Why an explainer cannot be used on a classifier (or on regions of a segmentation network), and what to take; None
    where it can."""
    from wsss.text import listed, nearest  # which reads settings itself

    if explainer.startswith("external:"):
        library, _, method = explainer.removeprefix("external:").partition(":")
        if library in LIBRARIES and method:
            return None
        known = " or ".join(f"external:{each}:NAME" for each in LIBRARIES)
        return f"explainer {explainer!r}: explainers of other libraries are called {known}"
    allowed = explainers(regions)
    if explainer in allowed:
        return None
    if not regions and explainer in explainers(True):
        return (
            f"explainer {explainer!r} is for regions of segmentation networks; a classifier has the same without them: "
            "grad-cam, hires-cam, ablation-cam"
        )
    if regions and explainer in explainers():
        return (
            f"explainer {explainer!r} is for classifiers: it reads the weights of their head, or contrasts their "
            f"classes; segmentation networks have {listed(allowed)}"
        )
    return f"unknown explainer {explainer!r}{nearest(explainer, allowed)} (allowed: {listed(allowed)})"


def explained_by(explainer: str, options: dict[str, Any]) -> tuple[str, ...]:
    """The modules that make maps by an explainer. They are looked up by name, so hashes of code have to be told."""
    found = [SEEDS]
    for name in filter(None, (explainer, options.get("base"))):
        if name.startswith("external:"):
            found.append("wsss.explain.external")
        else:
            found += [f"{PACKAGE}.{module}" for module in (name.replace("-", "_"), *_variant_of(name))]
    return tuple(found)


@cache
def explainer_options(name: str) -> tuple[str, ...]:
    """Options of an explainer: the fields of its class, those that it has from another explainer first."""
    fields = (
        node.target.id
        for node in _class_of(name)[1].body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
    )
    return tuple(dict.fromkeys([*(each for other in _variant_of(name) for each in explainer_options(other)), *fields]))


def _class_of(name: str) -> tuple[ast.Module, ast.ClassDef]:
    """The module of an explainer, and the class in it."""
    file = METHODS / f"{name.replace('-', '_')}.py"
    if not file.is_file():
        return ast.Module([], []), ast.ClassDef("", [], [], [], [])
    tree = ast.parse(file.read_text(encoding="utf-8"))
    (method,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")
    return tree, method


def _variant_of(name: str) -> tuple[str, ...]:
    """Modules of the explainers that an explainer is a subclass of."""
    tree, method = _class_of(name)
    bases = {base.id for base in method.bases if isinstance(base, ast.Name)}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return tuple(
        str(node.module).rpartition(".")[2]
        for node in imports
        if str(node.module).startswith(f"{PACKAGE}.") and bases & {alias.name for alias in node.names}
    )


class ExplainedSettings(Settings):
    """Which explainer looks into a classifier."""

    explainer: str = "cam"
    """What makes the maps: a file of ``wsss/explain/methods`` (cam, grad-cam, hires-cam, grad-cam-plus-plus, score-cam,
    ablation-cam, minmax-cam, d-minmax-cam, ...), or ``external:captum:NAME``,
    ``external:pgc:NAME`` (pytorch-grad-cam) and ``external:torchcam:NAME``."""
    explainer_options: dict[str, Any] = {}
    """Options of the explainer by name, as in ``{top_channels: 64}`` for score-cam."""

    @model_validator(mode="after")
    def _known(self) -> ExplainedSettings:
        from wsss.text import listed, nearest  # which reads settings itself

        if problem := unusable(self.explainer, self.of_regions):
            raise ValueError(problem)
        if self.explainer.startswith("external:"):
            return self
        allowed = explainer_options(self.explainer)
        for key in self.explainer_options:
            if key not in allowed:
                near = nearest(key, allowed)
                raise ValueError(f"{self.explainer} has no option {key!r}{near} (allowed: {listed(allowed)})")
        return self

    @property
    def of_regions(self) -> bool:
        """Whether regions of a segmentation network are explained, and not classes of a classifier."""
        return False


class ExplanationSettings(ExplainedSettings, ScatteredSettings):
    """Explanations of a classifier's decisions, or of regions that a segmentation network predicts, measured: raw maps,
    metrics, pictures. They feed no other stage.

    Of a segmentation network each class of an image is one row, and what is explained is the sum of the class's scores
    over a region."""

    classifier: Annotated[str, Ref("classifiers")] | None = None
    """The classifier that is explained; this or ``segmenter``."""
    segmenter: Annotated[Annotated[str, Ref("segmenters")] | None, Neutral(None)] = None
    """The segmentation network that is explained. Its default explainer is ``seg-hires-grad-cam``; ``seg-grad-cam`` is
    no local explanation (on the generated scenes its maximum lies on the object less often)."""
    region: Annotated[REGIONS, Neutral("predicted")] = "predicted"
    """Of a segmentation network: over which pixels a class's scores are added up. ``predicted``: where it is predicted;
    ``confident``: and has a probability of at least 0.5; ``largest``, ``smallest``: that connected part of it;
    ``given``: where the ground-truth mask has it (images without one are left out); ``pixel``, ``box``: ``at``;
    ``image``: all."""
    at: Annotated[tuple[Fraction, ...], BeforeValidator(as_list), Neutral(())] = ()
    """The place of ``region: pixel`` (y, x) or ``box`` (top, left, bottom, right), as shares of height and width."""
    classes: Annotated[Annotated[Names, Field(min_length=1)] | None, Neutral(None)] = None
    """Of a segmentation network: names of the classes to explain in every image; null: those predicted there (within
    the place of ``pixel`` and ``box``; with ``given``, those of the ground truth)."""
    policy: Literal["gt", "pred", "gt_and_pred", "gt_or_pred"] = "pred"
    """Which classes of an image a classifier is asked about, and which are considered present: its tags, or those
    predicted with p > 0.5 (the protocol of the MinMax-CAM papers)."""
    split: Split = "val"
    """Which images are explained."""
    images: Count | None = None
    """How many of them, evenly spaced over the split; null: all."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels; larger images are reduced to it."""
    fill: Fill = "mean"
    """What stands where a map is 0, while the confidence of what the map keeps is measured (of classifiers)."""
    curves: bool = False
    """Also areas under deletion and insertion curves, beside those of random maps: 168 more passes an explained class
    with 20 steps and two fills."""
    curve_steps: Count = 20
    """Points of a curve besides the first."""
    curve_fills: Annotated[
        tuple[Fill, ...],
        BeforeValidator(as_list),
        Field(min_length=1),
        Neutral(("mean", "blur")),
    ] = ("mean", "blur")
    """What stands for pixels that are deleted, or not yet inserted: two curves each. What a curve says depends on it,
    so with several their spread is told, too."""
    road: Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], BeforeValidator(as_list)] = ()
    """Percentiles of ROAD (slow; needs wsss[gradcam]); empty: none."""
    calibration_images: Annotated[int, Field(ge=0)] = 20
    """Masks of the training split that the threshold of the seeds' mIoU is chosen on; 0, or no masks: no mIoU. Maps of
    segmentation networks are no seeds, so for them there is none either."""
    weights: Annotated[bool, Neutral(False)] = False
    """Also how alike the weights of a classifier's classes are: the mean size of their correlations, which kernel usage
    regularisation is to bring down."""
    pictures: Annotated[int, Field(ge=0, le=1000)] = 12
    """Images to picture, those with most explained classes first."""

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, values: Any) -> Any:
        """A segmentation network's explainer where none is named."""
        if isinstance(values, dict) and values.get("segmenter") is not None:
            return {"explainer": USUAL_OF_REGIONS, **values}
        return values

    @model_validator(mode="after")
    def _one_network(self) -> ExplanationSettings:
        if (self.classifier is None) == (self.segmenter is None):
            raise ValueError("name what is explained: either 'classifier: NAME' or 'segmenter: NAME'")
        if self.segmenter is None:
            for name in ("region", "at", "classes"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name!r} is for segmentation networks; name a segmenter, or leave it out")
        elif self.policy != "pred" or self.fill != "mean" or self.weights:
            raise ValueError(
                "'policy', 'fill' and 'weights' are for classifiers; a segmentation network has 'region', 'classes' "
                "and 'curve_fills'"
            )
        numbers = {"pixel": 2, "box": 4}.get(self.region, 0)
        if len(self.at) != numbers:
            raise ValueError(
                f"region {self.region!r} needs {numbers or 'no'} numbers in 'at', and there are {len(self.at)}"
            )
        if self.region == "box" and not (self.at[0] < self.at[2] and self.at[1] < self.at[3]):
            raise ValueError(f"at {list(self.at)}: a box is top, left, bottom, right; give it some height and width")
        return self

    @property
    def of_regions(self) -> bool:
        return self.segmenter is not None
