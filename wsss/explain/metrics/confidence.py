"""What a map keeps and what it gives away, in probabilities: the multi-label metrics of MinMax-CAM (David et al. 2022).

An image is multiplied with the map of a class, m in [0, 1], and with 1 - m; the probabilities of both, O and O', are
compared with those of the whole image, p. C_i are the classes considered present in the image.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from wsss.errors import WsssError

Others = Literal["reference", "multi_only"]
METRICS = ("ic", "ad", "ar", "ado", "aro")
BETAS = (0.5, 1, 2)
LEAST = 1e-6
"""What a probability that is divided by is raised to: labels may be improbable."""


def confidence(
    before: torch.Tensor, kept: torch.Tensor, removed: torch.Tensor, class_idx: torch.Tensor, present: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The metrics of every row, fp64 (R,), as fractions.

    ``ic`` increase in confidence: 1 where p_c < O_c (high is good); ``ad`` average drop: max(0, p_c - O_c) / p_c (low);
    ``ar`` average retention: the same with O' (high); ``ado``, ``aro`` drop and retention of others: the mean of the
    same over the other present classes (high, low), NaN where there is none.

    Args:
        before: p fp (R, C) of each row's whole image, in [0, 1].
        kept: O (R, C), of the image times m.
        removed: O' (R, C), of the image times 1 - m.
        class_idx: c, int64 (R,).
        present: C_i, bool (R, C); c itself may be missing from it.
    """
    before, kept, removed = before.double(), kept.double(), removed.double()
    own = class_idx[:, None]
    least = before.clamp(min=LEAST)
    drop, retention = ((before - after).clamp(min=0) / least for after in (kept, removed))
    others = present.bool().scatter(1, own, False)
    return {
        "ic": (before < kept).double().gather(1, own)[:, 0],
        "ad": drop.gather(1, own)[:, 0],
        "ar": retention.gather(1, own)[:, 0],
        "ado": _mean(drop, others),
        "aro": _mean(retention, others),
    }


def improbable(before: torch.Tensor, class_idx: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Rows for which some probability was raised to ``LEAST`` before it was divided by, bool (R,)."""
    asked = present.bool().scatter(1, class_idx[:, None], True)
    return ((before < LEAST) & asked).any(1)


def with_singles(values: torch.Tensor, others: Others) -> torch.Tensor:
    """``ado`` or ``aro`` (R,) under a policy for images with one class: ``multi_only`` leaves them out (NaN),
    ``reference`` takes 0, as the authors' code does, which deflates ``ado`` and flatters ``aro``.

    Raises:
        WsssError: Unknown policy.
    """
    if others not in get_args(Others):
        raise WsssError(f"others {others!r}: there are {' and '.join(get_args(Others))}")
    return values.nan_to_num(nan=0.0) if others == "reference" else values


def f_score(first: torch.Tensor, second: torch.Tensor, beta: float = 1) -> torch.Tensor:
    """(1 + b^2) a d / (b^2 d + a) of a = ``first`` and d = ``second`` (any shape, same unit); 0 where both are 0.

    F+ is that of AR and ADO (high is good), F- that of AD and ARO (low). It is taken of the values of a class; that of
    means over classes is another, larger number.
    """
    first, second = first.double(), second.double()
    below = beta**2 * second + first
    return torch.where(below == 0, 0.0, (1 + beta**2) * first * second / torch.where(below == 0, 1.0, below))


def _mean(values: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Mean of (R, C) over members bool (R, C); NaN where there are none."""
    number = members.sum(1)
    total = torch.where(members, values, 0).sum(1)
    return torch.where(number > 0, total / number.clamp(min=1), torch.nan)
