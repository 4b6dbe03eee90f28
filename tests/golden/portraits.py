"""What is kept of an artefact: few values, of which any real change of what was computed moves one.

Three kinds of values. A **text** has to be equal: digests of what whole numbers alone decide, names, shapes. A list of
**numbers** may differ by a small share of its largest one. Masks that hang on thresholds of fractions are kept as
**pixels**: per image and label how many there are, and the sums of their rows and columns (as shares of the image's
sides), so that a pixel that changes its label moves each by at most one.

A long array becomes four numbers: its mean, its standard deviation and two sums with fixed weights, which values that
only change their places move too.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.golden.cases import Case
from wsss.provenance.identity import FACTS
from wsss.stage import Run
from wsss.store.maps import MapShard, shard_paths
from wsss.store.masks import MaskFolder

Number = float | None
Values = dict[str, Any]
"""Name -> text, list of numbers, or ``{"of": pixels, "images": {id: {label: [count, rows, columns]}}}``."""
IRRATIONAL = ((math.sqrt(5) - 1) / 2, math.sqrt(2) - 1)
MANY = 48
"""Numbers that are kept one by one."""
_MANIFEST = {*FACTS, "identity", "content", "outputs", "agreement"}
_OF_THE_RUN = re.compile(r"seconds|peak|hash")
_PLACES = {"image", "mask", "sha256", "mask_sha256"}
"""Columns of index.csv that hang on where files lie, or on how PNG files are packed."""
TIMES = "Run times"
UNTOLD = ("training", "costs", "provenance")
"""Parts of the summary and of the report whose figures are not those of scores."""


def short(value: float) -> Number:
    """Nine digits; None for what is no number."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def weights(count: int) -> np.ndarray:
    """Fixed weights float64 (2, count) in [-0.5, 0.5), spread evenly."""
    return np.outer(IRRATIONAL, np.arange(1, count + 1)) % 1 - 0.5


def lean(array: np.ndarray) -> list[Number]:
    """Mean, standard deviation, and two weighted sums over the root of the size."""
    flat = np.asarray(array, np.float64).ravel()
    if not flat.size:
        return []
    sums = weights(flat.size) @ flat / math.sqrt(flat.size)
    return [short(float(value)) for value in (flat.mean(), flat.std(), *sums)]


def step(change: np.ndarray) -> list[Number]:
    """How far weights went: the length of the way, and two weighted sums."""
    flat = np.asarray(change, np.float64).ravel()
    return [short(float(value)) for value in (np.linalg.norm(flat), *(weights(flat.size) @ flat))]


def few(numbers: list[Number]) -> list[Number]:
    """Numbers as they are, or where they are many, what ``lean`` says of them and of where none is."""
    if len(numbers) <= MANY:
        return numbers
    return [*lean(np.array([0.0 if n is None else n for n in numbers])), *lean(np.array([n is None for n in numbers]))]


def text(value: Any) -> str:
    """Plain values as a text: short ones readable, long ones as a digest."""
    plain = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return plain if len(plain) <= 160 else f"{hashlib.sha256(plain.encode()).hexdigest()[:16]} ({len(plain)} signs)"


def portrait(case: Case, run: Run, changes: Mapping[str, Mapping[str, np.ndarray]]) -> Values:
    """All values of a run of a stage. ``changes``: of trainings, network -> group of weights -> how they changed."""
    found: Values = {}
    for network, groups in changes.items():
        found |= {f"change of {network} {group}": step(change) for group, change in groups.items()}
    found |= _maps(run.out)
    found |= _masks(run.out, case.exact)
    for path in sorted(run.out.iterdir()):
        name = path.name
        if name == "metrics.jsonl":
            found |= _columns(name, [json.loads(line) for line in path.read_text("utf-8").splitlines()])
        elif name == "index.csv":
            rows = [{k: v for k, v in row.items() if k not in _PLACES} for row in _rows(path)]
            found[name] = text(rows)
        elif path.suffix == ".csv":
            found |= _columns(name, _rows(path))
        elif name == "classes.txt":
            found[name] = text(path.read_text("utf-8").split("\n"))
        elif path.suffix == ".json" and not name.startswith(".") and name not in ("manifest.json", "run.json"):
            found |= _leaves(name, json.loads(path.read_text("utf-8")))
        elif path.suffix == ".md" and name != "explanations.md":
            found |= _sections(name, path.read_text("utf-8"), r"^## ")
        elif path.suffix == ".png":
            found |= _picture(name, path)
    for path in sorted(run.out.glob("panels/*.png")):
        found |= _picture(f"panels/{path.name}", path)
    if case.stage == "report":
        found |= _page(run.out.parent / f"{run.out.name}.html")
    if case.stage == "index" and (images := sorted(run.out.glob("images/**/*.png"))):
        found["images"] = lean(np.stack([_pixels(path) for path in images]))
    return found | _leaves("manifest", {k: v for k, v in run.facts.items() if k not in _MANIFEST})


