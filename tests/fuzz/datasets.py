"""Datasets, tags and drawings as others write them: a good example of each, and what its reader promises."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from tests.cli.workbook import write_workbook
from tests.fuzz.examples import CLASSES, LABELS, SIZE, is_texts, items
from wsss.data.images import read_mask
from wsss.data.index import Index
from wsss.data.kinds import coco, voc
from wsss.data.lists import read_lines, read_tags
from wsss.errors import WsssError
from wsss.interfaces.annotations import read_annotations
from wsss.interfaces.tags import exports, tables
from wsss.interfaces.tags.base import Annotations, PhotoIds
from wsss.refine.regions import read_regions
from wsss.settings import CocoSettings


def outlines() -> list[dict[str, Any]]:
    region = np.zeros(SIZE, np.uint8, order="F")
    region[2:9, 3:11] = 1
    code = rle.encode(region)
    packed = {"size": list(SIZE), "counts": code["counts"].decode()}
    plain = {"size": list(SIZE), "counts": [10, 20, math.prod(SIZE) - 30]}
    polygon = [[1.5, 2, 9, 2.5, 7, 8, 1, 10], [2, 2, 4, 2, 4, 4]]
    return [
        {"id": k, "image_id": k % 2, "category_id": 7 + k % 2, "segmentation": one, "area": 9.5, "iscrowd": int(k == 2),
         "bbox": [1, 2, 3, 4]}
        for k, one in enumerate([polygon, packed, plain, packed, []])
    ]  # fmt: skip


def coco_file() -> dict[str, Any]:
    images = [{"id": k, "file_name": f"{k}.jpg", "height": SIZE[0], "width": SIZE[1]} for k in range(3)]
    categories = [{"id": 7, "name": "cat", "supercategory": "animal"}, {"id": 8, "name": "dog"}]
    return {"images": images, "annotations": outlines(), "categories": categories}


def good_coco(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / f"{split}2014").mkdir()
        (folder / f"{split}2014" / "x.txt").touch()
        (folder / "annotations").mkdir(exist_ok=True)
        text = json.dumps(coco_file())
        (folder / "annotations" / f"instances_{split}2014.json").write_text(text)


def read_coco(folder: Path) -> None:
    out = folder / "out"
    found = coco.collect(CocoSettings(root=str(folder)), out, 1)
    assert is_texts(found.classes) and is_texts(entry.id for entry in found.entries)
    for entry in found.entries:
        assert entry.split in ("train", "val") and set(entry.labels or ()) <= set(found.classes)
        assert entry.mask is None or entry.mask.resolve().is_relative_to(out.resolve()), entry.mask
        assert entry.image.resolve().is_relative_to(folder.resolve()), entry.image
    for problem in found.problems:
        assert problem.file and problem.text and problem.cure


def good_voc(folder: Path) -> None:
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    (folder / "a.xml").write_text(
        "<annotation><size><width>17</width><height>12</height></size>"
        f"<object><name>cat</name>{box}</object><object><name>dog</name>{box}</object></annotation>"
    )
    savemat(folder / "b.mat", {"GTcls": {"Segmentation": np.ones(SIZE, np.uint8), "Boundaries": np.zeros(3)}})
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[:5] = (128, 0, 0)
    Image.fromarray(colours).save(folder / "c.png")


def read_voc(folder: Path) -> None:
    problems: list[Any] = []
    found = voc._labels(folder / "a.xml", "a", "train", problems)
    assert (found is None or is_texts(found)) and all("a.xml" in str(one) for one in problems)
    for name in ("b.mat", "c.png"):
        id, problems, out = name[0], [], folder / "out"
        mask = voc._mask(folder, {id: folder / name}, id, "train", out, True, problems)
        assert (mask is None) == bool(problems) and all(name in str(one) for one in problems)
        if mask is not None and mask.is_relative_to(out):
            values = read_mask(mask)
            assert values.dtype == np.uint8 and values.ndim == 2


def good_tags(folder: Path) -> None:
    (folder / "tags.csv").write_text('id,labels,note\na,cat;dog,"x, y"\nb,owl,\nc/d,,z\n')
    (folder / "wide.csv").write_text("photo;cat;dog\na.jpg;1;0\nb.jpg;0;1\nc/d.jpg;x;\n")
    (folder / "lists.tsv").write_text("file\tlabels\na.jpg\t['cat', 'dog']\nb.jpg\t{\"choices\": [\"owl\"]}\n")
    (folder / "ids.txt").write_text("a\nb\n\nc/d\n")


def check_annotations(found: Annotations) -> None:
    assert is_texts(found.tags) and all(is_texts(names) for names in found.tags.values()) and is_texts(found.order)


def read_tag_files(folder: Path) -> None:
    ids = PhotoIds(LABELS)
    for name in ("tags.csv", "wide.csv", "lists.tsv", "ids.txt"):
        for read in (
            tables.read_table,
            lambda path, _: read_tags(path, ";"),
            lambda path, _: read_lines(path, "the list"),
        ):
            try:
                found = read(folder / name, ids)
            except WsssError as error:
                assert name in str(error), error
                continue
            if isinstance(found, Annotations):
                check_annotations(found)
            elif isinstance(found, tuple):
                assert all(is_texts([id, *names]) for id, names in found[0].items())
            else:
                assert is_texts(found)


def good_workbook(folder: Path) -> None:
    write_workbook(folder / "t.xlsx", [["id", "labels", "n"], ["a", "cat", 1], ["b", "dog;owl", True], [None, "é", 3]])


def read_workbooks(folder: Path) -> None:
    check_annotations(tables.read_table(folder / "t.xlsx", PhotoIds(LABELS)))


def good_exports(folder: Path) -> None:
    content = coco_file()
    for k, id in enumerate(LABELS):
        content["images"][k]["file_name"] = f"{id}.jpg"
    (folder / "coco.json").write_text(json.dumps(content))
    region = {"value": {"rectanglelabels": ["cat"], "x": 1.5}, "type": "rectanglelabels"}
    task = {"id": 1, "data": {"image": "/data/a.jpg"}, "annotations": [{"result": [region], "was_cancelled": False}]}
    (folder / "studio.json").write_text(json.dumps([task, {"image": "b.jpg", "choice": {"choices": ["dog"]}, "id": 2}]))
    (folder / "cvat.xml").write_text(
        "<annotations><meta><job><labels><label><name>cat</name></label></labels></job></meta>"
        '<image id="0" name="a.jpg"><tag label="cat"/><box label="cat" xtl="1"/></image>'
        '<image id="1" name="b.jpg"></image></annotations>'
    )
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.2\n1 0.1 0.2 0.3 0.4\n")
    (folder / "labels" / "data.yaml").write_text("names: {0: cat, 1: dog}\nnc: 2\n")


def read_exports(folder: Path) -> None:
    ids, files = PhotoIds(LABELS), {id: [folder / f"{id}.jpg"] for id in LABELS}
    for name, read in {
        "coco.json": lambda path: exports.read_json(path, ids),
        "studio.json": lambda path: exports.read_json(path, ids),
        "cvat.xml": lambda path: exports.read_cvat(path, ids),
        "labels": lambda path: exports.read_yolo(folder, files, path),
    }.items():
        try:
            check_annotations(read(folder / name))
        except WsssError as error:
            assert name in str(error), error


def good_regions(folder: Path) -> None:
    packed = [one["segmentation"] for one in outlines() if isinstance(one["segmentation"], dict)]
    records = [{"segmentation": one, "predicted_iou": 0.9, "area": 56, "bbox": [1, 2, 3, 4]} for one in packed]
    (folder / "a.json").write_text(json.dumps(records))
    Image.fromarray(np.arange(math.prod(SIZE), dtype=np.uint16).reshape(SIZE)).save(folder / "b.png")


def read_region_files(folder: Path) -> None:
    for name in ("a.json", "b.png"):
        try:
            found = read_regions(folder / name, SIZE)
        except WsssError as error:
            assert name in str(error), error
            continue
        for pixels, iou in found:
            assert pixels.dtype == np.int64 and (np.diff(pixels) > 0).all(), pixels
            assert not len(pixels) or (pixels[0] >= 0 and pixels[-1] < math.prod(SIZE))
            assert type(iou) is float and math.isfinite(iou), iou


def good_drawn(folder: Path) -> None:
    content = coco_file()
    for k, id in enumerate(LABELS):
        content["images"][k]["file_name"] = f"{id}.jpg"
    (folder / "coco.json").write_text(json.dumps(content))
    value = {"format": "rle", "rle": studio_bytes(), "brushlabels": ["dog"]}
    result = {"type": "brushlabels", "original_width": SIZE[1], "original_height": SIZE[0], "value": value, "id": "1"}
    task = {"data": {"image": "a.jpg", "id": "a"}, "annotations": [{"result": [result]}], "predictions": []}
    (folder / "studio.json").write_text(json.dumps([task]))


def studio_bytes() -> list[int]:
    from wsss.interfaces.run_lengths import label_studio_rle

    region = np.zeros(SIZE, bool)
    region[3:7, 2:9] = True
    return label_studio_rle(region)


def read_drawn(folder: Path) -> None:
    index = Index(CLASSES, tuple(items()), folder, "photos")
    for name in ("coco.json", "studio.json"):
        try:
            found = read_annotations(folder / name, index)
        except WsssError as error:
            assert name in str(error), error
            continue
        for id, mask in found.items():
            assert id in LABELS and mask.dtype == np.uint8 and mask.shape == SIZE
            assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}
