"""Cut the images of a dataset into regions with SAM or SAM 2, for masks of ``source: regions``.

Outside the library, since it needs ``transformers``, which nothing else does: pip install transformers. For each image
of an index, ID.json: a list of regions in COCO's run-length encoding, the form of segment-anything's own script
(scripts/amg.py --convert-to-rle). Images whose file is there are left alone, so a stopped run goes on. The weights come
from the Hugging Face hub, or from a folder; SAM and SAM 2 are under the Apache License 2.0. Take a GPU: on a CPU, SAM
ViT-B takes about 20 seconds a photo for the image encoder alone.

    python tools/sam_regions.py results/photos/index --out sam/ --model facebook/sam-vit-base
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools.mask import encode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from wsss.data.images import read_upright
from wsss.data.index import SPLITS, Index
from wsss.system.files import write_text
from wsss.system.progress import Progress

Generator = Callable[..., dict[str, Any]]
"""``transformers``' pipeline of mask generation: an image to its ``masks``, bool (H, W) each, and their ``scores``."""


def records(masks: Any, scores: Any) -> list[dict[str, Any]]:
    """What stands in the file of an image; the scores are SAM's predicted IoU."""
    found = []
    for mask, score in zip(masks, scores, strict=True):
        inside = np.asfortranarray(np.asarray(mask), np.uint8)
        code = encode(inside)
        segmentation = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
        found.append({"segmentation": segmentation, "area": int(inside.sum()), "predicted_iou": float(score)})
    return found


def cut(index: Index, out: Path, generate: Generator, splits: tuple[str, ...], points: int) -> int:
    """Write the regions of every image that has none yet. Returns how many were written."""
    items = [item for split in splits for item in index.split(split) if not (out / f"{item.id}.json").is_file()]
    with Progress(len(items), what="regions") as progress:
        for item in items:
            image = Image.fromarray(read_upright(item.image, (item.height, item.width)))
            made = generate(image, points_per_batch=points)
            write_text(out / f"{item.id}.json", json.dumps(records(made["masks"], made["scores"])))
            progress.advance()
    return len(items)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="dataset index, such as results/photos/index")
    parser.add_argument("--out", type=Path, required=True, help="folder of the regions")
    parser.add_argument("--model", default="facebook/sam-vit-base", help="name on the hub, or a folder")
    parser.add_argument("--splits", nargs="+", default=SPLITS, choices=SPLITS, help="which images (default: all)")
    parser.add_argument("--points", type=int, default=64, help="points that the decoder sees at once (default 64)")
    parser.add_argument("--device", default=None, help="such as cuda:0 (default: the library's choice)")
    args = parser.parse_args()
    try:
        from transformers import pipeline
    except ImportError:
        print("this needs transformers: pip install transformers", file=sys.stderr)
        return 1
    generate: Generator = pipeline("mask-generation", model=args.model, device=args.device)
    written = cut(Index.load(args.index), args.out, generate, tuple(args.splits), args.points)
    print(f"{args.out}: regions of {written} images written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
