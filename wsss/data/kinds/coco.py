"""COCO 2014 or 2017 as downloaded: ``annotations/instances_{train,val}YEAR.json`` and the folders of images.

Category ids (1..90 with gaps) become classes 0..79 in their order; ``report.json`` prints the mapping
(``categories``). An image is tagged with every category that it has an annotation of, crowds too. Semantic masks are
drawn into ``masks/`` of the index: crowd regions first, as 255, then objects from the largest to the smallest, so that
small ones lie on top. Images without an annotation stay in the index, are listed in ``report.json`` (``unlabelled``)
and are not trained on.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from wsss.data.images import LARGEST
from wsss.data.lists import normal
from wsss.data.outlines import polygons_region, runs_region
from wsss.data.palette import IGNORE, write_mask
from wsss.data.validate import Collected, Entry, Problem
from wsss.errors import WsssError
from wsss.settings import CocoSettings
from wsss.system.cores import available_cores
from wsss.system.files import parse_json

VERSION = 1
INLINE = 256
"""Fewer images than this are drawn without starting processes."""
Job = tuple[Path, int, int, list[tuple[int, dict[str, Any]]]]
"""Where to write a mask, its height and width, and (mask value, annotation) of what it shows."""


def collect(settings: CocoSettings, out: Path, threads: int | None = None) -> Collected:
    """Read the annotations and draw the masks, on ``threads`` processes."""
    root = Path(settings.root)
    (out / "masks").mkdir(parents=True, exist_ok=True)
    parts = {split: _instances(root, f"{split}{settings.year}") for split in ("train", "val")}
    categories = sorted(parts["train"][1]["categories"], key=lambda category: category["id"])
    value = {category["id"]: c + 1 for c, category in enumerate(categories)}
    classes = tuple(category["name"].strip() for category in categories)
    entries, problems, jobs = [], [], []
    for split, (file, content) in parts.items():
        folder = _images(root, f"{split}{settings.year}")
        shown, found = _by_image(content, value, str(file), split)
        problems += found
        for image in content["images"]:
            things = shown.get(image["id"], [])
            id = Path(image["file_name"]).stem
            mask = out / "masks" / f"{id}.png"
            jobs.append((mask, int(image["height"]), int(image["width"]), things))
            labels = tuple(classes[v - 1] for v in sorted({v for v, _ in things}))
            entries.append(Entry(id, split, folder / image["file_name"], mask, labels, source=str(file)))
    failed = _draw_all(jobs, threads)
    for k, entry in enumerate(entries):
        if entry.mask in failed:
            text, cure = failed[entry.mask], "restore the annotations from the download"
            problems.append(Problem("unreadable mask", entry.source, entry.id, text, cure, entry.split))
            entries[k] = replace(entry, mask=None)
    bare = sum(not entry.labels for entry in entries)
    notes = [f"{bare} images have no annotation; they are kept and not trained on"] if bare else []
    mapping = [{"name": c["name"], "coco_id": c["id"], "mask_value": value[c["id"]]} for c in categories]
    return Collected(classes, entries, problems, notes, str(parts["train"][0]), {"categories": mapping})


def counted(settings: CocoSettings) -> dict[str, int]:
    """Images of each split by the files in its folder: the annotations take long to read. Raises as ``collect``."""
    root = Path(settings.root)
    folders = {split: _images(root, f"{split}{settings.year}") for split in ("train", "val")}
    return {split: sum(one.suffix == ".jpg" for one in folder.iterdir()) for split, folder in folders.items()}


def _instances(root: Path, part: str) -> tuple[Path, dict[str, Any]]:
    file = root / "annotations" / f"instances_{part}.json"
    try:
        content = parse_json(file.read_text("utf-8"))
        _check(content)
        return file, content
    except FileNotFoundError:
        raise WsssError(f"{file}: is not there; unpack the annotations into {root} or fix 'root' and 'year'") from None
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WsssError(f"{file}: not a whole COCO instances file ({error}); unpack it again") from None


def _check(content: dict[str, Any]) -> None:
    """Raise whatever comes of it where an instances file has not the form of one; ``ValueError`` says what is wrong."""
    names = [normal(one["name"]) for one in content["categories"]]
    if not names or not all(type(one["id"]) is int for one in content["categories"]):
        raise ValueError("a category has no whole number as its id, or there are none")
    for image in content["images"]:
        path = PurePosixPath(image["file_name"])
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in image["file_name"]:
            raise ValueError(f"an image has the file name {image['file_name']!r}")
        sides = image["height"], image["width"]
        if not all(type(side) is int and side > 0 for side in sides) or sides[0] * sides[1] > LARGEST:
            raise ValueError(f"{image['file_name']} has {sides[0]!r} x {sides[1]!r} pixels")
        hash(image["id"])
    for thing in content["annotations"]:
        hash((thing["image_id"], thing["category_id"]))
        if not isinstance(thing["segmentation"], list | dict):
            raise ValueError(f"annotation {thing.get('id')} has no outline")
        if not math.isfinite(thing.get("area", 0)) or thing.get("iscrowd", 0) not in (0, 1):
            raise ValueError(f"annotation {thing.get('id')} has a strange area, or iscrowd")


def _images(root: Path, part: str) -> Path:
    for folder in (root / part, root / "images" / part):
        if folder.is_dir():
            return folder
    raise WsssError(f"{root / part}: the folder of images is not there; unpack it there")


def _by_image(
    content: dict[str, Any], value: dict[int, int], file: str, split: str
) -> tuple[dict[int, list[tuple[int, dict[str, Any]]]], list[Problem]]:
    """(mask value, annotation) of each image's annotations, and those that fit nowhere."""
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    shown: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    problems = []
    for thing in content["annotations"]:
        if thing["image_id"] not in names:
            text = f"annotation {thing.get('id')} is of image {thing['image_id']}, which is not in the file"
            problems.append(Problem("annotation", file, "", text, "restore the file from the download", effect="mend"))
        elif thing["category_id"] not in value:
            id, text = names[thing["image_id"]], f"annotation {thing.get('id')} has the category {thing['category_id']}"
            problems.append(Problem("unknown class", file, id, text, "fix it, or add the category to the file", split))
        else:
            shown.setdefault(thing["image_id"], []).append((value[thing["category_id"]], thing))
    return shown, problems


