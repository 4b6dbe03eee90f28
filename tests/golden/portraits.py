"""What is kept of an artefact: few values, of which any real change of what was computed moves one.

Three kinds of values. A **text** has to be equal: digests of what whole numbers alone decide, names, shapes.
**Numbers** may differ a little, but whole ones not at all. Masks that hang on thresholds of fractions are kept as
**pixels**: per image and label how many there are, and the sums of their rows and columns (as shares of the image's
sides), so that a pixel that changes its label moves each by at most one.

A long array becomes four numbers: its mean, its standard deviation and two sums with fixed weights, which values that
only change their places move too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.golden.cases import Case
from tests.golden.figures import (
    Number,
    Values,
    columns,
    lean,
    leaves,
    report_page,
    rows_of,
    sections,
    short,
    text,
    weights,
)
from wsss.provenance.identity import FACTS
from wsss.runtime.run import Run
from wsss.store.map_shards import MapShard, shard_paths
from wsss.store.masks import MaskFolder

MANIFEST = {*FACTS, "identity", "content", "outputs", "agreement"}
"""What a manifest tells besides results."""
PLACES = {"image", "mask", "sha256", "mask_sha256"}
"""Columns of index.csv that hang on where files lie, or on how PNG files are packed."""
FORMAT = {"format", "version", "key"}
NO_NAMES = {"network", "classifier", "model"}
"""Parts of the names of weights that say nothing."""


def portrait(case: Case, run: Run, changes: Mapping[str, Mapping[str, np.ndarray]]) -> Values:
    """All values of a run of a stage. ``changes``: of trainings, network -> group of weights -> how they changed."""
    found: Values = {}
    for network, places in changes.items():
        found |= {f"change of {network} {place}": step(change) for place, change in places.items()}
    found |= maps(run.out) | masks(run.out, case.exact)
    for path in sorted(run.out.iterdir()):
        found |= file(path)
    for path in sorted(run.out.glob("panels/*.png")):
        found |= picture(f"panels/{path.name}", path)
    if case.stage == "report":
        found |= report_page((run.out.parent / f"{run.out.name}.html").read_text("utf-8"))
    if case.stage == "index" and (images := sorted(run.out.glob("images/**/*.png"))):
        found["images"] = lean(np.stack([pixels(path) for path in images]))
    return found | leaves("manifest", {key: value for key, value in run.facts.items() if key not in MANIFEST})


def file(path: Path) -> Values:
    """The values of a file of an artefact; none of manifests, weights and maps."""
    name = path.name
    if name == "metrics.jsonl":
        return columns(name, [json.loads(line) for line in path.read_text("utf-8").splitlines()])
    if name == "index.csv":
        return {name: text([{k: v for k, v in row.items() if k not in PLACES} for row in rows_of(path)])}
    if name == "classes.txt":
        return {name: text(path.read_text("utf-8").split("\n"))}
    tables = ("explanations.md", "audits.md", "continual.md", "searches.md")
    if name.startswith(".") or name in ("manifest.json", "run.json", *tables):
        return {}
    if path.suffix == ".csv":
        return columns(name, rows_of(path))
    if path.suffix == ".json":
        return leaves(name, json.loads(path.read_text("utf-8")))
    if path.suffix == ".md":
        return sections(name, path.read_text("utf-8"))
    return picture(name, path) if path.suffix == ".png" else {}


def step(change: np.ndarray) -> list[Number]:
    """How far weights went: the length of the way, and two weighted sums."""
    flat = np.asarray(change, np.float64).ravel()
    return [short(float(value)) for value in (np.linalg.norm(flat), *(weights(flat.size) @ flat))]


def groups(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """How the weights of a network changed, put together by the first parts of their names; statistics of batches stand
    apart, for they go farther."""
    found: dict[str, list[np.ndarray]] = {}
    for name, tensor in after.items():
        if tensor.is_floating_point():
            parts = [part for part in name.split(".")[:-1] if part not in NO_NAMES]
            place = ".".join(parts[:2]) + (" statistics" if "running_" in name else "")
            found.setdefault(place, []).append((tensor - before[name]).cpu().double().numpy().ravel())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def maps(folder: Path) -> Values:
    """The maps of each image, and what their files say of all."""
    if not any(folder.glob("shard-*.h5")):
        return {}
    found: Values = {}
    for path in shard_paths(folder):
        shard = MapShard(path)
        found[path.name] = text({k: np.asarray(v).tolist() for k, v in shard.attributes.items() if k not in FORMAT})
        shapes = {}
        for row, id in enumerate(shard.ids):
            record = shard.record(row)
            shapes[id] = [record.classes.tolist(), [each.shape for each in record.maps], record.size]
            found[f"map {id}"] = lean(np.concatenate([each.ravel() for each in record.maps]))
        found[f"{path.name} shapes"] = text(shapes)
        shard.close()
    return found


def masks(folder: Path, exact: bool) -> Values:
    """All masks: pixels, or a digest."""
    if not (folder / "masks").is_dir():
        return {}
    store = MaskFolder(folder / "masks")
    arrays = {id: store.read(id) for id in store.ids()}
    if exact:
        digests = {id: [*array.shape, hashlib.sha256(array.tobytes()).hexdigest()] for id, array in arrays.items()}
        return {"masks": text(digests)}
    total = sum(array.size for array in arrays.values())
    return {"masks": {"of": total, "images": {id: moments(array) for id, array in arrays.items()}}}


def moments(mask: np.ndarray) -> dict[str, list[int]]:
    """Per label: pixels, and the sums of their rows and columns as shares of the sides."""
    found = {}
    for label in np.unique(mask).tolist():
        rows, across = np.nonzero(mask == label)
        sums = (rows.sum() / mask.shape[0], across.sum() / mask.shape[1])
        found[str(label)] = [len(rows), *(round(float(one)) for one in sums)]
    return found


def pixels(path: Path) -> np.ndarray:
    """A picture, uint8 (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def picture(name: str, path: Path) -> Values:
    """Size and mean colour: letters look otherwise with every version of a font."""
    found = pixels(path)
    return {f"{name} size": text(list(found.shape)), f"{name} colour": [short(float(v)) for v in found.mean((0, 1))]}
