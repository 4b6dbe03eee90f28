"""Segmentation networks of segmentation-models-pytorch on timm backbones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import Trainable, check_name, load_pretrained
from wsss.models.classifier import Classifier, described, load_classifier
from wsss.models.hub import hub_options
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.resnest import dilate_as_published
from wsss.settings import SegmenterSettings
from wsss.store.manifest import read_manifest
from wsss.store.weights import load_weights, save_weights
from wsss.system.log import log

HEATMAPS = "heatmaps"
"""In place of an architecture: a guided classifier."""
DILATING = ("deeplabv3plus", "deeplabv3", "pan")
"""Architectures whose encoder dilates to an output stride; the others use all its stages, down to stride 32."""
ARCHITECTURES: dict[str, type[nn.Module]] = {
    "deeplabv3plus": smp.DeepLabV3Plus,
    "deeplabv3": smp.DeepLabV3,
    "unet": smp.Unet,
    "fpn": smp.FPN,
    "pan": smp.PAN,
    "upernet": smp.UPerNet,
}


class Segmenter(Trainable):
    """A segmentation network over background and C object classes.

    DeepLabV3+ is the library's, and a smaller network than the published one of P-NOC: separable convolutions in the
    ASPP (3.2 million weights in place of 16.8 with ResNet-50) and one more after it, one 3 x 3 convolution in place of
    two in the decoder, no dropout there, batch normalisation in place of group normalisation (4 groups), another
    initialisation. The last epoch is kept; published is the epoch with the best mIoU on the pseudo-labels of the
    validation images.

    Args:
        architecture: Key of ``ARCHITECTURES``.
        backbone: timm name.
        classes: Number of outputs, background included (C + 1).
        output_stride: Of the encoder, for architectures that dilate (the two DeepLabs, 8 or 16; PAN, 16 or 32).
        atrous_rates: Dilations of the ASPP (the two DeepLabs).
        pretrained: Fetch the encoder's weights from timm's hub.
        decoder_channels: As in ``SegmenterSettings``; None: the library's.
    """

    def __init__(
        self,
        architecture: str,
        backbone: str,
        classes: int,
        output_stride: int = 16,
        atrous_rates: tuple[int, int, int] = (6, 12, 18),
        pretrained: bool = False,
        decoder_channels: int | None = None,
    ) -> None:
        super().__init__()
        check_name(backbone)
        self.backbone = backbone
        self.smallest = 128 if architecture == "pan" else 32  # PAN's pyramid halves the deepest map three times
        options: dict[str, Any] = {
            "encoder_name": f"tu-{backbone}",
            "encoder_weights": "imagenet" if pretrained else None,
        }
        if pretrained:
            options |= {name: value for name, value in hub_options(backbone).items() if name != "pretrained"}
        if architecture.startswith("deeplab"):
            options |= {"encoder_output_stride": output_stride, "decoder_atrous_rates": atrous_rates}
        elif architecture == "pan":
            options |= {"encoder_output_stride": output_stride}
        if decoder_channels is not None:
            options |= decoder_options(architecture, decoder_channels)
        try:
            self.network = ARCHITECTURES[architecture](classes=classes, **options)
        except (ValueError, TypeError, KeyError, RuntimeError, AssertionError) as error:
            raise WsssError(f"{architecture} on {backbone} with output stride {output_stride}: {error}") from error
        dilate_as_published(self.network)
        if pretrained:
            take_imagenet_statistics(self.encoder(), backbone)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C + 1, H, W) of normalised images (B, 3, H, W) of any size."""
        height, width = images.shape[-2:]
        tall, wide = self.padded((height, width))
        logits: torch.Tensor = self.network(nn.functional.pad(images, (0, wide - width, 0, tall - height)))
        return logits[..., :height, :width]

    def padded(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width to which images of this size are padded with zeros, below and on the right."""
        stride = 32  # every encoder's deepest stage, before dilation
        height, width = (n + max(-n % stride, self.smallest - n) for n in size)
        return height, width

    def encoder(self) -> nn.Module:
        """The timm network in it."""
        return self.network.get_submodule("encoder.model")

    def is_new(self, name: str) -> bool:
        return not name.startswith("network.encoder.")


def decoder_options(architecture: str, channels: int) -> dict[str, Any]:
    """What an architecture of the library calls the channels of its decoder."""
    if architecture == "fpn":
        return {"decoder_pyramid_channels": channels, "decoder_segmentation_channels": channels // 2}
    if architecture == "unet":
        return {"decoder_channels": tuple(channels // 2**block for block in range(5))}
    return {"decoder_channels": channels}


class Heatmaps(nn.Module):
    """A guided classifier as a segmentation network: the heatmaps that were trained are its logits.

    Attributes:
        guidance_layer: Where heatmaps are taken. Those of another layer than the last are gradients, and the network
            cannot be exported.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        classifier.check_guided()
        self.classifier, self.guidance_layer = classifier, classifier.guidance_layer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits fp32 (B, C + 1, H, W) of normalised images (B, 3, H, W): heatmaps, resized as in training."""
        scores = self.classifier.pixel_logits(images).float()
        return nn.functional.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=False)


def build_segmenter(settings: SegmenterSettings, classes: int) -> Segmenter:
    """A network for C object classes with the encoder weights that the settings say."""
    say_unused_stride(settings.architecture, settings.output_stride)
    network = Segmenter(
        settings.architecture,
        settings.backbone,
        classes + 1,
        settings.output_stride,
        settings.atrous_rates,
        settings.pretrained is True,
        settings.decoder_channels,
    )
    if isinstance(settings.pretrained, str):
        load_encoder(network, settings.pretrained)
    return network


def say_unused_stride(architecture: str, output_stride: int) -> None:
    """Say on stderr that an architecture takes no notice of ``output_stride``, where it takes none."""
    if architecture not in DILATING and output_stride != 32:
        log.warning(f"output_stride {output_stride} has no effect on {architecture}: its encoder is not dilated")


def load_encoder(network: Segmenter, source: str) -> None:
    """Load ImageNet weights of a local file or a package into the encoder, as ``load_pretrained`` does."""
    # an encoder for segmentation stops before the layers that only serve classification
    load_pretrained(network.encoder(), network.backbone, source, ignore=("conv_head.", "bn2.", "norm.", "final_norm."))


def save_segmenter(
    folder: Path,
    network: nn.Module,
    settings: SegmenterSettings,
    classes: Sequence[str],
    steps: Sequence[Sequence[str]] = (),
) -> None:
    """Write the weights of a trained network, and what ``load_segmenter`` has to know of it; ``steps``: the classes
    that it learnt in each step, where it did not learn them together."""
    about: dict[str, Any] = {
        "kind": "segmenter",
        "architecture": settings.architecture,
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "atrous_rates": list(settings.atrous_rates),
        "classes": list(classes),
    }
    if steps:
        about["steps"] = [list(step) for step in steps]
    if settings.decoder_channels is not None:
        about["decoder_channels"] = settings.decoder_channels
    save_weights(folder / "model.safetensors", network.state_dict(), about)


def save_heatmaps(folder: Path, classifier: Path) -> None:
    """Write the guided classifier of an artefact folder as a segmentation network.

    Raises:
        WsssError: It is no guided one, or the layer of its heatmaps is not known.
    """
    network, classes = load_classifier(classifier)
    network.check_guided()
    weights, about = load_weights(classifier / "model.safetensors")
    save_weights(folder / "model.safetensors", weights, {**about, "kind": "segmenter", "architecture": HEATMAPS})


def load_segmenter(folder: Path) -> tuple[Segmenter | Heatmaps, tuple[str, ...]]:
    """A trained network and its object classes, from its artefact folder."""
    read_manifest(folder)
    weights, about = load_weights(folder / "model.safetensors")
    if about["architecture"] == HEATMAPS:
        classifier = described(about)
        classifier.load_state_dict(weights)
        return Heatmaps(classifier), tuple(about["classes"])
    network = Segmenter(
        about["architecture"],
        about["backbone"],
        len(about["classes"]) + 1,
        about["output_stride"],
        tuple(about["atrous_rates"]),
        decoder_channels=about.get("decoder_channels"),
    )
    network.load_state_dict(weights)
    return network, tuple(about["classes"])
