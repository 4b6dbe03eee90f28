"""The readers of files that others may have made: a good example of each, how it is damaged, and what they promise."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from safetensors.torch import save
from scipy.io import savemat

from tests.cli.workbook import write_workbook
from tests.fuzz import mutations
from wsss.config.loader import load
from wsss.config.yaml import read_yaml
from wsss.data.images import check_image, check_mask, read_image, read_mask
from wsss.data.index import Index, Item
from wsss.data.kinds import coco, voc
from wsss.data.lists import read_lines, read_tags
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.interfaces.annotations import read_annotations
from wsss.interfaces.networks import classes_of
from wsss.interfaces.tags import exports, tables
from wsss.interfaces.tags.base import Annotations, PhotoIds
from wsss.refine.regions import read_regions
from wsss.runtime.arguments import read_settings
from wsss.settings import KINDS, CocoSettings, Settings
from wsss.stages.external_cams import ExternalMaps, external_shards
from wsss.store.artefact import Artefact
from wsss.store.exemplars import Exemplar, Exemplars, write_exemplars
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapRecord, MapStore, MapWriter
from wsss.store.masks import MaskFolder
from wsss.store.weights import described, load_weights
from wsss.system.packs import write_packs
from wsss.text import nice

SIZE = (12, 17)
LABELS = {"a": (0, 2), "b": (1,), "c/d": ()}
CLASSES = ("cat", "dog", "owl")
SHARD = "shard-00000-of-00001.h5"
LARGEST = 4_000_000
"""Pixels of what is decoded here; readers may give more, but not more than Pillow would open."""


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        good: Writes a good example into an empty folder.
        hurt: How its files are damaged, by suffix; files of other suffixes stay.
        read: Reads the folder. Raises ``AssertionError`` where what it gets is not what is promised.
    """

    good: Callable[[Path], None]
    hurt: Mapping[str, mutations.Mutation]
    read: Callable[[Path], None]

    def example(self, folder: Path) -> dict[str, bytes]:
        """The good example: bytes by path below the folder."""
        self.good(folder)
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    def damaged(self, rng: Random, files: dict[str, bytes]) -> dict[str, bytes]:
        """The example with one of its files damaged."""
        name = rng.choice([name for name in files if Path(name).suffix in self.hurt])
        return {**files, name: self.hurt[Path(name).suffix](rng, files[name])}


def photo(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).convert(mode)


def items() -> list[Item]:
    return [Item(id, "train", Path(f"{id}.jpg"), None, *SIZE, labels, False) for id, labels in LABELS.items()]


def is_texts(values: Any) -> bool:
    return all(type(one) is str for one in values)


# maps


