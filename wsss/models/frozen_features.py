"""Features of a frozen network on a grid, as the settings of whatever compares them say."""

from __future__ import annotations

from pathlib import Path

from wsss.models.encoder import create_encoder, take_backbone
from wsss.models.patch_features import PatchFeatures
from wsss.models.stage_features import StageFeatures
from wsss.settings import FeatureSettings

FrozenFeatures = StageFeatures | PatchFeatures
"""Normalised images (B, 3, H, W) -> features float32 (B, D, h, w), such that the dot product of two cells is the
cosine that is meant. ``grid_stride`` and ``round_to`` tell what the cells cover."""


def frozen_features(settings: FeatureSettings, warm_start: Path | None = None) -> FrozenFeatures:
    """The network, with the weights that the settings say, or with the backbone of a classifier's folder.

    Raises:
        WsssError: Unknown name, stages or tokens that this network does not offer, or weights that are missing or do
            not fit.
    """
    s = settings
    if s.features != "stages":
        return PatchFeatures(s.backbone, s.pretrained, keys=s.features == "keys")
    encoder = create_encoder(s.backbone, s.output_stride, s.pretrained if warm_start is None else False)
    if warm_start is not None:
        take_backbone(encoder, warm_start)
    return StageFeatures(encoder, s.stages, s.grid_stride)
