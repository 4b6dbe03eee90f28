"""What stages cost as the data grow: seconds an image and peak memory, for more images, classes and pixels.

    python -m benchmarks.scale                        100, 1,000 and 10,000 images
    python -m benchmarks.scale --images 100000 --only score-cams score-masks
    python -m benchmarks.scale --plan 1000000         and how long a dry run over a list of a million images takes

The stage programs themselves run, on an index whose rows share a few small files, and on maps and masks of drawn
shapes; networks have random weights. Seconds are those of the stage without the start of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pictures import drawn, probabilities
from wsss.data.index import Item, write_index
from wsss.data.palette import write_mask
from wsss.store.manifest import read_manifest, write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.masks import MaskFolder

ROOT = Path(__file__).resolve().parents[1]
FILES, POOL = 1024, 16


def index_of(folder: Path, images: int, classes: int, side: int) -> list[Item]:
    """An index of so many images, one in ten of them for validation, in a folder that counts as a whole artefact."""
    folder.mkdir(parents=True)
    pixels = drawn((side, side))
    names = [f"class {c}" for c in range(classes)]
    for number in range(POOL):
        Image.fromarray(np.roll(pixels, 7 * number, (0, 1))).save(folder / f"{number}.jpg", quality=90)
        write_mask(folder / f"{number}.png", truth(number, classes, side))
    items = [
        Item(
            f"image {n:07d}",
            "val" if n % 10 == 9 else "train",
            folder / f"{n % POOL}.jpg",
            folder / f"{n % POOL}.png",
            side,
            side,
            tags(n, classes),
            True,
        )
        for n in range(images)
    ]
    write_index(folder, names, items)
    (folder / "report.json").write_text('{"dataset": "scale"}')
    write_manifest(folder, {})
    return items


def tags(number: int, classes: int) -> tuple[int, ...]:
    number %= POOL
    return tuple(sorted({number % classes, (number + 3) % classes}))


def truth(number: int, classes: int, side: int) -> np.ndarray:
    labels = np.array([0, *(c + 1 for c in tags(number, classes))], np.uint8)
    return labels[probabilities((side, side), len(labels), len(labels), number).argmax(0)]


def maps_of(folder: Path, items: list[Item], classes: int) -> None:
    folder.mkdir(parents=True)
    cells = -(-items[0].height // 16)
    pool = [probabilities((cells, cells), len(tags(n, classes)), len(tags(n, classes)), n) for n in range(POOL)]
    order = sorted(items, key=lambda item: item.split)
    total = -(-len(items) // FILES)
    for part in range(total):
        with MapWriter(folder / shard_name(part, total), scales=(1.0,), flip=True, stride=16) as writer:
            for item in order[part * FILES : (part + 1) * FILES]:
                writer.add(item.id, item.labels, (item.height, item.width), [pool[int(item.id[6:]) % POOL]])
    write_manifest(folder, {"settings": {"splits": ["train", "val"]}})


def masks_of(folder: Path, items: list[Item], classes: int) -> None:
    masks = MaskFolder(folder / "masks")
    masks.path.mkdir(parents=True)
    pool = [truth(n + 1, classes, items[0].height) for n in range(POOL)]
    for item in items:
        masks.write(item.id, pool[int(item.id[6:]) % POOL])
    write_manifest(folder, {"settings": {"splits": ["train", "val"]}})


def network_of(folder: Path, kind: str, classes: int) -> None:
    import torch

    from wsss.models.classifier import Classifier
    from wsss.models.segmenter import Segmenter
    from wsss.store.weights import save_weights

    torch.manual_seed(0)
    about = {"backbone": "resnet10t", "output_stride": 16, "classes": [f"class {c}" for c in range(classes)]}
    if kind == "segmenter":
        network = Segmenter("deeplabv3plus", "resnet10t", classes + 1)
        about |= {"architecture": "deeplabv3plus", "atrous_rates": [6, 12, 18]}
    else:
        network = Classifier("resnet10t", classes)
    folder.mkdir(parents=True)
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {})


def stages(base: Path) -> dict[str, list[str]]:
    """Name -> the program and its arguments."""
    cams, masks = str(base / "cams"), str(base / "masks")
    settings = {
        "cams": {"classifier": "x", "scales": [1.0]},
        "masks": {"cams": "x", "crf": None},
        "masks-crf": {"cams": "x"},
        "ensemble": {"source": "ensemble", "members": ["a", "b"]},
        "vote": {"source": "vote", "members": ["a", "b"]},
        "predictions": {"scales": [1.0], "crf": None},
    }
    inputs = {
        "score-cams": ["--artefact", cams, "--kind", "cams"],
        "score-masks": ["--artefact", masks, "--kind", "masks"],
        "cams": ["--classifier", str(base / "classifier")],
        "masks": ["--cams", cams],
        "masks-crf": ["--cams", cams],
        "ensemble": ["--members", cams, cams],
        "vote": ["--members", masks, masks],
        "predictions": ["--segmenter", str(base / "segmenter")],
    }
    return {
        name: [*given, *(["--settings", json.dumps(settings[name])] if name in settings else [])]
        for name, given in inputs.items()
    }


def program(name: str) -> str:
    return {"score-cams": "scores", "score-masks": "scores", "masks-crf": "masks"}.get(name, name)


def measured(only: list[str], images: int, classes: int, side: int, threads: int) -> dict[str, tuple[float, float]]:
    """Stage -> seconds and MiB."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        items = index_of(base / "index", images, classes, side)
        maps_of(base / "cams", items, classes)
        masks_of(base / "masks", items, classes)
        for kind in ("classifier", "segmenter"):
            network_of(base / kind, kind, classes)
        for name in only:
            out = base / "out"
            command = [sys.executable, str(ROOT / "stages" / f"{program(name)}.py"), "--index", str(base / "index")]
            command += [*stages(base)[name], "--out", str(out), "--threads", str(threads)]
            ran = subprocess.run(command, cwd=base, capture_output=True, text=True)
            if ran.returncode:
                raise SystemExit(f"{name}: {ran.stderr}")
            manifest = read_manifest(out)
            found[name] = (manifest["wall_seconds"], manifest["peak_memory_mib"])
            shutil.rmtree(out)
    return found


