"""The edge network of IRN (Ahn et al. 2019) without its displacement branch: where do objects end?

A frozen backbone is read at all its stages; six 1x1 convolutions on top of it are all that is trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from wsss.models.backbone import Trainable
from wsss.models.encoder import create_encoder, stages_of, take_backbone
from wsss.settings import AffinitySettings
from wsss.store.manifest import read_manifest
from wsss.store.weights import load_weights, save_weights

STRIDE = 4
"""Input pixels a cell of the edge map."""
GROUPS = 4


class EdgeNetwork(Trainable):
    """One edge logit a cell of the stride-4 grid.

    Every stage's map goes through a 1x1 convolution without bias, group normalisation, bilinear growth to stride 4 and
    ReLU (a stem at stride 2 is first max-pooled, as a ResNet's own next layer does); the five together go through a
    1x1 convolution with bias. The backbone is always in evaluation mode and gets no gradient.

    Args:
        backbone: timm name.
        width: Channels of each reduced map, a multiple of 4.
        output_stride: Of the backbone's last stage.
        pretrained: As in ``NetworkSettings``.
    """

    def __init__(self, backbone: str, width: int = 32, output_stride: int = 16, pretrained: bool | str = False) -> None:
        super().__init__()
        self.encoder = create_encoder(backbone, output_stride, pretrained).requires_grad_(False)
        channels, self.strides = stages_of(self.encoder)
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.GroupNorm(GROUPS, width)) for c in channels
        )
        self.edge = nn.Conv2d(width * len(channels), 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, ceil(H/4), ceil(W/4)) of normalised images (B, 3, H, W)."""
        height, width = (-(-side // STRIDE) for side in images.shape[-2:])
        with torch.no_grad():
            stages = self.encoder(images)
        grown = []
        for stage, stride, layer in zip(stages, self.strides, self.reduce, strict=True):
            while stride < STRIDE:
                stage, stride = F.max_pool2d(stage, 3, 2, 1), stride * 2
            reduced = layer(stage.detach())
            if stride > STRIDE:
                reduced = F.interpolate(reduced, scale_factor=stride // STRIDE, mode="bilinear", align_corners=False)
            grown.append(F.relu(reduced[..., :height, :width]))
        logits: torch.Tensor = self.edge(torch.cat(grown, 1))
        return logits[:, 0]

    def train(self, mode: bool = True) -> EdgeNetwork:
        super().train(mode)
        self.encoder.eval()
        return self

    def is_new(self, name: str) -> bool:
        return not name.startswith("encoder.")


def build_edge_network(settings: AffinitySettings, warm_start: Path | None = None) -> EdgeNetwork:
    """An edge network on the backbone that the settings say.

    Args:
        settings: Backbone, width, weights.
        warm_start: Folder of a trained classifier whose backbone is frozen in place of ``settings.pretrained``.
    """
    pretrained = settings.pretrained if warm_start is None else False
    network = EdgeNetwork(settings.backbone, settings.width, settings.output_stride, pretrained)
    if warm_start is not None:
        take_backbone(network.encoder, warm_start)
    return network


def save_edge_network(folder: Path, network: nn.Module, settings: AffinitySettings) -> None:
    """Write the weights of a trained network, and what ``load_edge_network`` has to know of it."""
    about = {
        "kind": "affinity",
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "width": settings.width,
    }
    save_weights(folder / "model.safetensors", network.state_dict(), about)


def load_edge_network(folder: Path) -> EdgeNetwork:
    """A trained edge network in evaluation mode, from its artefact folder."""
    read_manifest(folder)
    weights, about = load_weights(folder / "model.safetensors")
    network = EdgeNetwork(about["backbone"], about["width"], about["output_stride"])
    network.load_state_dict(weights)
    return network.eval()
