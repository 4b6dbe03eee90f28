"""Every kernel beside the straightforward form that the field uses, measured in turn in one process.

    python -m benchmarks                                      all kernels
    python -m benchmarks --only crf-two-problems --json out.json
    python -m benchmarks --photos FOLDER                      pictures from a folder in place of drawn ones

One thread. Times are medians; on a machine with other work look at the ratio of CPU time. Memory is the peak of a fresh
process above what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks import cams, crf, edges, evaluation, explain, pictures, walk
from benchmarks.frame import Kernel, measure, peak, table

MODULES = (crf, walk, evaluation, cams, edges, explain)
KERNELS: dict[str, Kernel] = {kernel.name: kernel for module in MODULES for kernel in module.KERNELS}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=KERNELS, metavar="NAME", help=f"some of: {', '.join(KERNELS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--repeats", type=int, default=5, help="runs that count, for each form (default 5)")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="JPEG files to make the pictures of")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    pictures.use(args.photos)
    if args.one:
        name, form, size = args.one
        print(json.dumps(peak(KERNELS[name], form, float(size))))
        return
    options = ["--photos", str(args.photos.resolve())] if args.photos else []
    kernels = [KERNELS[name] for name in args.only or KERNELS]
    missing = [kernel for kernel in kernels if kernel.missing]
    if missing and args.only:
        parser.error(f"{missing[0].name} needs {missing[0].needs}: pip install 'wsss[captum,gradcam]'")
    for kernel in missing:
        print(f"{kernel.name}: left out, {kernel.needs} is not installed", file=sys.stderr)
        kernels.remove(kernel)
    rows = []
    for kernel in kernels:
        print(f"{kernel.name} ...", file=sys.stderr, flush=True)
        rows.append(measure(kernel, args.repeats, options))
    print(table(kernels, rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
