"""Saliency networks: PoolNet, or an architecture of segmentation-models-pytorch with one output; and the files of all
that tells saliency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import Trainable
from wsss.models.disentangler import Disentangled, Disentangler
from wsss.models.encoder import take_backbone
from wsss.models.frozen_features import frozen_features
from wsss.models.poolnet import PoolNet
from wsss.models.segmenter import Segmenter, load_encoder, say_unused_stride
from wsss.models.token_cut import VERSION, TokenCut
from wsss.settings import SaliencyNetSettings, SaliencySettings, TokenCutSettings
from wsss.store.manifest import read_manifest
from wsss.store.weights import load_weights, save_weights

FINE_STRIDE = 4
"""Pixels a side that share a stored value, for networks that answer at the size of the image."""


def build_saliency_net(settings: SaliencyNetSettings, warm_start: Path | None = None) -> Trainable:
    """A network that gives logits (B, 1, H, W), with the encoder weights that the settings say, or with the backbone of
    a classifier's folder."""
    s = settings
    pretrained = s.pretrained if warm_start is None else False
    network: PoolNet | Segmenter
    if s.architecture == "poolnet":
        network = PoolNet(s.backbone, s.output_stride, pretrained)
        encoder = network.encoder
    else:
        say_unused_stride(s.architecture, s.output_stride)
        network = Segmenter(s.architecture, s.backbone, 1, s.output_stride, pretrained=pretrained is True)
        encoder = network.encoder()
        if isinstance(pretrained, str):
            load_encoder(network, pretrained)
    if warm_start is not None:
        take_backbone(encoder, warm_start)
    return network


class Oriented(nn.Module):
    """A disentangler whose logits (B, 1, h, w) are positive on the foreground: P, or -P where it was ``inverted``."""

    def __init__(self, network: Disentangler, inverted: bool) -> None:
        super().__init__()
        self.network, self.inverted = network, inverted

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen: Disentangled = self.network(images)
        return -seen.logits if self.inverted else seen.logits


def save_saliency(
    folder: Path, network: nn.Module, settings: SaliencySettings | TokenCutSettings, inverted: bool = False
) -> None:
    """Write the weights of a network, and what ``load_saliency`` has to know of it. ``inverted``: the foreground of a
    disentangler is where its logits are negative."""
    about: dict[str, Any] = {"backbone": settings.backbone, "output_stride": settings.output_stride}
    if isinstance(settings, TokenCutSettings):
        # the version is of what the maps are made with: another one makes other maps of the same weights
        about |= {"kind": "token-cut", "version": VERSION}
        about |= {name: getattr(settings, name) for name in ("features", "stages", "grid_stride", "threshold")}
    elif isinstance(settings, SaliencyNetSettings):
        about |= {"kind": "saliency-net", "architecture": settings.architecture}
    else:
        about |= {"kind": "disentangler", "inverted": inverted}
    save_weights(folder / "model.safetensors", network.state_dict(), about)


def load_saliency(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network that maps normalised images (B, 3, H, W) to logits (B, 1, h, w), positive on the foreground.

    Returns:
        The network, and what its file says of it: ``kind`` (``disentangler``, ``saliency-net`` or ``token-cut``),
        ``backbone``, ``output_stride``, ``architecture``, ``inverted`` or the settings of the cut, and ``grid``: pixels
        a cell, and what the cells cover (``round_to`` of ``wsss.store.views.decode_full``).

    Raises:
        WsssError: The folder is not whole, or its file holds something else.
    """
    read_manifest(folder)
    path = folder / "model.safetensors"
    weights, about = load_weights(path)
    kind = about.get("kind")
    if kind == "disentangler":
        network: nn.Module = Disentangler(about["backbone"], about["output_stride"])
    elif kind == "saliency-net" and about["architecture"] == "poolnet":
        network = PoolNet(about["backbone"], about["output_stride"])
    elif kind == "saliency-net":
        network = Segmenter(about["architecture"], about["backbone"], 1, about["output_stride"])
    elif kind == "token-cut":
        given = {name: about[name] for name in ("backbone", "output_stride", "features", "stages", "grid_stride")}
        cut = TokenCutSettings.read({**given, "threshold": about["threshold"], "pretrained": False})
        network = TokenCut(frozen_features(cut), cut.threshold)
    else:
        raise WsssError(f"{path}: these are no weights of a saliency network but of {kind or 'something unknown'}")
    network.load_state_dict(weights)
    stride = about["output_stride"]
    about["grid"] = stride, stride
    if isinstance(network, TokenCut):
        about["grid"] = network.features.grid_stride, network.features.round_to
    elif kind == "saliency-net":
        about["grid"] = FINE_STRIDE, FINE_STRIDE
    return (Oriented(network, about["inverted"]) if isinstance(network, Disentangler) else network), about
