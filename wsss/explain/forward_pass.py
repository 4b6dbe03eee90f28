"""One forward pass of a network, cut at the explained layer, and gradients of rows of the target.

The part before the layer runs without a graph, the layer's output A becomes a leaf that wants a gradient, and the part
after it runs with a graph. So frozen networks can be explained, no parameter's ``.grad`` is touched, and a gradient
costs one backward pass through the part after A.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.explain.subject import Subject
from wsss.explain.targets import Rows, Target
from wsss.system.log import log

KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh)
SMOOTH = (nn.Softplus, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.CELU, nn.Mish, nn.MultiheadAttention)


class ForwardPass:
    """A batch on its way through a subject's network. Made by ``Explainer``, inside ``undisturbed``.

    Args:
        subject, target: What is looked at, and what is asked.
        images: Normalised images (B, 3, H, W) on the network's device.
        ids: A name for each image, so that noise depends on the image and not on its place in the batch; None: its
            pixels are its name.
        seed: The run's seed.
        differentiable: Keep the graph of everything.
        rows: What is explained; None: what the target says of this batch's own output.

    Attributes:
        output: What the subject reads out of the network's output, once a forward pass ran.
        rows: What is explained, once a forward pass ran.
        activations: A as fp32 (B, K, h, w), once ``cut`` ran; with a graph if ``differentiable``.
        cost: Numbers of images that went forwards through the whole network (``forwards``), through the part after
            A (``head_forwards``), and backwards (``backwards``, counted by rows).
    """

    output: torch.Tensor
    activations: torch.Tensor
    _point: torch.Tensor

    def __init__(
        self,
        subject: Subject,
        images: torch.Tensor,
        target: Target,
        ids: list[str] | None = None,
        seed: int = 0,
        differentiable: bool = False,
        rows: Rows | None = None,
    ) -> None:
        self.subject, self.images, self.target = subject, images, target
        self.ids, self.seed, self.differentiable = ids, seed, differentiable
        self._rows = rows
        self.cost: Counter[str] = Counter()

    @property
    def rows(self) -> Rows:
        """What is explained; known once a forward pass ran."""
        if self._rows is None:
            raise RuntimeError("nothing went through the network yet")
        return self._rows

    @property
    def precision(self) -> torch.dtype:
        """What the layer, or the input, is computed in."""
        return self._point.dtype

    def generator(self, image: int) -> torch.Generator:
        """Random numbers on the CPU that follow from the run's seed and the image's name alone."""
        if self.ids is None:
            name = self.images[image].detach().float().cpu().contiguous().numpy().tobytes()
        else:
            name = str(self.ids[image]).encode()
        drawn = hashlib.sha256(b"%d " % self.seed + name).digest()
        return torch.Generator().manual_seed(int.from_bytes(drawn[:7], "little"))

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """What the network says of other images (n, 3, H, W), without a graph."""
        self.cost["forwards"] += len(images)
        with torch.no_grad():
            return self.subject.read(self.subject.network(images))

    def warn_of_flat_gradients(self) -> None:
        """Say so where gradients of pixels are to be differentiated by the pixels, and are constant around them."""
        kinds = {type(module) for module in self.subject.network.modules()}
        if self.differentiable and self.images.requires_grad and kinds & set(KINKED) and not kinds & set(SMOOTH):
            log.warning(
                "gradients of pixels are constant around an image in a network of ReLUs, so their own gradient with "
                "respect to the images is zero; replace the ReLUs by nn.Softplus to follow it"
            )

    def plain(self) -> None:
        """The forward pass alone."""
        self._said(self.run(self.images))

    def from_images(self) -> torch.Tensor:
        """The forward pass with the graph of the whole network; gradients are those of the images that this gives."""
        if self.differentiable and self.images.requires_grad:
            self._point = self.images
        else:
            self._point = self.images.detach().requires_grad_()
        self.cost["forwards"] += len(self.images)
        self._said(self.subject.read(self.subject.network(self._point.clone())))
        return self._point

    def cut(self) -> torch.Tensor:
        """The forward pass, cut at the layer; gives A as (B, K, h, w), and gradients are those of A."""
        caught: list[torch.Tensor] = []

        def stop(tensor: torch.Tensor) -> torch.Tensor:
            if caught:
                raise WsssError(
                    f"layer {self.subject.layer} runs more than once in a forward pass; name one that runs once"
                )
            kept = tensor if self.differentiable and tensor.requires_grad else tensor.detach().requires_grad_()
            caught.append(kept)
            torch.set_grad_enabled(True)
            return kept.clone()  # what follows may work in place, which a leaf forbids

        self.cost["forwards"] += len(self.images)
        with torch.set_grad_enabled(self.differentiable), hooked(self.subject, stop):
            output = self.subject.read(self.subject.network(self.images))
        if not caught:
            raise WsssError(f"layer {self.subject.layer} does not run in a forward pass; name one that does")
        self._point = caught[0]
        self.activations = self.gridded(caught[0] if self.differentiable else caught[0].detach())
        self._said(output)
        return self.activations

    def _said(self, output: torch.Tensor) -> None:
        self.output = output
        if self._rows is None:
            self._rows = self.target.rows(output.detach(), self.subject.single_label)

    def gridded(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the layer as fp32 (B, K, h, w).

        Raises:
            WsssError: It has other axes.
        """
        if self.subject.grid is not None:
            tensor = self.subject.grid(tensor)
        if tensor.ndim != 4:
            raise WsssError(
                f"layer {self.subject.layer} gives {tuple(tensor.shape)}, maps are (images, channels, height, width); "
                "name another layer, or give Subject a 'grid' that puts tokens on their grid"
            )
        return tensor.float()

    def scores(self, kind: str = "logit") -> torch.Tensor:
        """The target's scores fp32 (R,) of this batch."""
        return self.target.score(self.output, self.rows, kind, self.subject.single_label)

    def gradients(
        self, values: torch.Tensor, *more: torch.Tensor, image_idx: torch.Tensor | None = None, keep: bool = False
    ) -> Iterator[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
        """Gradients of scores with respect to where the pass was cut.

        Images do not interact in evaluation mode, so the first row of every image is differentiated in one backward
        pass, then the second of every image: passes are as many as the most rows of one image.

        Args:
            values: Scores (R,), one per row.
            more: Further tensors of the graph whose gradients are wanted too.
            image_idx: The image of each value; None: that of the rows.
            keep: Other gradients will be asked for afterwards.

        Yields:
            Numbers of some rows int64 (n,), and their gradients (n, ...), of the cut first, then of ``more``.

        Raises:
            WsssError: The scores do not depend on it.
        """
        image_idx = self.rows.image_idx if image_idx is None else image_idx
        if len(values) and not values.requires_grad:
            raise self._unconnected()
        turns = self.turns(image_idx)
        for number, rows in enumerate(turns, 1):
            self.cost["backwards"] += len(rows)
            found = torch.autograd.grad(
                values[rows].sum(),
                [self._point, *more],
                retain_graph=keep or self.differentiable or number < len(turns),
                create_graph=self.differentiable,
                allow_unused=True,
            )
            if found[0] is None:
                raise self._unconnected()
            yield (
                rows,
                tuple(
                    torch.zeros_like(of)[image_idx[rows]] if one is None else one[image_idx[rows]]
                    for one, of in zip(found, [self._point, *more], strict=True)
                ),
            )

    def turns(self, image_idx: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Numbers of the rows int64 (n,) in groups of at most one row per image."""
        turn = ranks(self.rows.image_idx if image_idx is None else image_idx)
        return [(turn == number).nonzero()[:, 0] for number in range(int(turn.max()) + 1 if len(turn) else 0)]

    def _unconnected(self) -> WsssError:
        where = "the images" if self.subject.layer is None else f"layer {self.subject.layer}"
        return WsssError(
            f"the scores do not depend on {where} by a gradient; name another layer, and see that nothing after it "
            "runs under no_grad"
        )

    def layer_maps(
        self, make: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], values: torch.Tensor
    ) -> torch.Tensor:
        """Maps (R, h, w) that ``make`` gives of some rows' A and gradients, both fp32 (n, K, h, w)."""
        return in_order(
            (
                (rows, make(self.activations[self.rows.image_idx[rows]], self.gridded(gradient[0])))
                for rows, gradient in self.gradients(values)
            ),
            len(values),
            self.activations.new_zeros(0, *self.activations.shape[2:]),
        )


def ranks(image_idx: torch.Tensor) -> torch.Tensor:
    """How many earlier entries (R,) of an ascending list have the same value."""
    return torch.arange(len(image_idx), device=image_idx.device) - torch.searchsorted(image_idx, image_idx)


def in_order(pieces: Iterable[tuple[torch.Tensor, torch.Tensor]], count: int, empty: torch.Tensor) -> torch.Tensor:
    """Put pieces (numbers of rows, values) together as ``count`` rows; ``empty`` stands for none."""
    pieces = list(pieces)
    if count == 0 or not pieces:
        return empty
    rows = torch.cat([rows for rows, _ in pieces])
    return torch.cat([values for _, values in pieces])[rows.argsort()]


class hooked:
    """Within the block every tensor of the explained layer is replaced by what ``change`` makes of it."""

    def __init__(self, subject: Subject, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.module, self.at, self.change = subject.module, subject.at, change

    def __enter__(self) -> None:
        def output(_: nn.Module, __: Any, value: Any) -> Any:
            return replaced(value, self.change)

        def given(_: nn.Module, values: tuple[Any, ...]) -> tuple[Any, ...]:
            return (replaced(values[0], self.change), *values[1:])

        if self.at == "input":
            self.hook = self.module.register_forward_pre_hook(given)
        else:
            self.hook = self.module.register_forward_hook(output)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def replaced(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A layer's value with its tensor (the last one of a list or tuple) changed.

    Raises:
        WsssError: It is something else.
    """
    if isinstance(value, torch.Tensor):
        return change(value)
    if type(value) in (list, tuple) and value and isinstance(value[-1], torch.Tensor):
        return type(value)([*value[:-1], change(value[-1])])
    raise WsssError(f"the explained layer gives {type(value).__name__} and no tensor; name a layer inside it")
