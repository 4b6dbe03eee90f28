"""What is explained: a network of any library, the layer that is looked at, and how its output is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from wsss.data.transforms import MEAN, STD
from wsss.errors import WsssError
from wsss.models.classifier import Classifier, logits
from wsss.models.heatmaps import LAST
from wsss.models.segmenter import Heatmaps, Segmenter


def plain_output(output: Any) -> torch.Tensor:
    """The tensor in what a network returns: itself, or under ``out`` (torchvision) or ``logits`` (transformers).

    Raises:
        WsssError: There is none.
    """
    if isinstance(output, Mapping):
        output = next((output[key] for key in ("out", "logits") if key in output), output)
    if not isinstance(output, torch.Tensor):
        raise WsssError(
            f"the network returns {type(output).__name__} and not a tensor; give Subject a function 'read' that picks "
            "the scores out of it"
        )
    return output


@dataclass(eq=False)
class Subject:
    """A network to explain.

    Args:
        network: Any module that takes normalised images (B, 3, H, W).
        layer: Dotted name of the explained layer, as in ``network.named_modules()`` (the last block after its ReLU is
            usual). Its output is a tensor (B, K, h, w), or a list or tuple whose last tensor is meant. None: only
            methods that look at the input can be used.
        head: Dotted name of the linear layer (or 1x1 convolution) behind, or before, global average pooling; CAM and
            its contrasted kin need it.
        at: Whether the layer's output is explained, or its first input.
        read: Picks out of what the network returns the class scores (B, C) before sigmoid or softmax, or the pixel
            scores (B, C', H', W').
        grid: Turns the layer's tensor into (B, K, h, w), for networks whose order of axes is another (tokens); it is
            applied to gradients too, so it may move elements only.
        single_label: Classes exclude each other: probabilities are a softmax, and the predicted class is the one with
            the highest.
        mean, std: What the images were normalised with, in [0, 1]; occluding fills are colours before that.
        padded: Size to which the network itself pads images of a size, below and on the right; None: it does not. Its
            layers' cells then cover the padded image, and those beyond the image are cut off maps.

    Raises:
        WsssError: The network has no such layer; the message has the nearest names.
    """

    network: nn.Module
    layer: str | None = None
    head: str | None = None
    at: Literal["output", "input"] = "output"
    read: Callable[[Any], torch.Tensor] = plain_output
    grid: Callable[[torch.Tensor], torch.Tensor] | None = None
    single_label: bool = False
    mean: tuple[float, ...] = field(default=tuple(float(v) for v in MEAN))
    std: tuple[float, ...] = field(default=tuple(float(v) for v in STD))
    padded: Callable[[Sequence[int]], tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        for name in (self.layer, self.head):
            if name is not None:
                self._module(name)

    def _module(self, name: str) -> nn.Module:
        known: dict[str, nn.Module] = dict(self.network.named_modules())
        if name not in known:
            near = get_close_matches(name, list(known), n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise WsssError(f"{type(self.network).__name__} has no layer {name!r}{hint}")
        return known[name]

    @property
    def module(self) -> nn.Module:
        """The explained layer. Raises ``WsssError`` without one."""
        if self.layer is None:
            raise WsssError(
                "this method looks at a layer: give Subject a 'layer', such as the last block of the network"
            )
        return self._module(self.layer)

    @property
    def device(self) -> torch.device | None:
        """Where the network is; None for one without weights."""
        return next((p.device for p in self.network.parameters()), None)

    @cached_property
    def model_hash(self) -> str:
        """SHA-256 of names and values of the state dict as it was when first asked for."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            if isinstance(tensor, torch.Tensor):
                found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def covering(self, maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """The cells of a layer's maps (..., h, w) that an image of this size covers, wholly or in part."""
        if self.padded is None or maps.shape[-2:] == tuple(size):
            return maps
        rows, columns = (-(-n * m // p) for n, m, p in zip(size, maps.shape[-2:], self.padded(size), strict=True))
        return maps[..., :rows, :columns]

    def class_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """W (C, K) and b (C,) of the head in fp32; with kernel usage regularisation W is the effective one.

        Raises:
            WsssError: No head is named, or it is neither linear nor a 1x1 convolution.
        """
        if self.head is None:
            raise WsssError(
                "this method needs the linear layer behind global average pooling: give Subject a 'head' "
                "('fc', 'classifier', ...), or take hires-cam, which needs none"
            )
        module = self._module(self.head)
        if not isinstance(module, nn.Linear) and not (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        ):
            raise WsssError(
                f"{self.head} is {type(module).__name__}: a linear layer or a 1x1 convolution is needed here"
            )
        effective = getattr(module, "effective_weight", None)
        weight: torch.Tensor = module.weight if effective is None else effective()
        bias = weight.new_zeros(weight.shape[0]) if module.bias is None else module.bias
        return weight.flatten(1).float(), bias.float()


def subject_of(network: nn.Module, layer: str | None = None) -> Subject:
    """A subject for the project's own networks: the features before a classifier's head, also of a guided one in the
    place of a segmentation network; the deepest features of a segmentation network's encoder (or another ``layer``'s
    output).

    Raises:
        WsssError: Another network, or heatmaps that are gradients themselves.
    """
    if isinstance(network, Classifier):
        if layer is None:
            return Subject(network, "head", "head", "input", logits)
        return Subject(network, layer, read=logits)
    if isinstance(network, Heatmaps):
        if network.guidance_layer != LAST:
            raise WsssError(
                f"the heatmaps of this classifier are gradients at {network.guidance_layer!r}: they explain "
                "already, and gradients of them are not to be had; explain the classifier"
            )
        return Subject(network, layer or "classifier.head", at="output" if layer else "input")
    if isinstance(network, Segmenter):
        return Subject(network, layer or "network.encoder", padded=network.padded)
    raise WsssError(
        f"{type(network).__name__}: name what to look at, as in Subject(network, layer='layer4', head='fc')"
    )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within the block the network is in evaluation mode; afterwards each of its modules is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def undisturbed(subject: Subject) -> Iterator[None]:
    """Evaluation mode, full precision, and gradients at hand whatever the caller has switched off."""
    kind = "cpu" if subject.device is None else subject.device.type
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(kind, enabled=False),
        evaluating(subject.network),
    ):
        yield
