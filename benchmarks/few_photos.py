"""What a person with few photos gets from ``wsss init``: random draws of the animals, the whole path, true scores.

    python -m benchmarks.few_photos /tmp/few --photos 48 100 200 --draws 3 --quick
    python -m benchmarks.few_photos /tmp/few --photos 48 --draws 3 --weights mobilenetv2_100.safetensors --cores 1

Each draw is a folder as its owner has it: photos and tags.csv, no masks. ``wsss init`` writes the configuration, which
knows no ground truth. Only then are the masks named in it, for the scores, and CAMs and pseudo-labels of the validation
photos left out, which nothing needs. All draws are validated on the same photos (``--val``, a list of ids). A finished
draw is not run again, so the same command resumes. The table: mAP of the tags and mIoU of the network on validation
photos, mIoU of the pseudo-labels that it learnt from on the drawn ones, computing time of all stages; each draw, then
mean and standard deviation.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from benchmarks.choice import markdown

DATA = Path("../shared/data/animals")
FEWEST = 3
"""Photos that every class has in a draw, at least."""
HEADS = ("photos", "draw", "mAP", "pseudo-labels", "network", "minutes")


def drawn(tags: dict[str, list[str]], ids: Sequence[str], count: int, draw: int) -> list[str]:
    """So many of the ids; the first of the draw's seeds that gives every class some."""
    classes = {name for names in tags.values() for name in names}
    for seed in range(1000 * draw, 1000 * draw + 1000):
        picked = random.Random(seed).sample(list(ids), count)
        if all(sum(name in tags[id] for id in picked) >= FEWEST for name in classes):
            return picked
    raise SystemExit(f"no draw of {count} photos has {FEWEST} of every class")


def lay_out(folder: Path, data: Path, train: Sequence[str], val: Sequence[str], tags: dict[str, list[str]]) -> None:
    """A folder of photos with a table of tags beside it, and nothing that its owner would not have."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for id in (*train, *val):
        link = folder / "photos" / f"{id}.jpg"
        if not link.is_symlink():
            link.symlink_to((data / "images" / f"{id}.jpg").resolve())
    rows = [["id", "labels"], *([id, ";".join(tags[id])] for id in (*train, *val))]
    with open(folder / "tags.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    for name, ids in (("train", train), ("val", val)):
        (folder / f"{name}.txt").write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")
    (folder / "classes.txt").write_text((data / "classes.txt").read_text(encoding="utf-8"), encoding="utf-8")


def scored_only(config: dict[str, Any], data: Path) -> dict[str, Any]:
    """The configuration with the ground truth named, after everything was chosen without it."""
    for dataset in config["datasets"].values():
        dataset["masks"] = str((data / "masks").resolve())
    for kind in ("cams", "masks"):
        config["defaults"].setdefault(kind, {})["splits"] = ["train"]
    if "saliency" in config["defaults"]:
        config["defaults"]["saliency"]["maps"]["splits"] = ["train"]
    return config


def figures(results: Path) -> dict[str, float]:
    """What the table shows of a finished draw: of the classifier whose CAMs were used, and of the one network."""

    def score(kind: str, name: str, split: str, metric: str) -> float:
        content = json.loads((results / "s0/scores" / kind / name / "scores.json").read_text(encoding="utf-8"))
        return float(content["splits"][split]["policies"][""][metric])

    network = next((results / "s0/segmenters").iterdir()).name
    classifiers = [folder.name for folder in (results / "s0/classifiers").iterdir()]
    used = next(name for name in ("p-noc", "vanilla", "linear") if name in classifiers)
    seconds = [json.loads(file.read_text())["wall_seconds"] for file in results.rglob("run.json")]
    return {
        "mAP": 100 * score("classifiers", used, "val", "map"),
        "pseudo-labels": 100 * score("masks", network, "train", "miou"),
        "network": 100 * score("segmenters", network, "val", "miou"),
        "minutes": sum(seconds) / 60,
    }


def run(folder: Path, data: Path, name: str, flags: Sequence[str], cores: int) -> dict[str, float]:
    """Write the configuration of a draw, run it, and read its figures."""
    results = folder / "results" / name
    if not (results / "report.html").is_file():
        python = [sys.executable, "-m", "wsss"]
        subprocess.run([*python, "init", "photos", "--name", name, "--force", *flags], cwd=folder, check=True)
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        text = yaml.safe_dump(scored_only(config, data), sort_keys=False)
        (folder / "scored.yaml").write_text(text, encoding="utf-8")
        go = [*python, "run", "--configfile", "scored.yaml", "--cores", str(cores), "--yes"]
        with open(folder / "run.log", "w", encoding="utf-8") as log:
            subprocess.run(go, cwd=folder, check=True, stdout=log, stderr=log)
    return figures(results)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.few_photos", description=__doc__, formatter_class=raw)
    parser.add_argument("out", type=Path, help="folder for the draws and their results")
    parser.add_argument("--data", type=Path, default=DATA, help=f"the animals (default {DATA})")
    parser.add_argument("--photos", type=int, nargs="+", default=[48, 100, 200], metavar="N", help="sizes of draws")
    parser.add_argument("--draws", type=int, default=3, help="of each size (default 3)")
    parser.add_argument("--val", default="val-small.txt", help="list of photos to validate on (default val-small.txt)")
    parser.add_argument("--weights", type=Path, help="as of wsss init (default: what init finds)")
    parser.add_argument("--quick", action="store_true", help="as of wsss init")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="of a run (default: all)")
    args = parser.parse_args()
    with open(args.data / "labels.csv", encoding="utf-8", newline="") as file:
        tags = {row["id"]: row["labels"].split(";") for row in csv.DictReader(file)}
    train, val = ((args.data / name).read_text(encoding="utf-8").split() for name in ("train.txt", args.val))
    flags = [
        *(["--quick"] if args.quick else []),
        *(["--weights", str(args.weights.resolve())] if args.weights else []),
    ]
    lines: list[list[str]] = []
    for count in args.photos:
        found: list[dict[str, float]] = []
        for draw in range(args.draws):
            name = f"{'quick' if args.quick else 'full'}-{count}-{draw}"
            folder = args.out / name
            lay_out(folder, args.data, drawn(tags, train, count, draw), val, tags)
            found.append(run(folder, args.data, name, flags, args.cores))
            lines.append([str(count), str(draw), *(f"{value:.1f}" for value in found[-1].values())])
            print(markdown(HEADS, lines[-1:]), flush=True)
        if len(found) > 1:
            columns = [[one[head] for one in found] for head in HEADS[2:]]
            lines.append([str(count), "mean", *(f"{mean(values):.1f} ± {stdev(values):.1f}" for values in columns)])
    print(f"\n{markdown(HEADS, lines)}")


if __name__ == "__main__":
    main()
