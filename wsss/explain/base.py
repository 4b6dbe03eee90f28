"""What every explainer is, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any

import torch

from wsss.errors import WsssError
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.subject import Subject, undisturbed
from wsss.explain.targets import Rows, Target


class About(dict[str, Any]):
    """How maps were made, as plain values. ``model`` stands in it once it was asked for."""

    def __init__(self, subject: Subject, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._subject = subject

    def __missing__(self, key: str) -> Any:
        if key != "model":
            raise KeyError(key)
        found = self[key] = self._subject.model_hash
        return found


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of pairs of an image and a class, those of an image together.

    Attributes:
        maps: Raw signed fp32 on the network's device: (R, h, w) at the layer's resolution (the cells that the image
            covers), (R, H, W) of methods that perturb or add up pixels, (R, 3, H, W) of gradients of pixels.
        rows: ``image_idx`` and ``class_idx`` int64 (R,), the classes considered present, the regions.
        output: Class scores (B, C) or pixel scores (B, C', H', W') of the same pass, before sigmoid or softmax; with
            their graph if the explanation is differentiable.
        about: Method and its options, target, layer, explained classes, score, size of the input in pixels, seed,
            and the cost in images; under ``model`` the hash of the network's weights (None if differentiable, for then
            they are in flux), which is made when it is asked for, since that takes as long as many an explanation.
    """

    maps: torch.Tensor
    rows: Rows
    output: torch.Tensor
    about: About

    @property
    def image_idx(self) -> torch.Tensor:
        """The image of each map in the batch, int64 (R,), ascending."""
        return self.rows.image_idx

    @property
    def class_idx(self) -> torch.Tensor:
        """The class of each map, int64 (R,)."""
        return self.rows.class_idx

    def of(self, image: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes int64 (n,) and maps (n, ...) of one image of the batch."""
        mine = self.image_idx == image
        return self.class_idx[mine], self.maps[mine]


class Explainer(ABC):
    """A way to explain. Subclasses are frozen dataclasses whose fields are the method's options; what they say of
    themselves (``differentiates``, ``normalised``, ``channels``) is the same for all of a class, or a property.

    Attributes:
        score: Kind of score that is explained; None: one that the target or an option says.
    """

    score: str | None = "logit"

    @property
    def differentiates(self) -> bool:
        """Whether ``differentiable=True`` is possible."""
        return True

    @property
    def normalised(self) -> bool:
        """Whether maps come rectified and normalised, from libraries that give no others."""
        return False

    @property
    def channels(self) -> str | None:
        """How maps (R, 3, H, W) are best reduced to one channel (``wsss.explain.postprocess``)."""
        return None

    def __call__(
        self,
        subject: Subject,
        images: torch.Tensor,
        target: Target,
        *,
        ids: Sequence[str] | None = None,
        seed: int = 0,
        differentiable: bool = False,
    ) -> Explanation:
        """Explain a batch. The network is left as it was: modes, hooks, gradients, and what wants gradients.

        Args:
            subject: The network and its layer.
            images: Normalised images, floating (B, 3, H, W), on any device.
            target: What is asked of which image.
            ids: Names of the images, for methods with noise: an image's noise follows from its name and ``seed``
                alone. None: its pixels are its name.
            seed: The run's seed.
            differentiable: Keep the graph of the maps and of the output, for losses on explanations. Gradients of
                pixels are piecewise constant in the pixels of a network of ReLUs: their gradient with respect to the
                images is zero there (that with respect to the weights is not), and a warning says so.

        Raises:
            WsssError: The method cannot be used on this network or target, or is not differentiable.
        """
        if differentiable and not self.differentiates:
            raise WsssError(
                f"{self.name} is made of perturbations and cannot be differentiated; take a gradient method"
            )
        if images.ndim != 4:
            raise WsssError(f"images are (images, channels, height, width), these are {tuple(images.shape)}")
        if ids is not None and len(ids) != len(images):
            raise WsssError(f"{len(ids)} ids for {len(images)} images")
        with undisturbed(subject):
            images = images.clone() if images.is_inference() else images
            images = images.to(subject.device or images.device)
            forward = ForwardPass(subject, images, target, None if ids is None else list(ids), seed, differentiable)
            maps = subject.covering(self.explain(forward).float(), images.shape[2:])
            output = forward.output
            if not differentiable:
                maps, output = maps.detach(), output.detach()
        return Explanation(maps, forward.rows, output, self._about(forward))

    @abstractmethod
    def explain(self, forward: ForwardPass) -> torch.Tensor:
        """Maps (R, ...) of ``forward.rows``; runs a forward pass of ``forward`` first."""

    @property
    def name(self) -> str:
        """The name that ``find`` knows it by."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def options(self) -> dict[str, Any]:
        """The method's options as plain values."""
        known: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        named = {field.name: getattr(self, field.name) for field in known}
        return {
            key: {"name": value.name, **value.options()} if isinstance(value, Explainer) else value
            for key, value in named.items()
        }

    def _about(self, forward: ForwardPass) -> About:
        values = {
            "method": self.name,
            "options": self.options(),
            "normalised": self.normalised,
            **forward.target.about(),
            "layer": forward.subject.layer,
            "at": forward.subject.at,
            "classes": sorted(set(forward.rows.class_idx.tolist())),
            "score": self.score or forward.target.perturbed,
            "input": tuple(forward.images.shape[-2:]),
            "seed": forward.seed,
            "cost": dict(forward.cost),
        }
        if forward.differentiable:
            values["model"] = None
        return About(forward.subject, values)