def good_maps(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with MapWriter(folder / SHARD, scales=(1.0, 0.5), flip=True, stride=4) as writer:
        for id, labels in LABELS.items():
            maps = [rng.random((len(labels), *shape), np.float32) for shape in ((3, 5), (2, 3))] if labels else []
            writer.add(id, labels, SIZE, maps, "told")
    write_manifest(folder, {"stage": "cams"})


def check_record(record: MapRecord, scales: int) -> None:
    classes, (height, width) = record.classes, record.size
    assert type(record.id) is str and classes.ndim == 1 and classes.dtype.kind == "i", record
    assert len(set(classes.tolist())) == len(classes) and (classes >= 0).all(), classes
    assert height > 0 and width > 0 and len(record.maps) == scales, record
    for one in record.maps:
        assert one.dtype == np.float32 and one.ndim == 3 and len(one) == len(classes), one.shape
        assert np.isfinite(one).all() and (one >= 0).all() and (one.size or not len(classes)), one


def read_maps(folder: Path) -> None:
    store = MapStore(folder)
    for id in store:
        record = store[id]
        check_record(record, len(store.attributes["scales"]))
        if math.prod(record.size) * max(1, len(record.classes)) <= LARGEST:
            low, full = store.low(id), store.full(id)
            assert full.shape == (len(record.classes), *record.size) and full.dtype == np.float32
            assert np.isfinite(full).all() and np.isfinite(low).all()


def read_external_maps(folder: Path) -> None:
    shards = external_shards(folder)
    where = {id: (number, row) for number, shard in enumerate(shards) for row, id in enumerate(shard.ids)}
    for veto in (False, True):
        read = ExternalMaps(tuple(shards), where, CLASSES, veto)
        for item in items():
            try:
                record = read(item)
            except WsssError:
                continue  # the stage names the folder
            assert record.size == SIZE and tuple(record.classes.tolist()) == item.labels
            if item.labels:
                check_record(record, len(shards[0].attributes["scales"]))


def good_exemplars(folder: Path) -> None:
    jpeg = io.BytesIO()
    photo().save(jpeg, "JPEG")
    mask = encode_mask(np.ones(SIZE, np.uint8))
    boxes = np.array([[1, 1, 9, 9], [0, 4, 8, 17]], np.uint16)
    parts = [
        Exemplar("a", SIZE, (0, 2), jpeg.getvalue(), boxes, (jpeg.getvalue(), jpeg.getvalue()), mask),
        Exemplar("b", SIZE, (), jpeg.getvalue(), boxes[:0], (), mask),
    ]
    write_exemplars(folder / "memory.h5", parts, {"budget": 5})


def read_exemplars(folder: Path) -> None:
    for one in Exemplars(folder / "memory.h5"):
        assert type(one.id) is str and len(one.size) == 2 and one.boxes.shape[1:] == (4,)
        assert all(type(part) is bytes for part in (one.context, one.mask, *one.crops)) and len(one.crops) == len(
            one.boxes
        )
        height, width = one.size
        assert 0 < height and 0 < width
        for top, left, bottom, right in one.boxes.tolist():
            assert 0 <= top < bottom <= height and 0 <= left < right <= width, one.boxes


# masks and pictures


def good_masks(folder: Path) -> None:
    values = np.random.default_rng(0).choice([0, 1, 2, 255], SIZE).astype(np.uint8)
    (folder / "p.png").write_bytes(encode_mask(values))
    Image.fromarray(values).save(folder / "l.png")
    Image.fromarray(values.astype(np.uint16)).save(folder / "i.png")


def read_masks(folder: Path) -> None:
    for name in "pli":
        for read in (MaskFolder(folder).read, lambda id: read_mask(folder / f"{id}.png")):
            try:
                mask = read(name)
            except WsssError as error:
                assert f"{name}.png" in str(error), error
                continue
            assert mask.dtype == np.uint8 and mask.ndim == 2 and mask.size
        data = (folder / f"{name}.png").read_bytes()
        try:
            assert check_mask(data).dtype == np.uint8
        except ValueError as error:  # of those who know the file's name
            assert str(error)


def good_packs(folder: Path) -> None:
    masks = [encode_mask(np.full(SIZE, value, np.uint8)) for value in range(3)]
    write_packs(folder, ((f"m{k}.png", mask) for k, mask in enumerate(masks)), len(masks))


def read_packs(folder: Path) -> None:
    masks = MaskFolder(folder)
    assert is_texts(masks.ids())
    for id in masks.ids():
        mask = masks.read(id)
        assert mask.dtype == np.uint8 and mask.ndim == 2


PHOTOS = {"a.jpg": "RGB", "b.png": "RGBA", "c.gif": "P", "d.tif": "L", "e.webp": "RGB", "f.bmp": "RGB", "g.jpg": "CMYK",
          "h.avif": "RGB", "i.tif": "F", "j.png": "I;16"}  # fmt: skip


def good_photos(folder: Path) -> None:
    for name, mode in PHOTOS.items():
        photo("L" if mode == "I;16" else mode).convert(mode).save(folder / name)
    exif = Image.Exif()
    exif[274] = 6
    photo().save(folder / "k.jpg", exif=exif)


def read_photos(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        size = None
        try:
            size = check_image(path.read_bytes())
        except ValueError as error:
            assert str(error)
        try:
            pixels = read_image(path)
        except WsssError as error:
            assert path.name in str(error), error
            continue
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
        assert size is None or size == pixels.shape[:2], (size, pixels.shape)


# datasets


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


# configuration and weights

RECIPES = """\
dataset: photos
seeds: [0, 1]
results: results
datasets:
  photos: {kind: folder, images: photos, labels: photos/tags.csv}
defaults:
  classifiers: {epochs: 3, crop: 64}
classifiers:
  plain: {objective: vanilla, backbone: resnet18, lr: 0.1}
  clever: {objective: p-noc, ordinary: plain}
cams:
  plain: {classifier: plain, scales: [1.0, 0.5]}
masks:
  plain: {cams: plain, threshold: {policy: fixed, value: 0.3}}
segmenters:
  plain: {masks: plain, predict: {crf: null}}
"""


def good_configuration(folder: Path) -> None:
    (folder / "c.yaml").write_text(RECIPES)


def read_configuration(folder: Path) -> None:
    made = read_yaml(folder / "c.yaml")
    try:
        config = load(made)
    except WsssError as error:
        assert "onfiguration" in str(error) or "c.yaml" in str(error), error
        raise Named from None
    assert is_texts(config.dataset) and all(0 <= seed < 2**32 for seed in config.seeds)
    assert all(isinstance(one, Settings) for recipes in config.recipes.values() for one in recipes.values())


def good_settings(folder: Path) -> None:
    (folder / "s.yaml").write_text("kind: coco\nroot: photos/coco\nyear: 2014\nbroken: drop\n")


def read_stage_settings(folder: Path) -> None:
    try:
        assert isinstance(read_settings(KINDS["datasets"], str(folder / "s.yaml")), Settings)
    except WsssError as error:
        assert "--settings" in str(error) or "onfiguration" in str(error), error
        raise Named from None


class Named(WsssError):
    """An error whose text was checked already."""


def good_weights(folder: Path) -> None:
    weights = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2, dtype=torch.float16)}
    about = {"classes": list(CLASSES), "backbone": "resnet18"}
    (folder / "model.safetensors").write_bytes(save(weights, {"wsss": json.dumps(about)}))
    torch.save({"state_dict": weights, "epoch": 3}, folder / "a.pth")
    torch.save(weights, folder / "b.pt", _use_new_zipfile_serialization=False)


