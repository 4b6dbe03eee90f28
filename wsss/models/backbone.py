"""Backbones by name, and their weights from the hub, a local file, or nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

import timm
import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.hub import hub_options
from wsss.models.input_statistics import take_imagenet_statistics
from wsss.models.packaged import packaged_weights
from wsss.models.resnest import dilate_as_published
from wsss.models.wide_resnet38 import STRIDE as WIDE_RESNET_STRIDE
from wsss.models.wide_resnet38 import WideResNet38
from wsss.store.weights import load_weights
from wsss.system.packaged_weights import PACKAGED

OWN: dict[str, tuple[Callable[[], WideResNet38], int]] = {"wide_resnet38d": (WideResNet38, WIDE_RESNET_STRIDE)}
"""Backbones that timm lacks: their class and their stride."""


def check_name(name: str) -> None:
    """Raise ``WsssError`` with the nearest names unless timm has a model of this name."""
    if name in OWN:
        raise WsssError(
            f"backbone {name}: it serves classifiers, affinity networks, C2AM and PoolNet, but not the architectures "
            "of segmentation-models-pytorch; take a timm model there"
        )
    if not timm.is_model(name):
        near = get_close_matches(name, [*timm.list_models(), *OWN], n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise WsssError(f"backbone {name!r}: timm has no such model{hint}")


def create_backbone(name: str, output_stride: int, pretrained: bool) -> nn.Module:
    """A network without head whose ``feature_maps`` have the given stride.

    Three kinds of timm networks are taken: those that dilate to the stride that is wanted; those with tokens, whose
    stride is the patch; and those of one fixed stride. ``wide_resnet38d`` (``wsss.models.wide_resnet38``) has stride 8.

    Raises:
        WsssError: Unknown name, a stride that this network does not offer, or hub weights that cannot be fetched.
    """
    if name in OWN:
        return create_own(name, output_stride, pretrained)
    check_name(name)
    kinds = (
        {"output_stride": output_stride, "global_pool": ""},
        {"dynamic_img_size": True, "dynamic_img_pad": True},
        {"strict_img_size": False, "global_pool": ""},
        {"global_pool": ""},
    )
    weights = hub_options(name) if pretrained else {}
    for options in kinds:
        try:
            network = timm.create_model(name, num_classes=0, **options, **weights)
        except TypeError as error:  # the network does not know one of the options
            reason: Exception = error
            continue
        except (AssertionError, NotImplementedError) as error:
            raise _no_stride(name, output_stride, error) from error
        except Exception as error:  # the hub's clients raise many kinds
            if pretrained:
                raise WsssError(
                    f"backbone {name}: its weights could not be fetched ({error}); "
                    "give 'pretrained' the path of a local file, or false"
                ) from error
            raise
        if "output_stride" not in options:
            _check_stride(name, _own_stride(name, network), output_stride)
        dilate_as_published(network)
        if pretrained:
            take_imagenet_statistics(network, name)
        return network
    raise _no_stride(name, output_stride, reason) from reason


def create_own(name: str, output_stride: int, pretrained: bool) -> WideResNet38:
    """``create_backbone`` of a name in ``OWN``, with the same errors."""
    build, stride = OWN[name]
    _check_stride(name, stride, output_stride)
    if pretrained:
        raise WsssError(f"backbone {name}: no hub has its weights; give 'pretrained' a local file, or false")
    return build()


@torch.no_grad()
def _own_stride(name: str, network: nn.Module) -> int:
    """Input pixels per cell of a network that does not dilate. Refuses one that takes images of one size only."""
    try:
        found = feature_maps(network.eval(), torch.zeros(1, 3, 160, 96)).shape
    except (AssertionError, RuntimeError, ValueError, AttributeError) as error:
        raise WsssError(
            f"backbone {name}: this network cannot give maps of images of any size ({error}); take another"
        ) from error
    finally:
        network.train()
    return _patch(network)[0] if hasattr(network, "num_prefix_tokens") else 160 // found[-2]


def _patch(network: nn.Module) -> tuple[int, int]:
    """Height and width of a token's patch in pixels."""
    embedding: Any = network.patch_embed
    height, width = embedding.patch_size
    return height, width


def _check_stride(name: str, stride: int, wanted: int) -> None:
    if stride != wanted:
        advice = f"set output_stride to {stride}, or " if stride in (8, 16, 32) else ""
        raise WsssError(
            f"backbone {name}: its stride is {stride} and cannot be changed to {wanted}; {advice}take another backbone"
        )


