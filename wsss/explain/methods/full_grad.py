"""FullGrad (Srinivas and Fleuret 2019, eq. 4 and 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from timm.layers import BatchNormAct2d  # type: ignore[attr-defined]  # timm re-exports without saying so
from torch import nn

from wsss.errors import WsssError
from wsss.explain import postprocess
from wsss.explain.base import Explainer
from wsss.explain.forward_pass import ForwardPass, in_order

VERSION = 2
EPS = 1e-6
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CLIPPED = (nn.Hardtanh,)
"""ReLU6 is one of them."""
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class FullGrad(Explainer):
    """psi(G * x) + sum over biased layers l and channels of psi(dS/dz_l * b_l) resized to the input (bilinear, with
    ``align_corners=True``), with psi the absolute value rescaled to [0, 1] over all channels and cells of an image, as
    the authors' code does.

    A batch normalisation's effective bias is beta - mean gamma / sqrt(var + eps). ReLU6 and Hardtanh have a bias, too,
    this project's own: where they are saturated they add a constant, so dS/dy of their output y times that constant is
    one more term. G . x and all bias terms together are the score itself; that is checked, since it fails for networks
    with other non-linearities, whose hidden biases the method does not see. Maps (R, H, W) are not negative and hardly
    tell classes apart.
    """

    check: bool = True
    """Refuse networks whose terms do not add up to the score."""
    tolerance: float = 1e-3
    """Largest difference of the two, relative to the larger of the score and the terms' sizes."""
    channels: ClassVar[str | None] = None

    def explain(self, forward: ForwardPass) -> torch.Tensor:
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        with biased_layers(forward.subject.network, found):
            images = forward.from_images()
        size, scores = images.shape[2:], forward.scores()
        layers = [(z, bias) for z, bias in found if z.requires_grad]

        def pieces() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for rows, (gradient, *inner) in forward.gradients(scores, *(z for z, _ in layers)):
                terms = [(gradient * images[forward.rows.image_idx[rows]]).float()]
                mine = forward.rows.image_idx[rows]
                for slope, (z, bias) in zip(inner, layers, strict=True):
                    terms.append(slope.float() * (bias[mine] if bias.shape == z.shape else bias))
                self._complete(terms, scores[rows])
                shown = (postprocess.resize(_scaled(term).sum(1), size, True) for term in terms if term.ndim == 4)
                yield rows, reduce(torch.add, shown)

        return in_order(pieces(), len(forward.rows), images.new_zeros(0, *size))

    def _complete(self, terms: list[torch.Tensor], scores: torch.Tensor) -> None:
        sums = torch.stack([term.detach().flatten(1).sum(1) for term in terms])
        size = torch.maximum(scores.detach().abs(), sums.abs().sum(0)).clamp(min=EPS)
        if self.check and bool(((sums.sum(0) - scores.detach()).abs() > self.tolerance * size).any()):
            raise WsssError(
                "full-grad: gradients and biases do not add up to the score: the network has non-linearities other "
                "than ReLU, ReLU6 and maximum (GELU, SiLU, sigmoid, attention), or biases or a ReLU6 outside its "
                "layers; take another method, or set check=False"
            )


def _scaled(term: torch.Tensor) -> torch.Tensor:
    """psi: absolute values brought to [0, 1] over channels and cells of each row."""
    term = term.abs()
    flat = term.flatten(1)
    low = flat.amin(1).view(-1, 1, 1, 1)
    return (term - low) / ((flat.amax(1).view(-1, 1, 1, 1) - low) + EPS)


def biased_layers(network: nn.Module, found: list[tuple[torch.Tensor, torch.Tensor]]) -> ExitStack:
    """A context within which what layers with a bias give is noted in ``found``, with its effective bias in a
    shape that can be multiplied with it: of each channel, or of clipping layers as large as what they give."""
    stack = ExitStack()

    def noting(bias: torch.Tensor, last: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        def note(z: torch.Tensor) -> torch.Tensor:
            found.append((z, bias.detach().float().view(-1, *[1] * (0 if last else z.ndim - 2))))
            return z.clone()  # what follows may work in place

        return note

    def saturated(module: nn.Hardtanh, z: torch.Tensor) -> torch.Tensor:
        known = z.detach().float()
        found.append((z, known * ((known >= module.max_val) | (known <= module.min_val))))
        return z.clone()

    for module in network.modules():
        if isinstance(module, CLIPPED):
            stack.callback(module.register_forward_hook(lambda m, _, z: saturated(m, z)).remove)
        bias = effective_bias(module)
        if bias is None:
            continue
        note = noting(bias, isinstance(module, nn.Linear))
        if isinstance(module, BatchNormAct2d):  # its output has its activation behind it already
            inner = module.drop.register_forward_pre_hook(lambda _, given, note=note: (note(given[0]),))
            stack.callback(inner.remove)
        else:
            stack.callback(module.register_forward_hook(lambda _, __, z, note=note: note(z)).remove)
    return stack


def effective_bias(module: nn.Module) -> torch.Tensor | None:
    """What a layer in evaluation mode adds to a linear function of its input, by channel; None: nothing."""
    if isinstance(module, LINEAR):
        return module.bias
    if isinstance(module, NORMS) and module.running_mean is not None and module.running_var is not None:
        bias = -module.running_mean / (module.running_var + module.eps).sqrt()
        return bias * module.weight + module.bias if module.affine else bias
    return None
