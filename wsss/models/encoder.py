"""Backbones as encoders: the maps of all their stages, from fine to coarse."""

from __future__ import annotations

import timm
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import check_name, load_pretrained

UNUSED = ("conv_head.", "bn2.", "norm.", "final_norm.", "fc_norm.", "head_dist.")
"""Layers of ImageNet networks after the last stage: an encoder stops before them."""


def create_encoder(name: str, output_stride: int, pretrained: bool | str) -> nn.Module:
    """A timm network whose forward pass gives a list of maps (B, C_k, h_k, w_k), one a stage.

    ``feature_info.channels()`` and ``.reduction()`` say what they are. Transformers give the token grids of their last
    blocks, for images of any size.

    Args:
        name: timm name.
        output_stride: Input pixels a cell of the last map.
        pretrained: As in ``NetworkSettings``.

    Raises:
        WsssError: Unknown name, a stride or feature maps that this network does not offer, weights that do not fit or
            cannot be fetched.
    """
    check_name(name)
    hub = pretrained is True
    try:
        try:
            encoder = timm.create_model(name, pretrained=hub, features_only=True, output_stride=output_stride)
        except TypeError:  # transformers have one stride, and want to be told that images vary
            free = {"dynamic_img_size": True, "dynamic_img_pad": True}
            encoder = timm.create_model(name, pretrained=hub, features_only=True, **free)
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
    stride = encoder.feature_info.reduction()[-1]
    if stride != output_stride:
        raise WsssError(f"backbone {name}: its stride is {stride}; set 'output_stride: {stride}'")
    if isinstance(pretrained, str):
        load_pretrained(encoder, pretrained, ignore=UNUSED)
    return encoder
