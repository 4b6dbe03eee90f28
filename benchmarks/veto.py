"""What ``veto: tags`` repairs in masks made elsewhere that were corrupted on purpose.

    python -m benchmarks.veto ../shared/data/animals --list val.txt

A folder with ``masks``, ``labels.csv`` and ``classes.txt``. Into the ground-truth masks of every tenth photo a block of
a third of each side is painted, as a class that the photo is not tagged with. mIoU, background included, of these masks
as they are, and after the veto, with the block as background.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from benchmarks.choice import markdown
from wsss.data.images import read_mask
from wsss.data.palette import IGNORE
from wsss.evaluate.confusion import confusion, mean_iou
from wsss.refine.tags import judge, without_untagged

EVERY = 10
"""One of so many photos is painted."""
PART = 3
"""The block has this part of either side."""


def painted(mask: np.ndarray, labels: tuple[int, ...], classes: int, rng: np.random.Generator) -> np.ndarray:
    """The mask with a block of an untagged class."""
    found = mask.copy()
    height, width = (side // PART for side in mask.shape)
    top, left = (int(rng.integers(side - part + 1)) for side, part in zip(mask.shape, (height, width), strict=True))
    wrong = int(rng.choice([c for c in range(classes) if c not in labels]))
    found[top : top + height, left : left + width] = wrong + 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.veto", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", default="val.txt", help="ids of the photos, a file in the folder (default val.txt)")
    args = parser.parse_args()
    classes = (args.folder / "classes.txt").read_text("utf-8").split()
    with (args.folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        tags = {
            row["id"]: tuple(classes.index(name) for name in row["labels"].split(";")) for row in csv.DictReader(file)
        }
    rng, ids = np.random.default_rng(0), (args.folder / args.list).read_text("utf-8").split()
    counts = {name: np.zeros((len(classes) + 1,) * 2, np.int64) for name in ("corrupted", "after the veto")}
    spoilt, caught, false, harmed = 0, 0, 0, 0
    for number, id in enumerate(ids):
        truth = read_mask(args.folder / "masks" / f"{id}.png")
        mask = painted(truth, tags[id], len(classes), rng) if number % EVERY == 0 else truth
        judged = judge(mask, tags[id])
        vetoed = without_untagged(mask, judged, "background")
        spoilt += number % EVERY == 0
        caught += number % EVERY == 0 and bool(judged.untagged)
        false += number % EVERY != 0 and bool(judged.untagged)
        for name in counts:
            found = mask if name == "corrupted" else vetoed
            counts[name] += confusion(truth, np.where(found == IGNORE, 0, found), len(classes))
        tagged = np.isin(mask, [c + 1 for c in tags[id]])
        harmed += int((vetoed != mask)[tagged].sum())
    rows = [[name, f"{100 * float(mean_iou(matrix)):.1f}"] for name, matrix in counts.items()]
    print(markdown(["masks", "mIoU"], rows))
    print(
        f"{caught} of {spoilt} painted photos caught, {false} others of {len(ids)} named, {harmed} tagged pixels lost"
    )


if __name__ == "__main__":
    main()