def read_weight_files(folder: Path) -> None:
    for name in ("model.safetensors", "a.pth", "b.pt"):
        try:
            weights, about = load_weights(folder / name)
        except WsssError as error:
            assert name in str(error), error
            continue
        assert is_texts(weights) and all(isinstance(one, torch.Tensor) for one in weights.values()), weights
        assert isinstance(about, dict)
    try:
        assert isinstance(described(folder / "model.safetensors"), dict)
        assert is_texts(classes_of(Artefact(folder, {"stage": "segmenter"})))
    except WsssError as error:
        assert "model.safetensors" in str(error), error


JSON, PNG, TEXT, HDF5 = mutations.of_json, mutations.of_png, mutations.of_text, mutations.of_hdf5
READERS: dict[str, Reader] = {
    "maps": Reader(good_maps, {".h5": HDF5}, read_maps),
    "external-maps": Reader(good_maps, {".h5": HDF5}, read_external_maps),
    "exemplars": Reader(good_exemplars, {".h5": HDF5}, read_exemplars),
    "masks": Reader(good_masks, {".png": PNG}, read_masks),
    "packs": Reader(good_packs, {".zip": mutations.of_archive(lambda _: PNG), ".json": JSON}, read_packs),
    "photos": Reader(
        good_photos,
        {".png": PNG, **dict.fromkeys((".jpg", ".gif", ".tif", ".webp", ".bmp", ".avif"), mutations.of_bytes)},
        read_photos,
    ),
    "coco": Reader(good_coco, {".json": JSON}, read_coco),
    "voc": Reader(good_voc, {".xml": TEXT, ".mat": mutations.of_bytes, ".png": PNG}, read_voc),
    "tables": Reader(good_tags, dict.fromkeys((".csv", ".tsv", ".txt"), TEXT), read_tag_files),
    "workbooks": Reader(good_workbook, {".xlsx": mutations.of_archive(lambda _: TEXT)}, read_workbooks),
    "exports": Reader(
        good_exports, {".json": JSON, ".xml": TEXT, ".txt": TEXT, ".yaml": mutations.of_yaml}, read_exports
    ),
    "regions": Reader(good_regions, {".json": JSON, ".png": PNG}, read_region_files),
    "drawn": Reader(good_drawn, {".json": JSON}, read_drawn),
    "configuration": Reader(good_configuration, {".yaml": mutations.of_yaml}, read_configuration),
    "settings": Reader(good_settings, {".yaml": mutations.of_yaml}, read_stage_settings),
    "weights": Reader(
        good_weights,
        {".safetensors": mutations.of_safetensors, ".pth": mutations.of_archive(lambda _: mutations.of_bytes),
         ".pt": mutations.of_bytes},
        read_weight_files,
    ),
}  # fmt: skip


def names(error: WsssError, folder: Path) -> bool:
    """Whether an error names one of the folder's files, or the folder."""
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    return isinstance(error, Named) or any(one in str(error) for one in (str(folder), nice(folder), *files))