def _no_stride(name: str, wanted: int, error: Exception) -> WsssError:
    return WsssError(
        f"backbone {name}: output stride {wanted} is not offered by this network ({error}); try 32 or another backbone"
    )


def feature_maps(backbone: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last features (B, D, ceil(H / stride), ceil(W / stride)) of images (B, 3, H, W), whatever the network's own
    order of axes.

    Tokens (B, N, D) are put back on the grid of their patches, without those of no patch (class, distillation,
    registers).
    """
    network: Any = backbone  # these names are common to networks that have no class in common
    features: torch.Tensor = network.forward_features(images)
    if features.ndim == 3:
        height, width = (-(-n // p) for n, p in zip(input_size(images), _patch(network), strict=True))
        tokens = features[:, network.num_prefix_tokens :]
        return tokens.transpose(1, 2).reshape(images.shape[0], -1, height, width)
    if getattr(backbone, "output_fmt", None) == "NHWC":
        return features.permute(0, 3, 1, 2)
    return features


@torch.no_grad()
def channels_of(backbone: nn.Module) -> int:
    """Channels D of ``feature_maps``: measured, since networks disagree on the attribute that tells."""
    mode = backbone.training
    device = next(backbone.parameters()).device
    try:
        return feature_maps(backbone.eval(), torch.zeros(1, 3, 64, 64, device=device)).shape[1]
    finally:
        backbone.train(mode)


def load_pretrained(network: nn.Module, name: str, source: str, ignore: tuple[str, ...] = ()) -> None:
    """Load ImageNet weights of a local file or of a package (``packaged``) into a backbone of this name, and fit them
    to images that are normalised with ImageNet's statistics.

    Every tensor of the network must be in the file with its shape; tensors of the file that the network has no room for
    must begin with one of ``ignore`` or of the network's own ``surplus``, or belong to a classification head.

    Raises:
        WsssError: The file does not fit, with the first names that do not; or the package is not installed.
    """
    weights = packaged_weights(name) if source == PACKAGED else load_weights(source)[0]
    have = network.state_dict()
    absent = [k for k in have if k not in weights and not k.endswith("num_batches_tracked")]
    unfit = [k for k in have if k in weights and weights[k].shape != have[k].shape]
    heads = ("classifier.", "fc.", "head.", *ignore, *getattr(network, "surplus", ()))
    surplus = [k for k in weights if k not in have and not k.startswith(heads)]
    wrong = [f"absent: {', '.join(absent[:3])}"] if absent else []
    wrong += [f"other shape: {', '.join(unfit[:3])}"] if unfit else []
    wrong += [f"unknown to the network: {', '.join(surplus[:3])}"] if surplus else []
    if wrong:
        raise WsssError(f"{source}: these weights do not fit the backbone ({'; '.join(wrong)}); check 'backbone'")
    network.load_state_dict({k: v for k, v in weights.items() if k in have}, strict=False)
    take_imagenet_statistics(network, name)


class Trainable(nn.Module):
    """A network that knows which of its parameters are new, and that can keep its batch normalisation fixed.

    Attributes:
        fixed_batch_norm: Running statistics are used even in training, and affine parameters get no gradient; new
            layers are left out, since their statistics are those of no data yet.
    """

    fixed_batch_norm = False

    def is_new(self, name: str) -> bool:
        """Whether the parameter of this name was initialised at random; a network with a pretrained part says which."""
        return True

    def fix_batch_norm(self) -> None:
        """From now on use running statistics only, and do not train scale and offset, in all layers but the new
        ones."""
        self.fixed_batch_norm = True
        for module in self._old_batch_norms():
            for parameter in module.parameters():
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Trainable:
        super().train(mode)
        if self.fixed_batch_norm:
            for module in self._old_batch_norms():
                module.eval()
        return self

    def _old_batch_norms(self) -> Iterator[nn.Module]:
        for name, module in self.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not self.is_new(f"{name}.weight"):
                yield module


def input_size(images: torch.Tensor) -> tuple[int, int]:
    """Height and width of a batch (..., H, W)."""
    return images.shape[-2], images.shape[-1]


def hub_weights(network: nn.Module) -> dict[str, str]:
    """Which of timm's weights a network has just been built with: ``tag`` (``resnet50.a1_in1k``) and ``digest``,
    sixteen hex digits for all tensors; empty for a network that is not timm's."""
    for part in network.modules():
        about = getattr(part, "pretrained_cfg", None)
        if about:
            found = hashlib.sha256()
            for name, tensor in sorted(part.state_dict().items()):
                found.update(name.encode())
                found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
            return {"tag": f"{about.get('architecture')}.{about.get('tag')}", "digest": found.hexdigest()[:16]}
    return {}