def _draw_all(jobs: list[Job], threads: int | None) -> dict[Path, str]:
    """Draw and write all masks; returns why some could not be drawn."""
    workers = min(threads or available_cores(), max(1, len(jobs) // INLINE))
    if workers == 1:
        results: Iterable[str | None] = map(_draw_and_write, jobs)
    else:
        # pycocotools holds the interpreter's lock, so processes, not threads
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(_draw_and_write, jobs, chunksize=64))
    return {job[0]: reason for job, reason in zip(jobs, results, strict=True) if reason}


def _draw_and_write(job: Job) -> str | None:
    path, height, width, things = job
    try:
        write_mask(path, draw_mask(height, width, things))
    except Exception as error:  # pycocotools raises bare exceptions of several kinds for outlines that it cannot read
        return f"its outlines cannot be drawn ({error})"
    return None


def draw_mask(height: int, width: int, things: list[tuple[int, dict[str, Any]]]) -> np.ndarray:
    """Semantic mask, uint8 (height, width), of (mask value, annotation) pairs."""
    mask = np.zeros((height, width), np.uint8)
    for value, thing in sorted(things, key=lambda pair: (not pair[1].get("iscrowd", 0), -pair[1].get("area", 0.0))):
        mask[_region(thing["segmentation"], height, width)] = IGNORE if thing.get("iscrowd", 0) else value
    return mask


def _region(outline: list[Any] | dict[str, Any], height: int, width: int) -> np.ndarray:
    # two points are no area, and pycocotools would take four numbers for a box
    shape = height, width
    return polygons_region(outline, shape) if isinstance(outline, list) else runs_region(outline, shape)
