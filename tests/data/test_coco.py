"""COCO as downloaded, in miniature."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from wsss.data.images import read_mask
from wsss.data.kinds.coco import _draw_all, counted, draw_mask
from wsss.errors import WsssError
from wsss.settings import CocoSettings
from wsss.stages.index import build_index

HEIGHT, WIDTH = 20, 30
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]


def box(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def thing(id, image, category, outline, area, crowd=0):
    about = {"id": id, "image_id": image, "category_id": category}
    return {**about, "segmentation": outline, "area": area, "iscrowd": crowd}


def crowd_outline():
    region = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    region[:4] = 1
    counts, last, run = [], 0, 0
    for pixel in region.ravel(order="F"):
        if pixel != last:
            counts, last, run = [*counts, run], pixel, 0
        run += 1
    return {"size": [HEIGHT, WIDTH], "counts": [*counts, run]}


class Coco:
    def __init__(self, root, year=2014):
        self.root, self.year = root, year
        self.content = {}
        for split, first in (("train", 1), ("val", 11)):
            name = "COCO_{}2014_{:012d}.jpg" if year == 2014 else "{1:012d}.jpg"
            images = [
                {"id": k, "file_name": name.format(split, k), "height": HEIGHT, "width": WIDTH}
                for k in range(first, first + 3)
            ]
            self.content[split] = {"images": images, "categories": CATEGORIES, "annotations": [
                thing(1, first, 90, box(0, 0, 20, 20), 400), thing(2, first, 1, box(5, 5, 10, 10), 25),
                thing(3, first, 1, crowd_outline(), 120, 1), thing(4, first + 1, 13, box(3, 3, 9, 9), 36),
            ]}  # fmt: skip
            (root / f"{split}{year}").mkdir(parents=True)
            for image in images:
                Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"{split}{year}" / image["file_name"])

    def build(self, **changes):
        (self.root / "annotations").mkdir(exist_ok=True)
        for split, content in self.content.items():
            (self.root / "annotations" / f"instances_{split}{self.year}.json").write_text(json.dumps(content))
        settings = {"kind": "coco", "root": str(self.root), "year": self.year, **changes}
        return build_index(CocoSettings.read(settings), "coco", self.root / "index", 1)


@pytest.fixture
def coco(tmp_path):
    return Coco(tmp_path)


def test_as_downloaded(coco):
    index = coco.build()
    assert index.classes == ("person", "stop sign", "toothbrush")
    first = index.item("COCO_train2014_000000000001")
    assert first.labels == (0, 2) and first.image.parent.name == "train2014"
    assert index.item("COCO_val2014_000000000012").labels == (1,)
    assert [len(index.split("train")), len(index.labelled("train")), len(index.scored("train"))] == [3, 2, 3]
    report = json.loads((coco.root / "index" / "report.json").read_text())
    assert report["categories"] == [
        {"name": "person", "coco_id": 1, "mask_value": 1},
        {"name": "stop sign", "coco_id": 13, "mask_value": 2},
        {"name": "toothbrush", "coco_id": 90, "mask_value": 3},
    ]
    assert report["unlabelled"] == {"train": ["COCO_train2014_000000000003"], "val": ["COCO_val2014_000000000013"]}
    assert report["notes"] == ["2 images have no annotation; they are kept and not trained on"]


def test_mask(coco):
    mask = read_mask(coco.build().item("COCO_train2014_000000000001").mask)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:4] = 255
    expected[:, :20] = 3
    expected[5:10, 5:10] = 1
    np.testing.assert_array_equal(mask, expected)
    assert not read_mask(coco.root / "index" / "masks" / "COCO_train2014_000000000003.png").any()


def test_counted_by_the_files(coco):
    index = coco.build()
    found = counted(CocoSettings.read({"kind": "coco", "root": str(coco.root)}))
    assert found == {split: len(index.split(split)) for split in ("train", "val")}


def test_2017(tmp_path):
    index = Coco(tmp_path, 2017).build()
    assert index.item("000000000001").image == tmp_path / "train2017" / "000000000001.jpg"


def test_all_forms_of_outlines():
    region = np.zeros((HEIGHT, WIDTH), np.uint8)
    region[:4] = 1
    packed = rle.encode(np.asfortranarray(region))
    packed["counts"] = packed["counts"].decode()
    for outline in (packed, crowd_outline(), box(0, 0, WIDTH, 4)):
        np.testing.assert_array_equal(draw_mask(HEIGHT, WIDTH, [(1, thing(1, 1, 1, outline, 1))]), region)
    assert not draw_mask(HEIGHT, WIDTH, [(1, thing(1, 1, 1, [[1, 1, 8, 8]], 1))]).any()


def test_drawing_in_processes_changes_nothing(tmp_path, monkeypatch):
    shown = [(k % 5 + 1, thing(1, 1, 1, box(k, 1, k + 5, 9), 1)) for k in range(6)]
    jobs = [(tmp_path / f"{k}.png", HEIGHT, WIDTH, [pair]) for k, pair in enumerate(shown)]
    jobs.append((tmp_path / "bad.png", HEIGHT, WIDTH, [(1, thing(1, 1, 1, {"counts": 3}, 1))]))
    first = _draw_all(jobs, 2)
    drawn = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("wsss.data.kinds.coco.INLINE", 2)
    assert _draw_all(jobs, 2) == first and list(first) == [tmp_path / "bad.png"]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == drawn


def test_problems(coco):
    coco.content["train"]["annotations"] += [
        thing(7, 2, 77, box(0, 0, 5, 5), 25), thing(8, 99, 1, box(0, 0, 5, 5), 25), thing(9, 3, 1, {"counts": 3}, 9),
    ]  # fmt: skip
    (coco.root / "val2014" / "COCO_val2014_000000000011.jpg").unlink()
    with pytest.raises(WsssError) as caught:
        coco.build()
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    kinds = ["annotation", "empty class", "missing image", "unknown class", "unreadable mask"]
    assert sorted(line.split(":")[0] for line in lines) == kinds
    index = coco.build(broken="drop")
    assert index.dropped == (
        ("train", "COCO_train2014_000000000002"),
        ("train", "COCO_train2014_000000000003"),
        ("val", "COCO_val2014_000000000011"),
    )


def test_what_is_not_there(coco):
    coco.build()
    with pytest.raises(WsssError, match=r"instances_train2017\.json: is not there"):
        coco.build(year=2017)
    (coco.root / "annotations" / "instances_val2014.json").write_text('{"images": [')
    settings = CocoSettings(kind="coco", root=str(coco.root))
    with pytest.raises(WsssError, match=r"instances_val2014\.json: not a whole"):
        build_index(settings, "coco", coco.root / "index", 1)
