"""Inputs that no stage makes: datasets as they are downloaded, maps and masks made elsewhere, maps of saliency.

All are drawn from the scenes' ground-truth masks by whole numbers and fractions of powers of two, so that every
processor draws the same bits, and noise is finer than the distances between values that a threshold could come between.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from pycocotools.mask import encode
from safetensors.torch import save_file
from scipy.io import savemat

from tests.golden.cases import BY_HAND
from tests.golden.networks import networks_by_hand
from tests.tiny_clip import write_clip
from wsss.data.images import read_mask
from wsss.data.index import Index, Item
from wsss.data.kinds.voc import CLASSES
from wsss.data.palette import VOC_PALETTE, write_mask
from wsss.store.manifest import write_manifest
from wsss.store.map_writer import MapWriter

ELSEWHERE = Path("elsewhere")
FINE = 1 << 20
"""Steps of the noise from 0 to 1."""


def noise(shape: tuple[int, ...], *key: object) -> np.ndarray:
    """float32 in [0, 1), multiples of 2^-20. The raw numbers of a generator, unlike its distributions, never change."""
    raw = np.random.PCG64(zlib.crc32(repr(key).encode())).random_raw(int(np.prod(shape)))
    return (raw % FINE).astype(np.float32).reshape(shape) / FINE


def true_mask(item: Item) -> np.ndarray:
    assert item.mask is not None  # scenes have them
    return read_mask(item.mask)


def shares(region: np.ndarray, cell: int) -> np.ndarray:
    """Share of each cell of so many pixels a side that a region bool (H, W) takes, float32."""
    high, wide = region.shape[0] // cell, region.shape[1] // cell
    return region.reshape(high, cell, wide, cell).mean((1, 3), dtype=np.float32)


def drawn_map(region: np.ndarray, cell: int, *key: object) -> np.ndarray:
    """A map of a region that is right here and there: two thirds truth, one third noise."""
    truth = shares(region, cell)
    return 0.625 * truth + 0.375 * noise(truth.shape, *key)


def write_maps(
    path: Path, items: list[Item], cell: int, draw: Callable[[Item], tuple[list[int], list[np.ndarray]]]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with MapWriter(path, scales=(1.0,), flip=False, stride=cell) as writer:
        for item in items:
            classes, maps = draw(item)
            writer.add(item.id, classes, (item.height, item.width), [np.stack(maps)] if maps else [])


def maps_elsewhere(items: list[Item], name: str, cell: int) -> None:
    """Maps of the tagged classes."""

    def draw(item: Item) -> tuple[list[int], list[np.ndarray]]:
        mask = true_mask(item)
        return list(item.labels), [drawn_map(mask == c + 1, cell, name, item.id, c) for c in item.labels]

    write_maps(ELSEWHERE / f"maps-{name}.h5", items, cell, draw)


def saliency_by_hand(items: list[Item]) -> None:
    """An artefact like that of saliency_maps."""
    folder = Path(BY_HAND["saliency"])
    path = folder / "shard-00000-of-00001.h5"
    write_maps(path, items, 4, lambda item: ([0], [drawn_map(true_mask(item) > 0, 4, "saliency", item.id)]))
    settings = {"splits": ["train", "val"]}
    write_manifest(folder, {"stage": "saliency_maps", "seed": 0, "settings": settings, "inputs": {}, "content": "none"})


def masks_elsewhere(items: list[Item], name: str, shift: tuple[int, int]) -> None:
    """The ground-truth masks, moved, with a corner left out and labels that are wrong in blocks."""
    for item in items:
        mask = np.roll(true_mask(item), shift, (0, 1))
        wrong = np.kron(noise((6, 6), name, item.id) > 0.8, np.ones((8, 8))) > 0
        mask = np.where(wrong, item.labels[0] + 1, mask).astype(np.uint8)
        mask[:6, :6] = 255
        write_mask(ELSEWHERE / f"masks-{name}" / f"{item.id}.png", mask)


def corrections(items: list[Item]) -> None:
    """A block of the background, one that is left out and one of a class, on every other image."""
    for item in items[::2]:
        correction = np.full((item.height, item.width), 255, np.uint8)
        correction[8:20, 8:20], correction[16:30, 24:40], correction[32:44, 4:44] = 0, 254, item.labels[0] + 1
        write_mask(ELSEWHERE / "corrections" / f"{item.id}.png", correction)


def regions_elsewhere(items: list[Item]) -> None:
    """Overlapping rectangles in COCO's run-length encoding, or blocks as labels, in turns."""
    for number, item in enumerate(items):
        path = ELSEWHERE / "regions" / item.id
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            blocks = np.kron(1 + np.arange(36).reshape(6, 6), np.ones((8, 8)))
            Image.fromarray(blocks.astype(np.uint8)).save(f"{path}.png")
            continue
        records = []
        for place, (top, left, high, wide) in enumerate(
            ((0, 0, 48, 48), (4, 4, 24, 30), (16, 10, 28, 28), (2, 30, 9, 9))
        ):
            inside = np.zeros((48, 48), np.uint8)
            inside[top : top + high, left : left + wide] = 1
            code = encode(np.asfortranarray(inside))
            code = {"size": code["size"], "counts": code["counts"].decode()}
            records.append({"segmentation": code, "predicted_iou": 0.5 + place / 8})
        Path(f"{path}.json").write_text(json.dumps(records))


