"""The CAM classifier: a backbone, a 1x1 convolution, and global average pooling (Zhou et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import Trainable, channels_of, create_backbone, feature_maps, load_pretrained
from wsss.models.centred_features import CentredFeatures
from wsss.models.heatmaps import LAST, heatmaps
from wsss.models.kernel_usage import KernelUsageHead
from wsss.settings import Classifier as AnySettings
from wsss.settings import GuidedSettings
from wsss.store.manifest import read_manifest
from wsss.store.weights import load_weights, save_weights


class Classifier(Trainable):
    """Backbone and a 1x1 head: an ordinary one, or one with kernel usage regularisation; on the features as they are
    and without bias, or on centred ones and with it.

    The forward pass returns the raw class activation maps (B, C, h, w), unbounded and not rectified; their mean over
    the grid is the logit, since pooling and a 1x1 convolution commute.

    Args:
        heatmap_scale: The classifier is a guided one: it has one more row, for the background, and its heatmaps times
            this factor are logits of pixels. None: it has none.
        guidance_layer: Where its heatmaps are taken (``wsss.models.heatmaps``); None: that was not written down.
        features: ``centred``: the head sees them as ``wsss.models.centred_features`` describes.
    """

    def __init__(
        self,
        backbone: str,
        classes: int,
        output_stride: int = 16,
        pretrained: bool = False,
        head: Literal["linear", "kur"] = "linear",
        kur_alpha: float | None = None,
        heatmap_scale: float | None = None,
        guidance_layer: str | None = LAST,
        features: Literal["plain", "centred"] = "plain",
    ) -> None:
        super().__init__()
        self.backbone = create_backbone(backbone, output_stride, pretrained)
        channels = channels_of(self.backbone)
        self.centring = CentredFeatures(channels) if features == "centred" else None
        bias = self.centring is not None
        if head == "kur":
            self.head: nn.Conv2d = KernelUsageHead(channels, classes, kur_alpha, bias)
        else:
            self.head = nn.Conv2d(channels, classes, 1, bias=bias)
        nn.init.kaiming_normal_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        self.background: nn.Conv2d | None = None
        self.heatmap_scale, self.guidance_layer = heatmap_scale, guidance_layer
        if heatmap_scale is not None:
            self.background = nn.Conv2d(channels, 1, 1, bias=False)
            nn.init.zeros_(self.background.weight)  # no tag speaks of it, so only ground-truth masks move it
        self.pretrained = pretrained

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, ceil(H / stride), ceil(W / stride)) of normalised images (B, 3, H, W)."""
        maps: torch.Tensor = self.head(self.seen(images))
        return maps

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees of normalised images: (B, D, h, w)."""
        maps = feature_maps(self.backbone, images)
        return maps if self.centring is None else self.centring(maps)

    def with_background(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C + 1, h, w) of a guided classifier, the background's first."""
        assert self.background is not None  # who calls this knows what it has
        features = self.seen(images)
        return torch.cat([self.background(features), self.head(features)], 1)

    def pixel_logits(self, images: torch.Tensor) -> torch.Tensor:
        """What a softmax over classes makes probabilities of pixels of, (B, C + 1, h, w) at the resolution of the
        layer that was trained: heatmaps of the background and of every class, times the scale.

        Raises:
            WsssError: This is no guided classifier, or it is not known what was trained.
        """
        scale, layer = self.check_guided()
        return heatmaps(self, images, layer) * scale

    def check_guided(self) -> tuple[float, str]:
        """Scale and layer of a guided classifier's heatmaps.

        Raises:
            WsssError: This is no guided classifier, or it is not known what was trained.
        """
        if self.heatmap_scale is None:
            raise WsssError(
                "this classifier has no map of the background; 'normalise: softmax' and 'supervision: classifier' are "
                "for classifiers of the objective guided"
            )
        if self.guidance_layer is None:
            raise WsssError(
                "this guided classifier was trained at another layer than the last by a version that did not write "
                "down which, so its heatmaps cannot be read; train it again (wsss run --again classifier:NAME)"
            )
        return self.heatmap_scale, self.guidance_layer

    def is_new(self, name: str) -> bool:
        return name.startswith(("head.", "background."))