def dry_run(images: int) -> float:
    """Seconds of ``snakemake -n`` on a folder data set with so many rows of tags."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        (base / "photos").mkdir()
        with open(base / "tags.csv", "w", encoding="utf-8") as file:
            file.write("image,labels\n")
            file.writelines(f"image {n:07d},class {n % 20}\n" for n in range(images))
        block = {"kind": "folder", "images": "photos", "labels": "tags.csv"}
        (base / "million.yaml").write_text(json.dumps({"dataset": "million", "datasets": {"million": block}}))
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--configfile", "million.yaml"]
        start = time.perf_counter()
        subprocess.run([*command, "-n", "--quiet", "all"], cwd=base, check=True, capture_output=True)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--classes", type=int, nargs="+", default=[6, 20, 80])
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--only", nargs="+", choices=stages(Path()), default=list(stages(Path())))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--plan", type=int, help="images of a dry run")
    args = parser.parse_args()
    if args.plan:
        print(f"dry run over {args.plan} images: {dry_run(args.plan):.1f} s", flush=True)
    usual = (args.images[0], args.classes[len(args.classes) // 2], args.sides[0])
    cases = [(n, *usual[1:]) for n in args.images]
    cases += [(min(1000, args.images[-1]), c, usual[2]) for c in args.classes if len(args.classes) > 1]
    cases += [(min(1000, args.images[-1]), usual[1], s) for s in args.sides if len(args.sides) > 1]
    print("| stage | images | classes | pixels a side | seconds | ms an image | MiB |\n|---|---|---|---|---|---|---|")
    for images, classes, side in dict.fromkeys(cases):
        for name, (seconds, memory) in measured(args.only, images, classes, side, args.threads).items():
            cells = [name, images, classes, side, f"{seconds:.1f}", f"{1000 * seconds / images:.2f}", f"{memory:.0f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
