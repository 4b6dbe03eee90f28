"""Explainers of other libraries behind the same interface: ``external:captum:<Name>``, ``external:pgc:<Name>``
(pytorch-grad-cam) and ``external:torchcam:<Name>``.

The libraries are optional and only imported when one of their explainers is made. They explain one row a call, so a row
costs what it costs there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass

VERSION = 1
LIBRARIES = {
    "captum": ("captum.attr", "captum"),
    "pgc": ("pytorch_grad_cam", "gradcam"),
    "torchcam": ("torchcam.methods", "torchcam"),
}
"""Module to import, and the extra of this package that installs it."""


def external(name: str) -> partial[External]:
    """The explainer of a name ``external:LIBRARY:NAME``; options are given when it is made.

    Raises:
        WsssError: Unknown library, one that is not installed, or no such explainer in it.
    """
    _, _, rest = name.partition(":")
    library, _, method = rest.partition(":")
    if library not in LIBRARIES or not method:
        known = " or ".join(f"external:{each}:NAME" for each in LIBRARIES)
        raise WsssError(f"explainer {name!r}: explainers of other libraries are called {known}")
    module, extra = LIBRARIES[library]
    try:
        found = getattr(import_module(module), method, None)
    except ImportError as error:
        raise WsssError(f"{name} needs {module.partition('.')[0]}: install wsss[{extra}] ({error})") from error
    if not isinstance(found, type):
        raise WsssError(f"explainer {name!r}: {module} has none of this name")
    return partial(External, library, method)


class _Row(nn.Module):
    """A network whose output is the score of one row (n, 1), whatever it is given."""

    def __init__(self, forward: ForwardPass, row: int, from_here: bool) -> None:
        super().__init__()
        self.network = forward.subject.network
        self.forward_pass, self.row, self.from_here = forward, row, from_here

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.from_here:  # frozen networks have no other leaf that wants a gradient
            images = images.detach().requires_grad_()
        subject, target = self.forward_pass.subject, self.forward_pass.target
        self.forward_pass.cost["forwards"] += len(images)
        output = subject.read(self.network(images))
        return target.score(output, self.forward_pass.rows.row(self.row, len(images)), "logit", subject.single_label)[
            :, None
        ]


@dataclass(frozen=True)
class External(Explainer):
    """An explainer of another library.

    Maps of captum are raw and signed: of its methods for layers (R, h, w), of others (R, 3, H, W). Those of
    pytorch-grad-cam are rectified, between 0 and 1 and at the input's size; ``about`` says ``normalised``. Those of
    torchcam (R, h, w) are not normalised, but most of its methods rectify.
    """

    differentiates: ClassVar[bool] = False
    channels: ClassVar[str | None] = "max_abs"
    library: str
    method: str
    options_of_call: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of captum's ``attribute``, of pytorch-grad-cam's or torchcam's call."""

    @property
    def name(self) -> str:
        return f"external:{self.library}:{self.method}"

    @property
    def normalised(self) -> bool:
        return self.library == "pgc"

    def options(self) -> dict[str, Any]:
        return dict(self.options_of_call)

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        forward.plain()
        kind = getattr(import_module(LIBRARIES[self.library][0]), self.method)
        made = {"captum": self._captum, "pgc": self._pgc, "torchcam": self._torchcam}[self.library]
        with kept(forward.subject.network):
            maps = [made(kind, forward, row, image) for row, image in enumerate(forward.rows.image_idx.tolist())]
        return torch.cat(maps) if maps else forward.images.new_zeros(0, *forward.images.shape[2:])

    def _captum(self, kind: type, forward: ForwardPass, row: int, image: int) -> torch.Tensor:
        layered = self.method.startswith(("Layer", "Neuron")) or self.method == "GuidedGradCam"
        method = kind(_Row(forward, row, False), forward.subject.module) if layered else kind(_Row(forward, row, False))
        given = method.attribute(forward.images[image : image + 1].detach().clone(), target=0, **self.options_of_call)
        found: torch.Tensor = (given[0] if isinstance(given, tuple) else given).detach()
        return found[:, 0] if found.ndim == 4 and found.shape[1] == 1 else found

    def _pgc(self, kind: type, forward: ForwardPass, row: int, image: int) -> torch.Tensor:
        method = kind(_Row(forward, row, True), [forward.subject.module])
        try:
            options = {"targets": [lambda output: output[0]], **self.options_of_call}
            found = method(input_tensor=forward.images[image : image + 1].detach().clone(), **options)
        finally:
            method.activations_and_grads.release()
        return torch.from_numpy(found).to(forward.images.device)

    def _torchcam(self, kind: type, forward: ForwardPass, row: int, image: int) -> torch.Tensor:
        network = _Row(forward, row, True)
        with kind(network, forward.subject.module) as method:
            scores = network(forward.images[image : image + 1].detach().clone())
            (given,) = method(0, scores, normalized=False, **self.options_of_call)
        found: torch.Tensor = given.detach()
        return found


HOOKS = ("_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def kept(network: nn.Module) -> Iterator[None]:
    """Put back every parameter's gradient, every layer and every hook, since other libraries wipe and fill gradients,
    swap layers, and leave things behind when something raises."""
    gradients = [(parameter, parameter.grad) for parameter in network.parameters()]
    insides = [(module, {name: dict(vars(module)[name]) for name in HOOKS}) for module in network.modules()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, inside in insides:
            for name, entries in inside.items():
                found = vars(module)[name]
                found.clear()
                found.update(entries)
