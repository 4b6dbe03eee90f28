"""What fuzzing found, by hand: files that were met with a traceback, a hang, or memory by what they declared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.cli.workbook import write_workbook
from tests.fuzz.artefacts import good_exemplars, good_maps, good_packs
from tests.fuzz.datasets import coco_file, good_coco, good_voc
from tests.fuzz.examples import CLASSES, LABELS, SHARD, SIZE, items
from wsss.config.yaml import read_yaml
from wsss.data.index import Index
from wsss.data.kinds import coco, voc
from wsss.data.outlines import from_coco_counts, polygons_region, runs_region
from wsss.errors import WsssError
from wsss.interfaces.annotations import read_annotations
from wsss.interfaces.run_lengths import from_label_studio_rle
from wsss.interfaces.tags.base import PhotoIds
from wsss.interfaces.tags.exports import read_json, read_yolo
from wsss.interfaces.tags.tables import names_in, read_table
from wsss.refine.regions import read_regions
from wsss.runtime.arguments import read_settings
from wsss.settings import KINDS, CocoSettings
from wsss.store.exemplars import Exemplars
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import described, load_weights

IDS = PhotoIds(LABELS)
DEEP = "[" * 200_000


def put(name: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    """A dataset in the place of another."""

    def change(file: h5py.File) -> None:
        del file[name]
        if isinstance(value, h5py.SoftLink | h5py.ExternalLink):
            file[name] = value
        else:
            file.create_dataset(name, **({"shape": value} if isinstance(value, tuple) else {"data": value}), **options)

    return change


def cell(name: str, place: Any, value: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][place] = value

    return change


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("size", h5py.SoftLink("/size")), "'size' is missing, or a link"),
        (put("data", h5py.ExternalLink("other.h5", "/data")), "'data' is missing, or a link"),
        (
            put("id", (2**34,), dtype=h5py.string_dtype(), chunks=True),
            "'id' declares 17179869184 values, more than are",
        ),
        (put("data_end", (2**34,), dtype="i8"), "'data_end' declares 17179869184 values"),
        (put("data", np.zeros(38, "f4"), compression="gzip"), "'data' is compressed"),
        (put("id", np.zeros(3)), "'id' is of the type float64, not text"),
        (put("class_end", np.array([2, 3])), "its tables are not of as many images as it has ids"),
        (cell("size", (1, 0), 2**31 - 1), "its tables have the size of image 'b' wrong"),
        (cell("size", (0, 1), 0), "the size of image 'a'"),
        (cell("class_end", 1, 1), "some of its maps have no cells"),
        (cell("class_end", 0, -1), "the classes of image 'a'"),
        (cell("data_end", 0, 3), "the values of image 'a'"),
        (cell("shape", (0, 0, 0), 4), "the values of image 'a'"),
        (cell("classes", 1, 0), "the classes of image 'a'"),
        (cell("classes", 1, -1), "the classes of image 'a'"),
        (cell("data", 0, np.nan), "image 'a' has NaN, infinite or negative values"),
        (cell("data", 0, -1), "image 'a' has NaN, infinite or negative values"),
        (attribute("round_to", 2**40), "its attribute 'round_to' is 1099511627776"),
        (attribute("round_to", 0), "its attribute 'round_to' is 0"),
        (attribute("scales", np.ones(3)), "maps at 2 scales, 'scales' has 3"),
        (attribute("scales", np.nan), "its attribute 'scales' is nan"),
    ],
)
def test_maps(tmp_path: Path, change: Callable[[h5py.File], None], said: str) -> None:
    good_maps(tmp_path)
    with h5py.File(tmp_path / SHARD, "a") as file:
        change(file)
    with pytest.raises(WsssError, match=rf"{SHARD} .*{said}"):
        list(map(MapStore(tmp_path).full, LABELS))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("id", np.zeros(2)), "'id' is of the type float64, not text"),
        (put("context", (2**40,), dtype="u1", chunks=True), "'context' declares 1099511627776 values"),
        (put("tag_end", np.zeros((2, 2), int)), "'tag_end' is no dataset of 1 dimension"),
        (cell("labels_end", 0, 10**6), "its tables contradict each other"),
        (cell("size", (0, 0), 0), "it has images without pixels"),
        (cell("box", (0, 2), 60000), "it has boxes outside of their images"),
        (cell("box", (0, 1), 12), "it has boxes outside of their images"),
    ],
)
def test_memories(tmp_path: Path, change: Callable[[h5py.File], None], said: str) -> None:
    good_exemplars(tmp_path)
    with h5py.File(tmp_path / "memory.h5", "a") as file:
        change(file)
    with pytest.raises(WsssError, match=rf"memory.h5 .*{said}"):
        Exemplars(tmp_path / "memory.h5")


@pytest.mark.parametrize("about", [DEEP, '{"format": "wsss-packs", "version": 1, "packs": Infinity, "files": 3}', "[]"])
def test_packs(tmp_path: Path, about: str) -> None:
    good_packs(tmp_path)
    (tmp_path / "packed.json").write_text(about)
    with pytest.raises(WsssError, match="packed.json: does not tell of packed files"):
        MaskFolder(tmp_path).ids()


def test_a_mask_whose_head_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x04IHDR\x00\x00\x00\x05\x3d\x2f\x5c\x01")
    with pytest.raises(WsssError, match=r"a.png: the mask of image 'a' cannot be read"):
        MaskFolder(tmp_path).read("a")


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("images", "file_name", "../../a.jpg", "an image has the file name '../../a.jpg'"),
        ("images", "file_name", None, "NoneType"),
        ("images", "height", 10**9, "1.jpg has 1000000000 x 17 pixels"),
        ("images", "width", 17.0, "17.0 pixels"),
        ("images", "id", [], "unhashable"),
        ("annotations", "segmentation", 3, "has no outline"),
        ("annotations", "area", float("nan"), "a strange area"),
        ("annotations", "image_id", {}, "unhashable"),
        ("categories", "id", "7", "whole number as its id"),
        ("categories", "name", "\ud800", "surrogates not allowed"),
    ],
)
def test_coco(tmp_path: Path, part: str, key: str, value: Any, said: str) -> None:
    good_coco(tmp_path)
    content = coco_file()
    content[part][1][key] = value
    (tmp_path / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    with pytest.raises(WsssError, match=f"instances_train2014.json: not a whole COCO instances file .*{said}"):
        coco.collect(CocoSettings(root=str(tmp_path)), tmp_path / "out", 1)


@pytest.mark.parametrize("polygon", [[0, 0, 1e9, 0, 5, 5], [0, 0, float("nan"), 0, 5, 5], [0, 0, "1", 0, 5, 5], 7])
def test_polygons(polygon: Any) -> None:
    with pytest.raises(ValueError, match="has a polygon that"):
        polygons_region([polygon], SIZE)


@pytest.mark.parametrize(
    "counts", ["P", "o" * 10**6 + "0", "é", [-5, 209], [2**40], [1.5, 202.5], 5, None, "0" * 3, [100], [10**6]]
)
def test_run_lengths(counts: Any) -> None:
    with pytest.raises(ValueError, match=r"run length|RLE|pixels"):
        runs_region({"size": list(SIZE), "counts": counts}, SIZE)
    if isinstance(counts, str | list):
        with pytest.raises(ValueError, match="run lengths"):
            from_coco_counts(counts, SIZE)


@pytest.mark.parametrize("content", [[256] * 20, [-1] * 20, [1.5] * 20])
def test_brush_labels(content: list[Any]) -> None:
    with pytest.raises(ValueError, match="no list of bytes"):
        from_label_studio_rle(content, SIZE)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, [1], [[]]])
def test_annotations_without_form(tmp_path: Path, part: str, value: Any) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**coco_file(), part: value}))
    with pytest.raises(WsssError, match="c.json: "):
        read_annotations(tmp_path / "c.json", Index(CLASSES, tuple(items()), tmp_path, "photos"))
    with pytest.raises(WsssError, match="c.json: is no whole export"):
        read_json(tmp_path / "c.json", IDS)


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "[3]",
        '[{"segmentation": {"size": [12, 17], "counts": "P"}}]',
        '[{"segmentation": {"size": [12, 17], "counts": [204]}, "predicted_iou": NaN}]',
    ],
)
def test_regions(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(WsssError, match="a.json: cannot be read as regions"):
        read_regions(tmp_path / "a.json", SIZE)


@pytest.mark.parametrize("cell", ["{1: ['cat']}", "[" * 5000 + "]" * 5000, "(" + "-" * 20000 + "1)"])
def test_cells_that_look_like_code(cell: str) -> None:
    assert all(isinstance(name, str) for name in names_in(cell))


@pytest.mark.parametrize(
    ("old", "new"), [('r="A2"', 'r="ZZZZZZZ2"'), ("<v>0</v>", "<v>-1</v>"), ("<v>0</v>", "<v>²</v>")]
)
def test_workbooks(tmp_path: Path, old: str, new: str) -> None:
    import zipfile

    write_workbook(tmp_path / "good.xlsx", [["id", "labels"], ["a", "cat"]])
    with zipfile.ZipFile(tmp_path / "good.xlsx") as good, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).decode().replace(old, new))
    with pytest.raises(WsssError, match="t.xlsx: cannot be read as an Excel workbook"):
        read_table(tmp_path / "t.xlsx", IDS)


@pytest.mark.parametrize(
    ("names", "boxes", "said"),
    [
        ("names: {0: cat, 9999999999999: dog}", "0 1 1 1 1", "data.yaml: names no classes .*beyond"),
        ("names: {cat: 0}", "0 1 1 1 1", "data.yaml: names no classes"),
        ("names: 5", "0 1 1 1 1", "data.yaml: names no classes"),
        ("names: [2001-99-99]", "0 1 1 1 1", "data.yaml: names no classes"),
        ("names: [cat]", "9" * 400 + " 1 1 1 1", "a.txt: line 1"),
    ],
)
def test_yolo(tmp_path: Path, names: str, boxes: str, said: str) -> None:
    (tmp_path / "data.yaml").write_text(names)
    (tmp_path / "a.txt").write_text(boxes)
    with pytest.raises(WsssError, match=said):
        read_yolo(tmp_path, {"a": [tmp_path / "a.jpg"]}, tmp_path)


@pytest.mark.parametrize(("text", "said"), [(b"? [a]\n: 1\n", "c.yaml: line 1 has a list or a block as a key"),
                                            (b"a: \xe9\n", "c.yaml: not valid YAML"),
                                            (b"a: 2001-99-99\n", "c.yaml: not valid YAML")])  # fmt: skip
def test_configuration(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "c.yaml").write_bytes(text)
    with pytest.raises(WsssError, match=said):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("text", ["{kind: [coco]}", "{a: 2001-99-99}", "{a: " + DEEP[:400], "{a: &a [*a]}"])
def test_settings(text: str) -> None:
    with pytest.raises(WsssError):
        read_settings(KINDS["datasets"], text)


def test_weights(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "a.pth")
    torch.save({"layer": {"weight": torch.zeros(2)}}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WsssError, match=f"{name}: refused, the file holds more than tensors by name"):
            load_weights(tmp_path / name)
    for said in ("[]", DEEP, "3"):
        save_file({"a": torch.zeros(2)}, tmp_path / "c.safetensors", {"wsss": said})
        for read in (load_weights, described):
            with pytest.raises(WsssError, match=r"c.safetensors: not a readable file of weights"):
                read(tmp_path / "c.safetensors")


def test_masks_of_sbd(tmp_path: Path) -> None:
    good_voc(tmp_path)
    whole = (tmp_path / "b.mat").read_bytes()
    for end in range(1, len(whole), 7):
        (tmp_path / "b.mat").write_bytes(whole[:end])
        problems: list[Any] = []
        found = voc._mask(tmp_path, {"b": tmp_path / "b.mat"}, "b", "train", tmp_path / "out", True, problems)
        assert (found is None) == bool(problems)
