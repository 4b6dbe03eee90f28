"""Backbones as encoders: the maps of all their stages, from fine to coarse."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import timm
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import OWN, check_name, create_own, load_pretrained
from wsss.models.hub import hub_options
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.resnest import dilate_as_published
from wsss.models.wide_encoder import WideEncoder
from wsss.store.weights import load_weights

UNUSED = ("conv_head.", "bn2.", "norm.", "final_norm.", "fc_norm.", "head_dist.")
"""Layers of ImageNet networks after the last stage: an encoder stops before them."""


def create_encoder(name: str, output_stride: int, pretrained: bool | str) -> nn.Module:
    """A network whose forward pass gives a list of maps (B, C_k, h_k, w_k), one per stage.

    ``stages_of`` says what they are. Transformers give the token grids of their last blocks, for images of any size.

    Args:
        name: timm name, or ``wide_resnet38d``.
        output_stride: Input pixels a cell of the last map.
        pretrained: As in ``NetworkSettings``.

    Raises:
        WsssError: Unknown name, a stride or feature maps that this network does not offer, weights that do not fit or
            cannot be fetched.
    """
    if name in OWN:
        own = create_own(name, output_stride, pretrained is True)
        if isinstance(pretrained, str):
            load_pretrained(own, name, pretrained)
        return WideEncoder(own)
    check_name(name)
    hub = pretrained is True
    weights = hub_options(name) if hub else {}
    try:
        try:
            encoder = timm.create_model(name, features_only=True, output_stride=output_stride, **weights)
        except TypeError:  # transformers have one stride, and want to be told that images vary
            free: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True}
            encoder = timm.create_model(name, features_only=True, **free, **weights)
    except (TypeError, AssertionError, NotImplementedError, AttributeError) as error:
        raise WsssError(
            f"backbone {name}: output stride {output_stride} or its stages' maps are not offered by this network "
            f"({error}); try 32 or another backbone"
        ) from error
    except Exception as error:  # the hub's clients raise many kinds
        if hub:
            raise WsssError(
                f"backbone {name}: its weights could not be fetched ({error}); "
                "give 'pretrained' the path of a local file, or false"
            ) from error
        raise
    stride = stages_of(encoder).strides[-1]
    if stride != output_stride:
        raise WsssError(f"backbone {name}: its stride is {stride}; set 'output_stride: {stride}'")
    dilate_as_published(encoder)
    if isinstance(pretrained, str):
        load_pretrained(encoder, name, pretrained, ignore=UNUSED)
    elif hub:
        take_imagenet_statistics(encoder, name)
    return encoder


class Stages(NamedTuple):
    """What the maps of an encoder are, from fine to coarse.

    Attributes:
        channels: Of every map.
        strides: Input pixels a cell of every map.
    """

    channels: list[int]
    strides: list[int]


def stages_of(encoder: nn.Module) -> Stages:
    """What an encoder of ``create_encoder`` says of its maps."""
    info: Any = encoder.feature_info
    return Stages(info.channels(), info.reduction())


def take_backbone(encoder: nn.Module, folder: Path) -> None:
    """Fill an encoder with the backbone of a trained classifier.

    Encoders that timm cuts out of a network call its layers a little differently (``stages_0`` for ``stages.0``,
    ``model.blocks`` for ``blocks``); layers behind the last stage are left out.

    Raises:
        WsssError: The classifier has another backbone.
    """

    def plain(name: str) -> str:
        return name.removeprefix("model.").replace(".", "_")

    weights, about = load_weights(folder / "model.safetensors")
    found = {plain(k.removeprefix("backbone.")): v for k, v in weights.items() if k.startswith("backbone.")}
    have = encoder.state_dict()
    unfit = [k for k, v in have.items() if plain(k) not in found or found[plain(k)].shape != v.shape]
    if unfit:
        raise WsssError(
            f"{folder}: the backbone of this classifier ({about.get('backbone')}) does not fit here (first: "
            f"{unfit[0]}); use the same 'backbone' in both recipes"
        )
    encoder.load_state_dict({k: found[plain(k)] for k in have})
