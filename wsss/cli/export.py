"""``wsss export``: a trained network as one file for other software, or masks for annotation tools."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.errors import WsssError

if TYPE_CHECKING:
    from wsss.store.masks import MaskFolder

ABOUT = """\
Write a trained segmentation network or classifier as an ONNX file or a torch.export program. Before the file gets its
name it is compared with the network on a drawn picture; the largest difference is printed.

With --masks, write masks (pseudo-labels, predictions, or any folder of ID.png) for annotation tools. What is drawn
there comes back as corrections with wsss review RESULTS --from FILE. --to png writes each mask as a file DIR/ID.png,
also those of a recipe with storage: packed; --to packed puts 1,024 of them into a ZIP file."""
EXAMPLES = """\
examples:
  wsss export results/photos/s0/segmenters/salient --to onnx --out salient.onnx --normalise
  wsss export results/photos/s0/classifiers/p-noc --to torch.export --out p-noc.pt2
  wsss export --masks results/photos/s0/masks/walk --to coco --out walk.json
  wsss export --masks results/photos/s0/masks/walk --to png --out walk
  wsss export --masks sam --index results/photos/index --to cvat --out sam.xml
  wsss export --masks results/photos/s0/masks/walk --to labelstudio --out tasks.json --prefix '/data/local-files/?d='"""
NETWORKS, FILES = ("onnx", "torch.export"), ("png", "packed")
MASKS = ("coco", "cvat", "labelstudio", *FILES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss export``."""
    parser.add_argument(
        "path", type=Path, nargs="?", metavar="DIR", help="artefact folder of a segmenter or a classifier"
    )
    parser.add_argument("--to", required=True, choices=(*NETWORKS, *MASKS), help="kind of file")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE|DIR",
        help="the file, as p-noc.onnx or masks.json; with --to png or packed a folder that is empty or not there",
    )  # fmt: skip
    parser.add_argument(
        "--normalise", action="store_true",
        help="the file takes RGB in 0..1 and normalises by itself (default: it takes normalised images)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="the file takes images of this size only, in pixels (default: any multiples of 32)",
    )  # fmt: skip
    parser.add_argument("--masks", type=Path, metavar="DIR", help="artefact of masks, or a folder of ID.png")
    parser.add_argument("--index", type=Path, metavar="DIR", help="index of the images (default: the artefact's)")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="stands before the names of images in the file")


def export(args: argparse.Namespace) -> int:
    """Write the file and say what it takes, or how many masks it holds. Raises ``WsssError``."""
    if (args.path is None) == (args.masks is None):
        raise WsssError("name the folder of a network, or masks with --masks DIR")
    allowed, what = (NETWORKS, "a network") if args.masks is None else (MASKS, "masks")
    if args.to not in allowed:
        raise WsssError(f"--to {args.to}: {what} can be written as {', '.join(allowed)}")
    if args.masks is not None:
        return _masks(args)
    from wsss.interfaces.export import export as write

    print(write(args.path, args.to, args.out, args.normalise, tuple(args.size) if args.size else None))
    return 0


def _masks(args: argparse.Namespace) -> int:
    from wsss.data.index import Index
    from wsss.interfaces.annotations import write_annotations
    from wsss.store.artefact import find
    from wsss.store.manifest import NAME
    from wsss.store.masks import MaskFolder
    from wsss.text import count, nice

    folder = args.masks / "masks" if (args.masks / NAME).is_file() else args.masks
    if args.to in FILES:
        return _files(MaskFolder(folder), args.out, args.to == "packed")
    index = Index.load(args.index or find(args.masks).inputs.get("index", Path("index")))
    masks = MaskFolder(folder)
    items = [item for item in index.items if item.id in masks]
    if not items:
        raise WsssError(f"{nice(folder)}: holds no mask ID.png of an image of {nice(index.folder)}")
    regions = write_annotations(masks, items, index.classes, args.to, args.out, args.prefix)
    print(f"{nice(args.out)}: {count(len(items), 'mask')}, {count(regions, 'region')}, for {args.to}")
    return 0


def _files(masks: MaskFolder, out: Path, packed: bool) -> int:
    """Copy all masks into a folder, which appears when all are there: as they are, whoever made them."""
    from wsss.store.masks import MaskFolder
    from wsss.system.files import replace_folder
    from wsss.system.packs import write_packs
    from wsss.text import count, nice

    ids = masks.ids()
    if not ids:
        raise WsssError(f"{nice(masks.path)}: holds no mask ID.png")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WsssError(f"{nice(out)}: is there already; name another folder with --out")
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir(parents=True)
        contents = ((id, masks.file(id).read_bytes()) for id in ids)
        if packed:
            write_packs(scratch, ((f"{id}.png", content) for id, content in contents), len(ids))
        else:
            for id, content in contents:
                MaskFolder(scratch).put(id, content)
        replace_folder(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{nice(out)}: {count(len(ids), 'mask')}")
    return 0
