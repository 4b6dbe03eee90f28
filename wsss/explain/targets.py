"""What is asked about: which classes of which images, and the number that stands for each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from wsss.errors import WsssError

Policy = Literal["gt", "pred", "gt_and_pred", "gt_or_pred"]


@dataclass(frozen=True, eq=False)
class Rows:
    """One row for each pair of an image and a class, those of an image together.

    Attributes:
        image_idx: int64 (R,), ascending.
        class_idx: int64 (R,).
        present: Classes considered present in each image, bool (B, C): the set that contrasting methods contrast with;
            None where the target has no such set.
        masks: Pixels of interest M, bool (R, H', W'); None for classifiers.
        valid: Pixels that count in a comparison with M, bool (R, H', W'); None: all.
    """

    image_idx: torch.Tensor
    class_idx: torch.Tensor
    present: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    valid: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.image_idx)

    def of(self, image: int, copies: int) -> Rows:
        """The rows of one image, for a batch of ``copies`` perturbed copies of it: those of the first copy, then those
        of the second, and so on."""
        mine = self.image_idx == image
        return self._picked(
            mine.nonzero()[:, 0].repeat(copies), torch.arange(copies).repeat_interleave(int(mine.sum()))
        )

    def row(self, number: int, copies: int) -> Rows:
        """One row, for a batch of ``copies`` perturbed copies of its image."""
        return self._picked(torch.full((copies,), number), torch.arange(copies))

    def repeated(self, copies: int, images: int) -> Rows:
        """The rows of a batch of ``images`` images, for the same batch ``copies`` times in sequence."""
        shift = torch.arange(copies, device=self.image_idx.device).repeat_interleave(len(self)) * images
        picked = torch.arange(len(self)).repeat(copies)
        return self._picked(picked, self.image_idx.repeat(copies) + shift, copies)

    def _picked(self, picked: torch.Tensor, image_idx: torch.Tensor, copies: int | None = None) -> Rows:
        device = self.image_idx.device
        picked = picked.to(device)
        present = self.present.repeat(copies, 1) if copies and self.present is not None else None
        masks, valid = (None if m is None else m[picked] for m in (self.masks, self.valid))
        return Rows(image_idx.to(device), self.class_idx[picked], present, masks, valid)


class Target(ABC):
    """A question about a network's output.

    Attributes:
        perturbed: Kind of score that methods measure under perturbation unless told otherwise.
    """

    perturbed: str

    @abstractmethod
    def rows(self, output: torch.Tensor, single_label: bool = False) -> Rows:
        """What is explained of a batch, from its unperturbed output; never asked again while a method perturbs."""

    @abstractmethod
    def score(self, output: torch.Tensor, rows: Rows, kind: str = "logit", single_label: bool = False) -> torch.Tensor:
        """Scores fp32 (R,) of the rows. ``logit`` is linear in the output and is what gradients are taken of.

        Raises:
            WsssError: The target has no score of this kind.
        """

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Its options, for the record."""


def of_every(images: int, classes: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and classes int64 (images * n,) of the same n classes of every image, in the order of the list."""
    numbers = torch.tensor(list(dict.fromkeys(classes)), dtype=torch.int64, device=device)
    return torch.arange(images, device=device).repeat_interleave(len(numbers)), numbers.repeat(images)


def probabilities(scores: torch.Tensor, single_label: bool) -> torch.Tensor:
    """Class probabilities (B, C) of logits: sigmoid, or softmax where classes exclude each other."""
    return scores.float().softmax(1) if single_label else scores.float().sigmoid()


def predicted(scores: torch.Tensor, single_label: bool) -> torch.Tensor:
    """Predicted classes, bool (B, C): p > 0.5, or the one highest where classes exclude each other."""
    if single_label:
        return torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).bool()
    return probabilities(scores, False) > 0.5


def chosen(policy: Policy, predictions: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """Classes that a label policy takes, bool (B, C).

    Args:
        policy: ``gt``: the image's labels; ``pred``: predicted classes; ``gt_and_pred``; ``gt_or_pred``.
        predictions: bool (B, C).
        labels: (B, C) in {0, 1} or bool; None is enough for ``pred``.

    Raises:
        WsssError: Unknown policy; labels that are needed are missing or of another shape.
    """
    if policy not in get_args(Policy):
        raise WsssError(f"label policy {policy!r}: there are {', '.join(get_args(Policy))}")
    if policy == "pred":
        return predictions
    if labels is None:
        raise WsssError(f"label policy {policy} needs the image labels; give them, or take the policy pred")
    if not isinstance(labels, torch.Tensor):
        raise WsssError(f"labels are a tensor (images, classes) of 0 and 1, this is {type(labels).__name__}")
    if labels.shape != predictions.shape:
        raise WsssError(
            f"labels are {tuple(labels.shape)}, scores are {tuple(predictions.shape)}; both must be (images, classes)"
        )
    labels = labels.to(predictions.device) > 0
    if policy == "gt":
        return labels
    return labels & predictions if policy == "gt_and_pred" else labels | predictions


@dataclass(frozen=True, eq=False)
class Classes(Target):
    """Class scores of a classifier.

    The score that is explained is the logit S_c; under perturbation it is the probability.

    Args:
        policy: Which classes are explained and which are considered present: see ``chosen``. ``gt`` is usual for
            seeds, ``pred`` for the metrics of the MinMax papers.
        labels: Image labels (B, C) in {0, 1}; not needed for ``pred``.
        only: Explain these classes of every image instead, in this order; which are present still follows from the
            policy.
    """

    policy: Policy = "gt"
    labels: torch.Tensor | None = None
    only: Sequence[int] | None = None
    perturbed = "probability"

    def rows(self, output: torch.Tensor, single_label: bool = False) -> Rows:
        self._check(output)
        present = chosen(self.policy, predicted(output.detach(), single_label), self.labels)
        if self.only is not None:
            outside = [c for c in self.only if not 0 <= c < output.shape[1]]
            if outside:
                raise WsssError(f"class {outside[0]} is asked for, the network has classes 0 to {output.shape[1] - 1}")
            return Rows(*of_every(len(output), self.only, output.device), present)
        image_idx, class_idx = present.nonzero(as_tuple=True)
        return Rows(image_idx, class_idx, present)

    def score(self, output: torch.Tensor, rows: Rows, kind: str = "logit", single_label: bool = False) -> torch.Tensor:
        self._check(output)
        if kind == "probability":
            output = probabilities(output, single_label)
        elif kind != "logit":
            raise WsssError(f"score {kind!r}: for classes there are logit and probability")
        return output[rows.image_idx, rows.class_idx].float()

    def about(self) -> dict[str, Any]:
        return {"target": "classes", "policy": self.policy, "only": None if self.only is None else list(self.only)}

    @staticmethod
    def _check(output: torch.Tensor) -> None:
        if output.ndim != 2:
            raise WsssError(
                f"class scores are (images, classes), the network gives {tuple(output.shape)}; let 'read' of Subject "
                "pool them, or ask for Regions if it is a segmentation network"
            )
