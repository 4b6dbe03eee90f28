"""mIoU of the maps of a finished run at the best constant threshold, at two fixed ones, and at Otsu's of each map.

    python -m benchmarks.thresholds results/scenes

Only images with a ground-truth mask count. The best constant is chosen on the very masks that it is scored on (100
candidates): an upper bound for constants, no result. Without a dense CRF.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.index import SPLITS, Index, Item
from wsss.evaluate.confusion import confusion, mean_iou
from wsss.evaluate.counting import MapCounter, merged, true_mask
from wsss.evaluate.thresholds import best_threshold, threshold_grid
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.refine.thresholds import otsu_of_each
from wsss.store.maps import MapStore

FIXED = (0.3, 0.4)
HEADS = ["recipe", "seed", "split", "images", "best constant", *(f"fixed {t:g}" for t in FIXED), "Otsu", "its mean"]


@dataclass(frozen=True)
class OtsuCounter:
    """Counts masks of maps at Otsu's threshold of each map: a confusion matrix, and the thresholds."""

    store: MapStore
    classes: int

    def start(self) -> tuple[np.ndarray, list[float]]:
        """Empty counts."""
        return np.zeros((self.classes + 1, self.classes + 1), np.int64), []

    def add(self, count: tuple[np.ndarray, list[float]], item: Item) -> None:
        """Count one image."""
        maps, classes = self.store.full(item.id), self.store[item.id].classes
        limits = otsu_of_each(maps)
        count[0][:] += confusion(true_mask(item), pseudo_mask(maps, classes, limits), self.classes)
        count[1].extend(limits.tolist())

    def sum(
        self, a: tuple[np.ndarray, list[float]], b: tuple[np.ndarray, list[float]]
    ) -> tuple[np.ndarray, list[float]]:
        """The counts of both."""
        return a[0] + b[0], a[1] + b[1]


def row(index: Index, cams: Path, split: str, threads: int) -> list[str] | None:
    """A row of the table; None for a split without maps or without ground-truth masks."""
    store, classes = MapStore(cams), len(index.classes)
    items = [item for item in index.scored(split) if item.id in store]
    if not items:
        return None
    thresholds = np.union1d(threshold_grid(100), np.float32(FIXED))
    counts, _ = merged(MapCounter(store, thresholds, classes, frozenset()), items, threads, f"{cams.name} {split}")
    matrix, limits = merged(OtsuCounter(store, classes), items, threads, f"{cams.name} {split}, Otsu")
    curve = mean_iou(counts.confusions())
    best = best_threshold(curve)
    fixed = [curve[np.searchsorted(thresholds, np.float32(t))] for t in FIXED]
    figures = [f"{100 * curve[best]:.1f} at {thresholds[best]:g}", *(f"{100 * v:.1f}" for v in fixed)]
    spread = f"{np.mean(limits):.2f} ± {np.std(limits):.2f}"
    seed = cams.parent.parent.name.removeprefix("s")
    return [cams.name, seed, split, str(len(items)), *figures, f"{100 * mean_iou(matrix):.1f}", spread]


def rows(results: Path, threads: int = 1) -> list[list[str]]:
    """The rows of all maps of all seeds below ``results``, the folder of a dataset."""
    index = Index.load(results / "index")
    found = sorted(path.parent for path in results.glob("s*/cams/*/manifest.json"))
    every = (row(index, cams, split, threads) for cams in found for split in SPLITS)
    return [one for one in every if one is not None]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.thresholds", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, help="folder of a dataset below the results")
    parser.add_argument("--threads", type=int, default=1, help="worker processes (default 1)")
    args = parser.parse_args()
    lines = [HEADS, ["---"] * len(HEADS), *rows(args.results, args.threads)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