def transformer_elsewhere(path: Path) -> None:
    """Weights of a tiny transformer, drawn from whole numbers."""
    network = timm.create_model("test_vit", num_classes=0)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    weights = {name: torch.from_numpy((noise(shape, name) - 0.5) / 4) for name, shape in shapes.items()}
    save_file({name: v + ("norm" in name and name.endswith("weight")) for name, v in weights.items()}, path)


def box(region: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of a region."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def folder(items: list[Item], classes: tuple[str, ...]) -> None:
    with (ELSEWHERE / "tags.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "labels"])
        for number, item in enumerate(items):
            id = f"{'even' if number % 2 else 'odd'}/{item.id}"
            rows.writerow([id, "|".join(classes[c] for c in item.labels)])
            photo = ELSEWHERE / "photos" / f"{id}.png"
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.write_bytes(item.image.read_bytes())
            write_mask(ELSEWHERE / "photo-masks" / f"{id}.png", true_mask(item))


def annotation(mask: np.ndarray, labels: tuple[int, ...]) -> str:
    """VOC's XML: the tagged classes, one that is difficult, and one whose box lies outside the image."""
    boxes = [(CLASSES[c], box(mask == c + 1), 0) for c in labels]
    boxes += [(CLASSES[3], (2, 2, 20, 20), 1), (CLASSES[4], (48, 0, 60, 20), 0)]
    edges = ("xmin", "ymin", "xmax", "ymax")
    things = [
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, found, strict=True))
        + "</bndbox></object>"
        for name, found, difficult in boxes
    ]
    return f"<annotation><size><width>48</width><height>48</height></size>{''.join(things)}</annotation>"


def voc(items: list[Item]) -> None:
    """VOC as downloaded: masks with a palette, one in colours, and SBD's where VOC has none."""
    root, sbd = ELSEWHERE / "VOC2012", ELSEWHERE / "sbd" / "cls"
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    sbd.mkdir(parents=True)
    ids = {item.id: f"2007_{number:06d}" for number, item in enumerate(items)}
    for number, item in enumerate(items):
        id, mask = ids[item.id], true_mask(item)
        with Image.open(item.image) as image:
            image.save(root / "JPEGImages" / f"{id}.jpg")
        (root / "Annotations" / f"{id}.xml").write_text(annotation(mask, item.labels))
        target = root / "SegmentationClass" / f"{id}.png"
        if number == 0:
            Image.fromarray(VOC_PALETTE[mask]).save(target)
        elif number < 4 or item.split == "val":
            write_mask(target, mask)
        else:
            savemat(sbd / f"{id}.mat", {"GTcls": {"Segmentation": mask}})
    lists = {"train": [i.id for i in items[:4]], "val": [i.id for i in items if i.split == "val"]}
    for name, members in lists.items():
        text = "".join(f"{ids[member]}\n" for member in members)
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)


def outline(mask: np.ndarray, label: int) -> list[list[float]]:
    """The octagon in the box of a class."""
    x1, y1, x2, y2 = box(mask == label + 1)
    a, b = (x2 - x1) / 4, (y2 - y1) / 4
    corners = [(x1 + a, y1), (x2 - a, y1), (x2, y1 + b), (x2, y2 - b)]
    corners += [(x2 - a, y2), (x1 + a, y2), (x1, y2 - b), (x1, y1 + b)]
    return [[float(value) for corner in corners for value in corner]]


def coco(items: list[Item], classes: tuple[str, ...]) -> None:
    """COCO as downloaded: category ids with gaps, a crowd in every image, and an image without annotations."""
    root = ELSEWHERE / "coco"
    (root / "annotations").mkdir(parents=True)
    category = {c: 7 * (len(classes) - c) for c in range(len(classes))}
    named = [{"id": category[c], "name": name} for c, name in enumerate(classes)]
    for split in ("train", "val"):
        (root / f"{split}2014").mkdir()
        content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": named}
        for number, item in enumerate(each for each in items if each.split == split):
            name = f"COCO_{split}2014_{number:012d}.jpg"
            (root / f"{split}2014" / name).write_bytes(item.image.read_bytes())
            content["images"].append({"id": number, "file_name": name, "height": item.height, "width": item.width})
            mask = true_mask(item)
            crowd = {"size": [48, 48], "counts": [40 * 48, 8 * 48]}
            shown = [(c, outline(mask, c), int((mask == c + 1).sum()), 0) for c in item.labels]
            for c, shape, area, is_crowd in [*shown, (item.labels[0], crowd, 8 * 48, 1)] if number != 1 else []:
                one = {"id": len(content["annotations"]), "image_id": number, "category_id": category[c]}
                content["annotations"].append({**one, "segmentation": shape, "area": area, "iscrowd": is_crowd})
        (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(content))


def furnish(index: Index) -> None:
    """Write all of it into the working folder."""
    ELSEWHERE.mkdir()
    items = list(index.items)
    maps_elsewhere(items, "a", 8)
    maps_elsewhere(items, "b", 4)
    saliency_by_hand(items)
    for name, shift in (("x", (1, 0)), ("y", (0, 2)), ("z", (-2, 1))):
        masks_elsewhere(items, name, shift)
    corrections(items)
    regions_elsewhere(items)
    transformer_elsewhere(ELSEWHERE / "vit.safetensors")
    if find_spec("open_clip") is not None:
        write_clip(ELSEWHERE / "clip", lambda name, shape: noise(shape, name))
    folder(items, index.classes)
    voc(items)
    coco(items, index.classes)
    networks_by_hand(index, Path(BY_HAND["classifier"]), Path(BY_HAND["segmenter"]))
