"""Tables of metrics: one row per detection, one row per class, and the whole. Sums are kept, never the rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from wsss.evaluate.confusion import plain
from wsss.explain.metrics.confidence import BETAS, METRICS, Others, f_score, with_singles
from wsss.system.files import atomic_path

PERCENT = (*METRICS, "energy", "inside")
"""Metrics that tables of classes and of the whole give in percent, as the papers do; detections have fractions."""
FLAGS = ("several", "zero_map", "nan_map", "improbable")
COST = ("forwards", "head_forwards", "backwards", "seconds")
F_SCORES = {f"f{beta:g}{sign}": (beta, sign) for sign in "+-" for beta in BETAS}

Sum = TypeVar("Sum", float, torch.Tensor)


class Tally:
    """Sums over detections, by class; its memory does not depend on how many there are.

    Args:
        classes: Number of classes C.

    Attributes:
        detections: n_c, int64 (C,).
        sums, numbers: By metric: sum fp64 (C,) of the values that are not NaN, and how many those are int64 (C,).
        flags: By name in ``FLAGS``: detections that have it, int64 (C,).
        curves: By name: sum of curves fp64 (steps + 1,), over all detections.
        images: Images that were explained, with or without a detection.
        cost: By name in ``COST``: sum over images.
        peak_mib: Most memory on the device while explaining, in MiB; None where it is not measured (CPU).
    """

    def __init__(self, classes: int) -> None:
        self.detections = torch.zeros(classes, dtype=torch.int64)
        self.sums: dict[str, torch.Tensor] = {}
        self.numbers: dict[str, torch.Tensor] = {}
        self.flags = {name: torch.zeros(classes, dtype=torch.int64) for name in FLAGS}
        self.curves: dict[str, torch.Tensor] = {}
        self.images = 0
        self.cost = dict.fromkeys(COST, 0.0)
        self.peak_mib: float | None = None

    def add(
        self,
        class_idx: torch.Tensor,
        values: Mapping[str, torch.Tensor],
        flags: Mapping[str, torch.Tensor],
        curves: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Add detections: their classes int64 (R,), metrics (R,), flags bool (R,), curves (R, steps + 1)."""
        class_idx = class_idx.cpu()
        self.detections += self._by_class(class_idx, torch.ones(len(class_idx), dtype=torch.int64))
        for name, value in values.items():
            value = value.detach().double().cpu()
            known = ~value.isnan()
            zeros = torch.zeros(len(self.detections))
            self.sums[name] = self.sums.get(name, zeros.double()) + self._by_class(class_idx, value.nan_to_num(nan=0.0))
            self.numbers[name] = self.numbers.get(name, zeros.long()) + self._by_class(class_idx, known.long())
        for name, value in flags.items():
            self.flags[name] += self._by_class(class_idx, value.long().cpu())
        for name, value in (curves or {}).items():
            self.curves[name] = self.curves.get(name, 0) + value.detach().double().cpu().sum(0)

    def add_cost(self, images: int, seconds: float, cost: Mapping[str, int], peak_mib: float | None = None) -> None:
        """Add what it took to explain some images."""
        self.images += images
        for name, value in {**cost, "seconds": seconds}.items():
            self.cost[name] += value
        self._higher(peak_mib)

    def merge(self, other: Tally) -> Tally:
        """Add the sums of other images."""
        self.detections += other.detections
        self.images += other.images
        _add(self.sums, other.sums)
        _add(self.numbers, other.numbers)
        _add(self.flags, other.flags)
        _add(self.curves, other.curves)
        _add(self.cost, other.cost)
        self._higher(other.peak_mib)
        return self

    def class_values(self, others: Others = "reference") -> dict[str, torch.Tensor]:
        """By metric: the value of every class, fp64 (C,), NaN for a class without detections.

        Percent: ``ic``, ``ad``, ``ar``, ``ado``, ``aro``, ``f0.5+`` to ``f2-``, ``energy``, ``inside``. As they are:
        areas under curves and their spread, ROAD. ``others`` as for ``confidence.with_singles``; the F-scores are those
        of the columns beside them.
        """
        found = {name: self._scaled(name, total / self._number(name, others)) for name, total in self.sums.items()}
        if "ar" in found:
            pairs = {"+": ("ar", "ado"), "-": ("ad", "aro")}
            for name, (beta, sign) in F_SCORES.items():
                first, second = pairs[sign]
                found[name] = f_score(found[first], found[second], beta)
        return found

    def class_table(self, names: Sequence[str], others: Others = "reference") -> list[dict[str, Any]]:
        """One row per class: its name, ``detections``, ``several`` (those in images with other present classes),
        metrics; None where there is nothing to say."""
        values = self.class_values(others)
        return [
            {
                "class": name,
                "detections": int(self.detections[c]),
                "several": int(self.flags["several"][c]),
                **{metric: plain(value[c]) for metric, value in values.items()},
            }
            for c, name in enumerate(names)
        ]

    def summary(self, others: Others = "reference") -> dict[str, Any]:
        """``macro``: by metric, the mean over the classes that have a value; ``weighted``: the mean over detections
        (F-scores, which detections have none of: mean over classes, weighted by detections); numbers of images and
        detections; shares of the detections with other present classes (``several_share``), with a map that is zero
        everywhere (``zero_map_rate``), that held a NaN or infinity (``nan_rate``; must be 0), with a probability that
        was too small to divide by (``improbable_rate``); cost of explaining an image, metrics not counted.
        """
        values = self.class_values(others)
        total = int(self.detections.sum())
        weighted = {}
        for name, value in values.items():
            weight = self.detections if name in F_SCORES else self._number(name, others)
            known = ~value.isnan()
            mean = (value * weight)[known].sum() / weight[known].sum()
            weighted[name] = plain(mean)
        rates = {name: plain(count.sum() / total) if total else None for name, count in self.flags.items()}
        return {
            "others": others,
            "macro": {name: plain(value[~value.isnan()].mean()) for name, value in values.items()},
            "weighted": weighted,
            "images": self.images,
            "detections": total,
            "several_share": rates["several"],
            "zero_map_rate": rates["zero_map"],
            "nan_rate": rates["nan_map"],
            "improbable_rate": rates["improbable"],
            **{f"{name}_per_image": value / self.images if self.images else None for name, value in self.cost.items()},
            "peak_gpu_memory_mib": self.peak_mib,
        }

    def mean_curves(self) -> dict[str, list[float]]:
        """By name: the mean curve over detections, scores at 0, 1/steps, ..., 1 of the pixels."""
        total = int(self.detections.sum())
        return {name: (value / total).tolist() for name, value in self.curves.items()} if total else {}

    def _number(self, name: str, others: Others) -> torch.Tensor:
        """How many detections a metric is the mean of: those of images with one class add 0 to the sum of others."""
        if name in ("ado", "aro"):
            single = with_singles(torch.tensor(torch.nan), others)
            return self.numbers[name] if single.isnan() else self.detections
        return self.numbers[name]

    def _scaled(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return 100 * values if name in PERCENT else values

    def _by_class(self, class_idx: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(len(self.detections), dtype=values.dtype)
        return zeros.index_add(0, class_idx, values)

    def _higher(self, mib: float | None) -> None:
        if mib is not None:
            self.peak_mib = mib if self.peak_mib is None else max(self.peak_mib, mib)


def _add(mine: dict[str, Sum], theirs: Mapping[str, Sum]) -> None:
    for name, value in theirs.items():
        mine[name] = mine[name] + value if name in mine else value


class DetectionTable:
    """A CSV file of detections, written row by row, that is in its place only when it is whole.

    ``with DetectionTable(path) as table: measure(..., each=table)``
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __enter__(self) -> DetectionTable:
        self._place = atomic_path(self.path)
        self._file = open(self._place.__enter__(), "w", encoding="utf-8", newline="")
        self._writer: csv.DictWriter[str] | None = None
        return self

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if self._writer is None:
                self._writer = csv.DictWriter(self._file, list(row))
                self._writer.writeheader()
            self._writer.writerow(row)

    def __exit__(self, *error: Any) -> None:
        self._file.close()
        self._place.__exit__(*error)


def write_table(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of a table as CSV, atomically; None is an empty cell."""
    with DetectionTable(path) as table:
        table(rows)
