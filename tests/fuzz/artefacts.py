"""Files of this project's own formats, photos and weights: a good example of each, and what its reader promises."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from tests.fuzz.examples import CLASSES, LABELS, LARGEST, SHARD, SIZE, is_texts, items, photo
from wsss.data.images import check_image, check_mask, read_image, read_mask
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.interfaces.networks import classes_of
from wsss.stages.external_cams import ExternalMaps, external_shards
from wsss.store.artefact import Artefact
from wsss.store.exemplars import Exemplar, Exemplars, write_exemplars
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import MapRecord
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import described, load_weights
from wsss.system.packs import write_packs


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