def groups(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """How the weights of a network changed, put together by the first parts of their names; statistics of batches, which
    go farther, stand beside the weights."""
    found: dict[str, list[np.ndarray]] = {}
    for name, tensor in after.items():
        if tensor.is_floating_point():
            parts = [part for part in name.split(".")[:-1] if part not in ("network", "classifier", "model")]
            place = ".".join(parts[:2])
            kind = " statistics" if "running_" in name else ""
            found.setdefault(place + kind, []).append((tensor - before[name]).cpu().double().numpy().ravel())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _maps(folder: Path) -> Values:
    if not any(folder.glob("shard-*.h5")):
        return {}
    found: Values = {}
    for path in shard_paths(folder):
        shard = MapShard(path)
        attributes = {k: v for k, v in shard.attributes.items() if k not in ("format", "version", "key")}
        about = {k: np.asarray(v).tolist() for k, v in attributes.items()}
        found[path.name] = text(about)
        for row, id in enumerate(shard.ids):
            record = shard.record(row)
            shapes = [each.shape for each in record.maps]
            found[f"shapes {id}"] = text({"classes": record.classes.tolist(), "maps": shapes, "image": record.size})
            found[f"map {id}"] = lean(np.concatenate([each.ravel() for each in record.maps]))
        shard.close()
    return found


def _masks(folder: Path, exact: bool) -> Values:
    if not (folder / "masks").is_dir():
        return {}
    masks = MaskFolder(folder / "masks")
    arrays = {id: masks.read(id) for id in masks.ids()}
    if exact:
        return {
            f"mask {id}": text([list(a.shape), hashlib.sha256(a.tobytes()).hexdigest()]) for id, a in arrays.items()
        }
    total = sum(array.size for array in arrays.values())
    return {"masks": {"of": total, "images": {id: _moments(array) for id, array in arrays.items()}}}


def _moments(mask: np.ndarray) -> dict[str, list[int]]:
    found = {}
    for label in np.unique(mask).tolist():
        rows, columns = np.nonzero(mask == label)
        sums = (rows.sum() / mask.shape[0], columns.sum() / mask.shape[1])
        found[str(label)] = [len(rows), *(round(float(one)) for one in sums)]
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _columns(name: str, rows: Sequence[Mapping[str, Any]]) -> Values:
    """Columns of a table: numbers, or texts together."""
    found: Values = {}
    rows = [row for row in rows if not any(_OF_THE_RUN.search(str(value)) for value in row.values())]
    for column in dict.fromkeys(key for row in rows for key in row):
        cells = [row.get(column) for row in rows]
        numbers = [_number(cell) for cell in cells]
        known = [n is not None or cell in (None, "") for n, cell in zip(numbers, cells, strict=True)]
        if not _OF_THE_RUN.search(column):
            found[f"{name} {column}"] = few(numbers) if all(known) else text(cells)
    return found


def _number(cell: Any) -> Number:
    try:
        return short(float(cell))
    except (TypeError, ValueError):
        return None


def _leaves(name: str, content: Any) -> Values:
    """The numbers of nested values, those of one mapping or list together, and the rest as a text."""
    found: Values = {}
    rest: dict[str, Any] = {}

    def walk(place: str, value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        numbers: dict[str, Number] = {}
        for key, one in items:
            if _OF_THE_RUN.search(str(key)):
                continue
            if isinstance(one, dict | list) and one:
                walk(f"{place} {key}", one)
            elif isinstance(one, int | float) and not isinstance(one, bool):
                numbers[str(key)] = short(float(one))
            else:
                rest[f"{place} {key}"] = one
        if numbers:
            rest[f"{place} keys"] = list(numbers)
            found[place] = few(list(numbers.values()))

    walk(name, content)
    return found | ({f"{name} texts": text(rest)} if rest else {})


def _sections(name: str, page: str, heading: str) -> Values:
    """The numbers of each part of a page but those that tell how long things took. Words may change as they like."""
    found: Values = {}
    for number, part in enumerate(re.split(heading, page, flags=re.MULTILINE)):
        title = part.strip().splitlines()[0].strip("# ") if part.strip() else ""
        if not title.startswith(TIMES):
            found[f"{name} {number}"] = _figures(part)
    return found


def _page(path: Path) -> Values:
    """The numbers of the report's sections and how many pictures each has."""
    found: Values = {}
    for id, body in re.findall(r'<section id="(\w+)"(.*?)</section>', path.read_text("utf-8"), re.DOTALL):
        if id not in UNTOLD:
            found[f"page {id}"] = _figures(re.sub(r"<[^>]*>", " ", body))
            found[f"page {id} pictures"] = str(body.count("<img "))
    return found


def _figures(words: str) -> list[Number]:
    """The numbers in a text, but those that tell how long something took, or how much room."""
    words = re.sub(r"\d+(\.\d+)? (ms|s|min|h|MiB|MB)\b", "", words)
    found = re.findall(r"(?<![\w.])[-+−]?\d+(?:\.\d+)?(?!\w)", words)
    return few([short(float(one.replace("−", "-"))) for one in found])


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _picture(name: str, path: Path) -> Values:
    """Size and mean colour: letters look otherwise with every version of a font."""
    pixels = _pixels(path)
    return {f"{name} size": text(list(pixels.shape)), f"{name} colour": [short(float(v)) for v in pixels.mean((0, 1))]}
