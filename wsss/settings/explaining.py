"""Explanations: which explainer, with which options, and how its maps are measured."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Ref, ScatteredSettings, Settings, Split, as_list

METHODS = Path(__file__).resolve().parents[1] / "explain" / "methods"
"""One file per explainer."""
SEEDS = "wsss.explain.seeds"
"""The module by which explainers make maps for the chain."""
LIBRARIES = ("captum", "pgc", "torchcam")
"""Others are called ``external:LIBRARY:NAME``."""


@cache
def explainers() -> tuple[str, ...]:
    """Names of the explainers of classifiers, read from the folder: importing them would import torch."""
    found = (path.stem.replace("_", "-") for path in METHODS.glob("*.py"))
    return tuple(sorted(name for name in found if not name.startswith(("-", "seg-"))))


def explained_by(explainer: str, options: dict[str, Any]) -> tuple[str, ...]:
    """The modules that make maps by an explainer. They are looked up by name, so hashes of code have to be told."""
    found = [SEEDS]
    for name in filter(None, (explainer, options.get("base"))):
        external = name.startswith("external:")
        found.append("wsss.explain.external" if external else f"wsss.explain.methods.{name.replace('-', '_')}")
    return tuple(found)


@cache
def explainer_options(name: str) -> tuple[str, ...]:
    """Options of an explainer: the fields of its class."""
    tree = ast.parse((METHODS / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
    (method,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")
    return tuple(
        node.target.id
        for node in method.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
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

        name = self.explainer
        if name.startswith("external:"):
            library, _, method = name.removeprefix("external:").partition(":")
            if library not in LIBRARIES or not method:
                known = " or ".join(f"external:{each}:NAME" for each in LIBRARIES)
                raise ValueError(f"explainer {name!r}: explainers of other libraries are called {known}")
            return self
        if name not in explainers():
            near = nearest(name, explainers())
            raise ValueError(f"unknown explainer {name!r}{near} (allowed: {listed(explainers())})")
        allowed = explainer_options(name)
        for key in self.explainer_options:
            if key not in allowed:
                near = nearest(key, allowed)
                raise ValueError(f"{name} has no option {key!r}{near} (allowed: {listed(allowed)})")
        return self


class ExplanationSettings(ExplainedSettings, ScatteredSettings):
    """Explanations of a classifier's decisions, measured: raw maps, metrics, pictures. They feed no other stage."""

    classifier: Annotated[str, Ref("classifiers")]
    """The classifier that is explained."""
    policy: Literal["gt", "pred", "gt_and_pred", "gt_or_pred"] = "pred"
    """Which classes of an image are explained, and considered present: its tags, or those predicted with p > 0.5 (the
    protocol of the MinMax-CAM papers)."""
    split: Split = "val"
    """Which images are explained."""
    images: Count | None = None
    """How many of them, evenly spaced over the split; null: all."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels; larger images are reduced to it."""
    fill: Literal["black", "white", "gray", "mean", "image_mean", "noise", "blur"] = "mean"
    """What stands where a map is 0, while the confidence of what the map keeps is measured."""
    curves: bool = False
    """Also areas under deletion and insertion curves, beside those of random maps: 168 more passes an explained class
    with 20 steps."""
    curve_steps: Count = 20
    """Points of a curve besides the first."""
    road: Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], BeforeValidator(as_list)] = ()
    """Percentiles of ROAD (slow; needs wsss[gradcam]); empty: none."""
    calibration_images: Annotated[int, Field(ge=0)] = 20
    """Masks of the training split that the threshold of the seeds' mIoU is chosen on; 0, or no masks: no mIoU."""
    pictures: Annotated[int, Field(ge=0, le=1000)] = 12
    """Images to picture, those with most explained classes first."""
