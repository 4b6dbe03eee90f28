"""Searches: small segmentation networks that explain as a trained one does. They feed no other stage unless a recipe of
``segmenters`` asks for what was found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Fraction, Positive, Ref, ScatteredSettings, Settings, as_list, as_tuple
from wsss.settings.explaining import explainer_options
from wsss.settings.segmenters import Architecture, unfit_channels

Strides = tuple[Literal[8, 16, 32], ...]
STRIDES: dict[str, Strides] = {"deeplabv3plus": (8, 16), "deeplabv3": (8, 16), "pan": (16, 32)}
"""Output strides that an architecture can have; those that are not named have 32."""
DILATED = ("deeplabv3plus", "deeplabv3")
"""Architectures with an ASPP, and so with atrous rates."""
Explaining = Literal["seg-hires-grad-cam", "seg-grad-cam", "gradient", "smooth-grad", "seg-ablation-cam"]
Fitness = Literal["explanation", "loss", "agreement", "params", "random"]
FITNESS = ("explanation", "loss", "agreement", "params", "random")


def as_tuples(value: Any) -> Any:
    """A list of lists as a tuple of tuples."""
    return tuple(as_tuple(one) for one in value) if isinstance(value, list | tuple) else value


class SearchSpace(Settings):
    """What may differ between the networks: the genes, and the values that each may have."""

    architecture: Annotated[tuple[Architecture, ...], BeforeValidator(as_list), Field(min_length=1)] = (
        "deeplabv3plus", "fpn", "unet", "pan",
    )  # fmt: skip
    """Decoders."""
    backbone: Annotated[dict[str, bool | str], Field(min_length=1)] = {
        "mobilenetv2_050": False,
        "mobilenetv2_100": False,
    }
    """timm names, each with its weights as in ``pretrained``. Widths and depths are those that timm has variants of
    (mobilenetv2_050, mobilenetv2_110d, resnet10t, resnet18). Trained and random ones beside each other decide
    everything else: a warning says so."""
    output_stride: Annotated[Strides, BeforeValidator(as_tuple), Field(min_length=1)] = (8, 16, 32)
    """Of the encoder, where the architecture has a choice: the DeepLabs 8 or 16, PAN 16 or 32, the others 32."""
    atrous_rates: Annotated[
        tuple[tuple[Count, Count, Count], ...], BeforeValidator(as_tuples), Field(min_length=1)
    ] = ((6, 12, 18),)  # fmt: skip
    """Dilations of the ASPP, for the DeepLabs."""
    width: Annotated[
        tuple[Annotated[int, Field(ge=16, multiple_of=16)] | None, ...], BeforeValidator(as_tuple), Field(min_length=1)
    ] = (None,)  # fmt: skip
    """Channels of the decoder, as in ``decoder_channels``; null: the architecture's own."""


class SearchBudget(Settings):
    """What a network may cost; one that costs more is never trained."""

    params: Positive | None = None
    """Million parameters; null: any number."""
    macs: Positive | None = None
    """Billion multiply-adds for an image of ``size``; null: any number."""


class SearchSettings(ScatteredSettings):
    """An evolutionary search for a small network whose explanations are those of a trained one, beside searches by
    simpler measures, which it has to beat."""

    teacher: Annotated[str, Ref("segmenters")]
    """The trained network. Its predictions are what candidates learn for a while; no mask is looked at."""
    space: SearchSpace = SearchSpace()
    """The networks that there are."""
    budget: SearchBudget = SearchBudget()
    """What they may cost."""
    size: Annotated[int, Field(ge=32, le=2048)] = 224
    """Longest side in pixels of the images that are explained (larger ones are reduced to it), and side of the square
    that multiply-adds are counted for."""
    explainer: Explaining = "seg-hires-grad-cam"
    """What makes the maps that are compared."""
    explainer_options: dict[str, Any] = {}
    """Its options by name, as in ``{n: 8}`` for smooth-grad."""
    similarity: Literal["euclidean", "published", "cosine", "pearson"] = "euclidean"
    """``euclidean``: one over the mean distance of maps of length 1; ``published``: mean of one over the distance,
    which the nearest map decides alone; ``cosine`` and ``pearson``: mean over the maps."""
    grid: Annotated[int, Field(ge=4, le=256)] = 32
    """Cells a side that maps are compared at."""
    images: Count = 48
    """Training images that are explained, evenly spaced."""
    classes_an_image: Count = 2
    """Classes explained in each: those with the most pixels in the teacher's prediction."""
    background: bool = False
    """Whether the background counts as a class there."""
    population: Annotated[int, Field(ge=2)] = 8
    """Networks that are kept; so many are drawn at the start."""
    iterations: Annotated[int, Field(ge=0)] = 24
    """Networks that are bred after that."""
    offspring: Count = 1
    """Of these, how many at a time, from the same population: so many jobs can work side by side."""
    tournament: Count = 1
    """Networks drawn from the population, the best of which is a parent; 1: any (Zen-NAS)."""
    crossover: Fraction = 0.0
    """Chance that a child has two parents, and each gene from either, before one is changed."""
    random_search: bool = True
    """Also evaluate as many networks drawn at random, and say what the best of those is worth."""
    warm_steps: Annotated[int, Field(ge=0)] = 60
    """Steps that each network is trained for, with the teacher's recipe; 0: judged untrained, which for Grad-CAM is
    noise."""
    batch_size: Count = 16
    """Images of such a step."""
    repeats: Count = 1
    """Initialisations of each network, whose figures are averaged."""
    fitness: Fitness = "explanation"
    """What a network is chosen by. The controls: ``loss``, minus the cross entropy with the teacher's predictions after
    those steps; ``agreement``, mIoU with them; ``params``, their number; ``random``."""

    @model_validator(mode="after")
    def _fits(self) -> SearchSettings:
        from wsss.text import listed, nearest  # which reads settings itself

        known = explainer_options(self.explainer)
        for name in self.explainer_options:
            if name not in known:
                near = nearest(name, known)
                raise ValueError(f"{self.explainer} has no option {name!r}{near} (allowed: {listed(known) or 'none'})")
        for name in self.space.architecture:
            possible = STRIDES.get(name, (32,))
            if name in STRIDES and not set(possible) & set(self.space.output_stride):
                raise ValueError(
                    f"'space' has {name}, whose output_stride is {listed(map(str, possible))}; add one to "
                    "'space.output_stride'"
                )
            for width in self.space.width:
                if (problem := unfit_channels(name, width)) is not None:
                    raise ValueError(f"'space.width': {problem}")
        for key in ("architecture", "output_stride", "atrous_rates", "width"):
            values = getattr(self.space, key)
            if len(set(values)) < len(values):
                raise ValueError(f"'space.{key}' names a value twice")
        return self
