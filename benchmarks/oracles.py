"""What limits each stage of a finished run: mIoU as it is, and with one thing known that nobody tells it.

    python -m benchmarks.oracles results/animals/s0 --cams mixed walk --masks salient agree --predictions agree
    python -m benchmarks.oracles results/animals/s0 --cams mixed --split train

Maps, before the dense CRF: Otsu's threshold of each map (looks at no mask), the best constant of all, the best one of
each image, and the ground truth's foreground with the maps telling only which class (*saliency*). Pseudo-labels, 255 as
background: as they are, and *saliency*: their classes inside the ground truth's foreground, the commonest of an image
where they have none. Predictions: as they are, with *tags* (pixels of untagged classes become background), and likewise
*saliency*. All but Otsu's and *as it is* are upper bounds and no results.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.choice import markdown
from wsss.data.images import read_mask
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.evaluate.confusion import confusion, mean_iou
from wsss.refine.pseudo_masks import best_labels
from wsss.refine.thresholds import otsu_of_each
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

THRESHOLDS = np.arange(0.05, 0.96, 0.05, dtype=np.float32)
HEADS = ("result", "as it is", "best constant", "best per image", "tags", "saliency")


def values_of(places: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Mask values (H, W) of the places in a list of maps, 0 for none."""
    return np.array([0, *(c + 1 for c in classes)])[places]


def of_maps(store: MapStore, items: Sequence[Item], classes: int) -> list[float | None]:
    """mIoU for each head but the first; None where it does not apply."""
    side = classes + 1
    otsu, salient, best = (np.zeros((side, side), np.int64) for _ in range(3))
    constants = np.zeros((len(THRESHOLDS), side, side), np.int64)
    for item in items:
        truth, maps, known = read_mask(item.mask), store.full(item.id), store[item.id].classes
        otsu += confusion(truth, values_of(best_labels(maps, otsu_of_each(maps)), known), classes)
        each = np.stack([confusion(truth, values_of(best_labels(maps, t), known), classes) for t in THRESHOLDS])
        constants += each
        best += each[int(np.argmax([mean_iou(one) for one in each]))]
        inside = np.where(truth > 0, values_of(best_labels(maps, -1.0), known), 0)
        salient += confusion(truth, inside, classes)
    highest = max(float(mean_iou(one)) for one in constants)
    return [float(mean_iou(otsu)), highest, float(mean_iou(best)), None, float(mean_iou(salient))]


def of_masks(folder: MaskFolder, items: Sequence[Item], classes: int, tags: bool) -> list[float | None]:
    """The same of masks; ``tags``: they may hold untagged classes."""
    plain, tagged, salient = (np.zeros((classes + 1, classes + 1), np.int64) for _ in range(3))
    for item in items:
        truth, mask = read_mask(item.mask), folder.read(item.id)
        mask = np.where(mask == IGNORE, 0, mask)
        allowed = np.where(np.isin(mask, [c + 1 for c in item.labels]), mask, 0)
        plain += confusion(truth, mask, classes)
        tagged += confusion(truth, allowed, classes)
        counts = np.bincount(allowed[allowed > 0], minlength=classes + 1)
        commonest = int(counts.argmax()) if counts.any() else (item.labels[0] + 1 if item.labels else 0)
        salient += confusion(truth, np.where(truth > 0, np.where(allowed > 0, allowed, commonest), 0), classes)
    return [float(mean_iou(plain)), None, None, float(mean_iou(tagged)) if tags else None, float(mean_iou(salient))]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.oracles", description=__doc__, formatter_class=raw)
    parser.add_argument("run", type=Path, help="folder of a seed below a dataset's results")
    for kind in ("cams", "masks", "predictions"):
        parser.add_argument(f"--{kind}", nargs="+", default=[], metavar="NAME", help=f"recipes of {kind}")
    parser.add_argument("--split", choices=("train", "val"), default="val", help="images to score (default val)")
    args = parser.parse_args()
    index = Index.load(args.run.parent / "index")
    items, classes = [item for item in index.scored(args.split) if item.mask is not None], len(index.classes)
    rows = {f"CAMs {n}": of_maps(MapStore(args.run / "cams" / n), items, classes) for n in args.cams}
    for kind in ("masks", "predictions"):
        for name in getattr(args, kind):
            folder = MaskFolder(args.run / kind / name / "masks")
            rows[f"{kind} {name}"] = of_masks(folder, items, classes, kind == "predictions")
    lines = [
        [name, *("" if value is None else f"{100 * value:.1f}" for value in values)] for name, values in rows.items()
    ]
    print(f"mIoU in percent on {len(items)} images of {args.split}\n\n{markdown(HEADS, lines)}")


if __name__ == "__main__":
    main()
