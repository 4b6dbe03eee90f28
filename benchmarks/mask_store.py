"""What masks cost on disk and in time, as files of their own and packed.

    python -m benchmarks.mask_store                       100,000 masks
    python -m benchmarks.mask_store --images 1000000 --folder /scratch/here

Masks of drawn shapes, 375 x 500 pixels, encoded beforehand; both ways store the same bytes. *write*: collect the masks
one by one and put them in place, as a stage does; *first*: open the store in a fresh process and read one; *all*: read
and decode all in a drawn order; *digest*: what goes into the manifest. Seconds of the clock and of the processor; on a
machine with other work the second is what to compare. Memory is what opening a store adds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.pictures import probabilities
from wsss.data.palette import encode_mask
from wsss.parts.collecting import LooseMasks, SpooledMasks
from wsss.provenance import outputs
from wsss.store.masks import MaskFolder

POOL, SIZE = 32, (375, 500)


def pool() -> list[bytes]:
    """Encoded masks of one to three classes, some with coarse borders and some with fine ones."""
    shapes = [probabilities(SIZE, 2 + n % 3, 2 + n % 3, n).argmax(0).astype("uint8") for n in range(POOL)]
    return [encode_mask(mask) for mask in shapes]


def timed(work: Callable[[], Any]) -> tuple[Any, list[float]]:
    """What ``work`` returns, and the seconds it took by the clock and of this process."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, [round(time.perf_counter() - clock, 2), round(time.process_time() - cpu, 2)]


def ids_of(images: int) -> list[str]:
    return [f"image {n:07d}" for n in range(images)]


def write(folder: Path, images: int, packed: bool, contents: list[bytes]) -> None:
    """Collect and settle, as ``wsss.parts.masks.write_masks`` does."""
    folder.mkdir()
    masks = SpooledMasks(folder, "rest") if packed else LooseMasks(folder)
    known = {id: masks.put(id, contents[n % POOL]) for n, id in enumerate(ids_of(images))}
    masks.take_stock(known.items())
    run: Any = SimpleNamespace(check_stop=lambda: None)
    items: Any = [SimpleNamespace(id=id) for id in known]
    masks.settle(items, run).rename(folder / "done")


def read_all(folder: Path, images: int) -> None:
    masks, ids = MaskFolder(folder), ids_of(images)
    random.Random(0).shuffle(ids)
    for id in ids:
        masks.read(id)


def first(folder: Path, images: int) -> dict[str, float]:
    """In a process of its own: milliseconds until the first mask is there, and MiB that were added."""
    before = resident()
    _, (clock, cpu) = timed(lambda: MaskFolder(folder).read(f"image {images // 2:07d}"))
    return {"clock": clock, "cpu": cpu, "mib": resident() - before}


def resident() -> float:
    """MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measured(base: Path, images: int, packed: bool, contents: list[bytes]) -> dict[str, Any]:
    folder = base / ("packed" if packed else "png")
    _, writing = timed(lambda: write(folder, images, packed, contents))
    done = folder / "done"
    command = [sys.executable, "-m", "benchmarks.mask_store", "--images", str(images), "--first", str(done)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    _, reading = timed(lambda: read_all(done, images))
    digest, digesting = timed(lambda: outputs.digest(done))
    files = [path.stat() for path in done.rglob("*")]
    found = {
        "files": len(files),
        "MB": round(sum(file.st_size for file in files) / 1e6, 1),
        "MB on disk": round(sum(512 * file.st_blocks for file in files) / 1e6, 1),
        "write": writing, "first": [told["clock"], told["cpu"]], "MiB": round(told["mib"], 1),
        "all": reading, "digest": digesting, "content": digest,
    }  # fmt: skip
    shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="a folder on the disk that is measured (default: the usual for "
                        "temporary files)")  # fmt: skip
    parser.add_argument("--first", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.first is not None:
        print(json.dumps(first(args.first, args.images)))
        return
    contents = pool()
    print(
        f"{args.images} masks, {sum(map(len, contents)) / POOL:.0f} bytes each on average; seconds [clock, processor]"
    )
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        found = {name: measured(Path(scratch), args.images, name == "packed", contents) for name in ("png", "packed")}
    assert found["png"].pop("content") == found["packed"].pop("content")
    print("| | png | packed |\n|---|---|---|")
    for key in found["png"]:
        print(f"| {key} | {found['png'][key]} | {found['packed'][key]} |")


if __name__ == "__main__":
    main()