def logits(maps: torch.Tensor) -> torch.Tensor:
    """Class scores (B, C) of class activation maps (B, C, h, w), in fp32."""
    return maps.float().mean((2, 3))


def build_classifier(settings: AnySettings, classes: int, warm_start: Path | None = None) -> Classifier:
    """A classifier with the weights that the settings (or another classifier's folder) say."""
    pretrained = settings.pretrained is True and warm_start is None
    scale: float | None = None
    layer = LAST
    if isinstance(settings, GuidedSettings):
        scale, layer = settings.heatmap_scale, settings.guidance_layer
    network = Classifier(
        settings.backbone, classes, settings.output_stride, pretrained, settings.head, settings.kur_alpha,
        scale, layer, settings.features,
    )  # fmt: skip
    if warm_start is not None:
        return _fill(network, warm_start)
    if isinstance(settings.pretrained, str):
        load_pretrained(network.backbone, settings.backbone, settings.pretrained)
    return network


def save_classifier(folder: Path, network: nn.Module, settings: AnySettings, classes: Sequence[str]) -> None:
    """Write the weights of a trained classifier, and what ``load_classifier`` has to know of it."""
    about: dict[str, Any] = {
        "kind": "classifier",
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "classes": list(classes),
    }
    if settings.head == "kur":
        about |= {"head": "kur", "kur_alpha": float(settings.kur_alpha or len(classes))}
    if settings.features != "plain":
        about["features"] = settings.features
    if isinstance(settings, GuidedSettings):
        about["heatmap_scale"] = settings.heatmap_scale
        if settings.guidance_layer != LAST:
            about["guidance_layer"] = settings.guidance_layer
    save_weights(folder / "model.safetensors", network.state_dict(), about)


def load_classifier(folder: Path) -> tuple[Classifier, tuple[str, ...]]:
    """A trained classifier and its class names, from its artefact folder."""
    trained = read_manifest(folder).get("settings") or {}
    _, about = load_weights(folder / "model.safetensors")
    network = described(about)
    if about.get("guidance_layer", LAST) != trained.get("guidance_layer", about.get("guidance_layer", LAST)):
        network.guidance_layer = None
    return _fill(network, folder), tuple(about["classes"])


def described(about: dict[str, Any]) -> Classifier:
    """The classifier that a description of weights is of, without them."""
    return Classifier(
        about["backbone"], len(about["classes"]), about["output_stride"], False, about.get("head", "linear"),
        about.get("kur_alpha"), about.get("heatmap_scale"), about.get("guidance_layer", LAST),
        about.get("features", "plain"),
    )  # fmt: skip


def load_judge(folder: Path, classes: int) -> Classifier:
    """A trained classifier of ``classes`` classes as it was built (but for a guided one's background), whatever the
    recipe that it serves is built like.

    Raises:
        WsssError: It knows another number of classes.
    """
    network, known = load_classifier(folder)
    if len(known) != classes:
        raise WsssError(
            f"{folder}: this classifier knows {len(known)} classes, the dataset has {classes}; train it on this dataset"
        )
    network.background = network.heatmap_scale = None
    return network


def _fill(network: Classifier, folder: Path) -> Classifier:
    weights, about = load_weights(folder / "model.safetensors")
    heads = (about.get("kur_alpha"), getattr(network.head, "alpha", None))
    if heads[0] != heads[1]:
        named = ["head: linear" if alpha is None else f"head: kur, kur_alpha: {alpha:g}" for alpha in heads]
        raise WsssError(f"{folder}: its weights are for '{named[0]}', this recipe has '{named[1]}'; give both the same")
    kinds = [about.get("features", "plain"), "plain" if network.centring is None else "centred"]
    if kinds[0] != kinds[1]:
        raise WsssError(
            f"{folder}: its weights are for 'features: {kinds[0]}', this recipe has 'features: {kinds[1]}'; give both "
            "the same"
        )
    if network.background is None:
        weights.pop("background.weight", None)
    else:
        weights.setdefault("background.weight", network.background.weight)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise WsssError(
            f"{folder}: its weights ({about.get('backbone')}, {len(about.get('classes', []))} classes) do not fit "
            f"here; use the same backbone and classes in both recipes\n{error}"
        ) from error
    return network
