"""``wsss export``: a trained network as one file for other software."""

from __future__ import annotations

import argparse
from pathlib import Path

ABOUT = """\
Write a trained segmentation network or classifier as an ONNX file or a torch.export program. Before the file gets its
name it is compared with the network on a drawn picture; the largest difference is printed."""
EXAMPLES = """\
examples:
  wsss export results/photos/s0/segmenters/agree --to onnx --out agree.onnx --normalise
  wsss export results/photos/s0/classifiers/p-noc --to torch.export --out p-noc.pt2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss export``."""
    parser.add_argument("path", type=Path, metavar="DIR", help="artefact folder of a segmenter or a classifier")
    parser.add_argument("--to", required=True, choices=("onnx", "torch.export"), help="kind of file")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file, as p-noc.onnx or p-noc.pt2")
    parser.add_argument(
        "--normalise", action="store_true",
        help="the file takes RGB in 0..1 and normalises by itself (default: it takes normalised images)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="the file takes images of this size only, in pixels (default: any multiples of 32)",
    )  # fmt: skip


def export(args: argparse.Namespace) -> int:
    """Write the file and say what it takes. Raises ``WsssError``."""
    from wsss.interfaces.export import export as write

    print(write(args.path, args.to, args.out, args.normalise, tuple(args.size) if args.size else None))
    return 0
