"""Backbones by timm name, and their weights from the hub, a local file, or nowhere."""

from __future__ import annotations

from difflib import get_close_matches

import timm
import torch
from torch import nn

from wsss.errors import WsssError
from wsss.store.weights import load_weights


def check_name(name: str) -> None:
    """Raise ``WsssError`` with the nearest names unless timm has a model of this name."""
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise WsssError(f"backbone {name!r}: timm has no such model{hint}")


def create_backbone(name: str, output_stride: int, pretrained: bool) -> nn.Module:
    """A timm network without head whose ``forward_features`` keeps the spatial grid.

    Raises:
        WsssError: Unknown name, a stride that this network does not offer, or hub weights that cannot be fetched.
    """
    check_name(name)
    try:
        return timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", output_stride=output_stride
        )
    except (TypeError, AssertionError, NotImplementedError) as error:
        raise WsssError(
            f"backbone {name}: output stride {output_stride} is not offered by this network ({error}); "
            "try 32 or another backbone"
        ) from error
    except Exception as error:  # the hub's clients raise many kinds
        if pretrained:
            raise WsssError(
                f"backbone {name}: its weights could not be fetched ({error}); "
                "give 'pretrained' the path of a local file, or false"
            ) from error
        raise


def load_pretrained(network: nn.Module, path: str, ignore: tuple[str, ...] = ()) -> None:
    """Load a local file of ImageNet weights into a backbone.

    Every tensor of the network must be in the file with its shape; tensors of the file that the network has no room for
    must begin with one of ``ignore`` or belong to a classification head.

    Raises:
        WsssError: The file does not fit, with the first names that do not.
    """
    weights, _ = load_weights(path)
    have = network.state_dict()
    absent = [k for k in have if k not in weights and not k.endswith("num_batches_tracked")]
    unfit = [k for k in have if k in weights and weights[k].shape != have[k].shape]
    heads = ("classifier.", "fc.", "head.", *ignore)
    surplus = [k for k in weights if k not in have and not k.startswith(heads)]
    wrong = [f"absent: {', '.join(absent[:3])}"] if absent else []
    wrong += [f"other shape: {', '.join(unfit[:3])}"] if unfit else []
    wrong += [f"unknown to the network: {', '.join(surplus[:3])}"] if surplus else []
    if wrong:
        raise WsssError(f"{path}: these weights do not fit the backbone ({'; '.join(wrong)}); check 'backbone'")
    network.load_state_dict({k: v for k, v in weights.items() if k in have}, strict=False)


class Trainable(nn.Module):
    """A network that knows which of its parameters are new, and that can keep its batch normalisation fixed.

    Attributes:
        fixed_batch_norm: Running statistics are used even in training, and affine parameters get no gradient.
    """

    fixed_batch_norm = False

    def is_new(self, name: str) -> bool:
        """Whether the parameter of this name was initialised at random; a network with a pretrained part says which."""
        return True

    def fix_batch_norm(self) -> None:
        """From now on use running statistics only, and do not train scale and offset."""
        self.fixed_batch_norm = True
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for parameter in module.parameters():
                    parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Trainable:
        super().train(mode)
        if self.fixed_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def input_size(images: torch.Tensor) -> tuple[int, int]:
    """Height and width of a batch (..., H, W)."""
    return images.shape[-2], images.shape[-1]
