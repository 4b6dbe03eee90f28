"""Which of an image's classes is erased."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.nn import functional as F

from wsss.compute.devices import upload
from wsss.settings import ErasingSettings


def _require_labels(labels: torch.Tensor) -> None:
    """Raise ``ValueError`` if an image has no class. Not asked of a GPU, which the host would wait for in every step:
    there the index has seen to it, which gives such trainings labelled images alone."""
    if labels.device.type == "cpu" and bool((labels.sum(1) == 0).any()):
        raise ValueError("an image without labels cannot have a class erased")


def choose_class(labels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """One present class per image, uniformly.

    Args:
        labels: (B, C) in {0, 1}, at least one present class per image.
        draws: (B,) uniform in [0, 1).

    Returns:
        int64 (B,).

    Raises:
        ValueError: An image has no present class (such images must not reach an erasing objective).

    Examples:
        >>> labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> choose_class(labels, draws=torch.tensor([0.7, 0.7]))  # the second of two, the only one
        tensor([2, 1])
    """
    _require_labels(labels)
    present = labels.sum(1)
    # erase the rank-th present class; close below 1 the product is rounded up to their number
    rank = (draws * present).floor().clamp(max=present - 1) + 1
    return ((labels.cumsum(1) >= rank[:, None]) & (labels > 0)).int().argmax(1)


def choose_weighted(labels: torch.Tensor, draws: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """One present class per image, with chances in proportion to exp(log_weights).

    Args:
        labels, draws: As for ``choose_class``, with the same error.
        log_weights: (C,) or (B, C); logarithms, so that no weight is too small to count.

    Returns:
        int64 (B,).

    Examples:
        >>> labels = torch.tensor([[1, 0, 1]])
        >>> weights = torch.tensor([1.0, 5.0, 3.0])  # absent classes have no chance: 1/4 and 3/4 are left
        >>> [choose_weighted(labels, torch.tensor([draw]), weights.log()).item() for draw in (0.2, 0.3)]
        [0, 2]
    """
    _require_labels(labels)
    chances = log_weights.expand_as(labels).masked_fill(labels == 0, -torch.inf).double().softmax(1)
    reached = (chances.cumsum(1) > draws[:, None]) & (labels > 0)
    last = labels.shape[1] - 1 - labels.flip(1).argmax(1)  # where rounding keeps the sum below the draw
    return torch.where(reached.any(1), reached.int().argmax(1), last)


class Chooser:
    """Chooses classes by the strategy of a recipe.

    Each choice is a function of the image's labels, its draw, the generator's scores and, for ``least-chosen``, of the
    choices of all earlier micro-steps on all devices; it so does not depend on how a batch is shared out.

    Args:
        settings: The recipe: ``erase_class`` and ``focal_gamma``.
        classes: C.
        frequencies: Share of the training images that have each class, (C,) in [0, 1]; for ``balanced``.

    Attributes:
        counts: Times that each class was chosen, int64 (C,), kept for ``least-chosen`` only: it is brought up to date
            once a micro-step.

    Raises:
        ValueError: ``balanced`` without frequencies.
    """

    def __init__(self, settings: ErasingSettings, classes: int, frequencies: torch.Tensor | None = None) -> None:
        self.strategy, self.gamma = settings.erase_class, settings.focal_gamma
        self.rarity: torch.Tensor | None = None
        if self.strategy == "balanced":
            if frequencies is None:
                raise ValueError("erase_class: balanced needs the frequencies of the classes")
            self.rarity = -frequencies.double().log()
        self.counts = torch.zeros(classes, dtype=torch.int64)

    def __call__(self, labels: torch.Tensor, draws: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The chosen classes, int64 (B,).

        Args:
            labels: (B, C) in {0, 1}, at least one present class per image.
            draws: (B,) uniform in [0, 1).
            scores: The generator's logits (B, C); no gradient flows into them.
        """
        if self.rarity is not None:
            self.rarity = upload(self.rarity, labels.device)
            return choose_weighted(labels, draws, self.rarity)
        if self.strategy == "focal":  # log (1 - p)^gamma with 1 - sigmoid(z) = sigmoid(-z)
            return choose_weighted(labels, draws, self.gamma * F.logsigmoid(-scores.detach().float()))
        if self.strategy == "random":
            return choose_class(labels, draws)
        counts = self.counts = upload(self.counts, labels.device)
        fewest = counts.expand(labels.shape).masked_fill(labels == 0, counts.max() + 1).amin(1, keepdim=True)
        chosen = choose_class(labels * (counts == fewest), draws)
        new = (chosen[:, None] == torch.arange(len(counts), device=chosen.device)).sum(0)  # bincount waits for a GPU
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(new)
        self.counts = counts + new
        return chosen

    def state(self) -> dict[str, torch.Tensor]:
        """The counts, for ``least-chosen``; other strategies remember nothing."""
        return {"chosen": self.counts} if self.strategy == "least-chosen" else {}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what ``state`` gave."""
        self.counts = state.get("chosen", self.counts)
