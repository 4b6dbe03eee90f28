"""Audits: whether explanations of a network can be steered by changes that nobody sees. Defensive, and off by default:
an audit needs a network and images of one's own, and feeds no other stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from wsss.settings.base import (
    Count,
    Fraction,
    Names,
    NonNegative,
    Number,
    Positive,
    Ref,
    ScatteredSettings,
    Settings,
    Split,
)
from wsss.settings.explaining import explainer_options

OF_CLASSIFIERS = ("cam", "minmax-cam", "grad-cam", "hires-cam", "gradient", "gradient-x-input", "smooth-grad")
OF_SEGMENTERS = ("seg-grad-cam", "seg-hires-grad-cam", "gradient", "gradient-x-input", "smooth-grad")
Audited = Literal[
    "cam", "minmax-cam", "grad-cam", "hires-cam", "gradient", "gradient-x-input", "smooth-grad", "seg-grad-cam",
    "seg-hires-grad-cam",
]  # fmt: skip
"""Explainers whose maps have derivatives; those made of perturbations have none."""
Goal = Literal["box", "other-image", "inverted", "uniform", "top-k", "centre", "output"]


class AuditWeights(Settings):
    """What the terms of the attack's loss weigh."""

    noise: NonNegative = 0.1
    """Mean square of the perturbation, in units of eps."""
    output: NonNegative = 10.0
    """Divergence of the network's output from that for the clean image, per pixel or per class."""
    map: NonNegative = 1.0
    """Distance of the map from what it is to become."""


class Softening(Settings):
    """ReLUs as softplus while an attack is computed, since they have no second derivative. Beta grows from ``start``
    to ``end``: it is start (end/start)^(i / (share steps)) at step i."""

    start: Positive = 10.0
    """Softest."""
    end: Positive = 100.0
    """Nearly a ReLU."""
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Share of the steps after which ``end`` is reached."""


class AuditSettings(ScatteredSettings):
    """An attack on a network's explanations, measured beside noise of equal size: success, fragility, detection.

    Defensive: it says whether the explanations of your own network can be trusted."""

    classifier: Annotated[str, Ref("classifiers")] | None = None
    """The network that is audited; this or ``segmenter``."""
    segmenter: Annotated[str, Ref("segmenters")] | None = None
    """The network that is audited; this or ``classifier``."""
    explainer: Audited = "gradient"
    """What makes the maps: for classifiers cam, minmax-cam, grad-cam, hires-cam; for segmentation networks
    seg-grad-cam, seg-hires-grad-cam; for both gradient, gradient-x-input, smooth-grad."""
    explainer_options: dict[str, Any] = {}
    """Options of the explainer by name, as in ``{n: 8}`` for smooth-grad."""
    layers: Names = ()
    """Layers whose maps are averaged, for methods that look at one (a robust variant); empty: the usual one."""
    smooth_beta: Positive | None = None
    """Explain with ReLUs as softplus of this beta, before and after the attack (a robust variant: 5); null: with the
    network as it is."""
    goal: Goal = "box"
    """What the map is to become: high in a box in the far corner, that of another image, inverted, uniform; or without
    its highest tenth (top-k), or with another centre of mass. ``output``: the prediction is attacked instead."""
    eps: Annotated[tuple[Annotated[Number, Field(gt=0, le=64)], ...], Field(min_length=1)] = (2.0, 4.0, 8.0)
    """Largest change of a colour, in 255ths; an attack for each."""
    steps: Count = 100
    """Steps of an attack, each about seven forward passes."""
    step_size: Positive | None = None
    """Largest change of a colour in a step, in 255ths; null: 2.5 eps / steps."""
    optimizer: Literal["sign", "adam"] = "sign"
    """How a step follows from the gradient: its sign, or Adam."""
    weights: AuditWeights = AuditWeights()
    """Of the terms of the loss."""
    beta: Softening | None = Softening()
    """ReLUs as softplus while the attack is computed; null: as they are, which leaves gradient methods without a
    derivative. Success is always judged with the network as it is."""
    grid: Annotated[int, Field(ge=4, le=256)] = 32
    """Cells a side that maps are compared at."""
    images: Count | None = 24
    """Images attacked, evenly spaced over the split; null: all."""
    split: Split = "val"
    """Which images are attacked."""
    max_side: Annotated[int, Field(ge=32)] = 512
    """Longest side in pixels; larger images are reduced to it."""
    agreement_slack: Fraction = 0.005
    """How much less than the noise control an attack may agree with the clean prediction to count as hidden."""
    keep_images: bool = False
    """Write the perturbed images (perturbed.h5)."""
    pictures: Annotated[int, Field(ge=0, le=1000)] = 6
    """Images to picture before and after."""
    detector: bool = False
    """Also try to detect attacks, by the maps and by the prediction alone; costs another attack on the output and one
    that knows of the detector, at the largest eps."""

    @model_validator(mode="after")
    def _fits(self) -> AuditSettings:
        from wsss.text import listed, nearest  # which reads settings itself

        if (self.classifier is None) == (self.segmenter is None):
            raise ValueError("name the network that is audited: either 'classifier: NAME' or 'segmenter: NAME'")
        allowed = OF_CLASSIFIERS if self.segmenter is None else OF_SEGMENTERS
        if self.explainer not in allowed:
            kind = "classifiers" if self.segmenter is None else "segmentation networks"
            raise ValueError(f"{self.explainer} does not explain {kind} (allowed: {listed(allowed)})")
        options = explainer_options(self.explainer)
        for key in self.explainer_options:
            if key not in options:
                near = nearest(key, options)
                raise ValueError(f"{self.explainer} has no option {key!r}{near} (allowed: {listed(options) or 'none'})")
        if self.layers and self.explainer in ("cam", "minmax-cam", "gradient", "gradient-x-input", "smooth-grad"):
            raise ValueError(f"{self.explainer} does not look at a layer of choice; leave 'layers' out")
        if self.beta is not None and self.beta.end < self.beta.start:
            raise ValueError("'beta' falls: 'end' must be at least 'start'")
        if len(set(self.eps)) < len(self.eps):
            raise ValueError("'eps' names a size twice")
        return self
