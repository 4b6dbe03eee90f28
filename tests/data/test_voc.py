"""VOC as downloaded, in miniature."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsss.data.images import read_mask
from wsss.data.kinds.voc import CLASSES, counted, read_ids, read_objects
from wsss.data.palette import VOC_PALETTE, write_mask
from wsss.errors import WsssError
from wsss.settings import VocSettings
from wsss.stages.index import build_index

HEIGHT, WIDTH = 20, 30
BOX = (2, 3, 10, 12)


def annotation(*objects, size=True):
    """XML of objects (name, box, difficult); a part with a name of its own must not count."""
    dimensions = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>" if size else ""
    body = ""
    for name, box, difficult in objects:
        edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        body += f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{edges}</bndbox>{part}</object>"
    return f"<annotation>{dimensions}{body}</annotation>"


def block(value):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:12, 2:10], mask[3, 2] = value, 255
    return mask


class Voc:
    """Train 2007_000000 and 1, val 2 and 3; SBD masks are written by the tests."""

    def __init__(self, root):
        self.root = root
        for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True)
        self.ids = [f"2007_{k:06d}" for k in range(6)]
        for k, id in enumerate(self.ids):
            Image.new("RGB", (WIDTH, HEIGHT), (40 * k, 0, 0)).save(root / "JPEGImages" / f"{id}.jpg")
            self.tag(id, (CLASSES[k], BOX, k % 2))
            if k < 4:
                write_mask(root / "SegmentationClass" / f"{id}.png", block(k + 1))
        self.list("train", self.ids[:2])
        self.list("val", self.ids[2:4])

    def list(self, name, lines):
        (self.root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))

    def tag(self, id, *objects):
        (self.root / "Annotations" / f"{id}.xml").write_text(annotation(*objects))

    def build(self, **changes):
        values = {"root": str(self.root), "train": "train", "broken": "drop", **changes}
        return build_index(VocSettings.read({"kind": "voc", **values}), "voc", self.root / "index", 1)


@pytest.fixture
def voc(tmp_path):
    return Voc(tmp_path / "VOC2012")


def test_as_downloaded(voc):
    index = voc.build()
    assert index.classes == CLASSES and len(CLASSES) == 20
    assert [(item.id, item.split, item.labels, item.scored) for item in index.items] == [
        (id, "train" if k < 2 else "val", (k,), True) for k, id in enumerate(voc.ids[:4])
    ]
    assert index.item(voc.ids[0]).mask == voc.root / "SegmentationClass" / f"{voc.ids[0]}.png"


def test_counted_by_the_lists(voc):
    settings = VocSettings.read({"kind": "voc", "root": str(voc.root.parent), "train": "train"})
    assert counted(settings) == {"train": 2, "val": 2}
    with pytest.raises(WsssError, match="train_aug"):
        counted(VocSettings.read({"kind": "voc", "root": str(voc.root)}))


def test_empty_classes_stop_without_drop(voc):
    with pytest.raises(WsssError, match="empty class: .*'tvmonitor'"):
        voc.build(broken="fail")


def test_root_may_be_what_was_unpacked(voc):
    assert len(voc.build(root=str(voc.root.parent)).items) == 4
    with pytest.raises(WsssError, match="JPEGImages"):
        voc.build(root=str(voc.root / "Annotations"))


def test_objects(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(annotation(("cat", BOX, 0), ("dog", BOX, 1), ("cat", BOX, 0), ("cow", (5, 5, 5, 9), 0),
                               ("sheep", (WIDTH, 2, WIDTH + 8, 9), 0), ("horse", (-3, -3, 1.5, 2), 0)))  # fmt: skip
    assert read_objects(path) == ("cat", "dog", "horse")
    path.write_text(annotation(("sheep", (WIDTH, 2, WIDTH + 8, 9), 0), size=False))
    assert read_objects(path) == ("sheep",)


def test_lists_of_others(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n2007_000039\n\n2007_000063 \n")
    assert read_ids(path, "list") == ["2007_000032", "2007_000039", "2007_000063"]


def test_list_by_path_and_score_list(voc):
    path = voc.root / "mine.txt"
    path.write_text("\n".join(f"/JPEGImages/{id}.jpg /x/{id}.png" for id in voc.ids[1:2] + voc.ids[4:]))
    index = voc.build(train=str(path))
    assert [item.id for item in index.split("train")] == [voc.ids[1], *voc.ids[4:]]
    assert [item.id for item in index.scored("train")] == [voc.ids[1]]
    report = json.loads((voc.root / "index" / "report.json").read_text())
    assert report["notes"] == ["1 ids of the list 'train' are not trained on and not scored"]
    write_mask(voc.root / "SegmentationClass" / f"{voc.ids[4]}.png", block(5))
    assert len(voc.build(train=str(path)).scored("train")) == 1
    assert len(voc.build(train=str(path), score=None).scored("train")) == 2


def test_list_that_is_not_there(voc):
    with pytest.raises(WsssError, match=r"train_aug\.txt: .*'sbd'.*one of: train, val"):
        voc.build(train="train_aug")


def test_scored_image_without_mask_is_a_problem(voc):
    (voc.root / "SegmentationClass" / f"{voc.ids[3]}.png").unlink()
    assert voc.build().dropped == (("val", voc.ids[3]),)


def test_tags_missing_or_broken(voc):
    (voc.root / "Annotations" / f"{voc.ids[0]}.xml").unlink()
    (voc.root / "Annotations" / f"{voc.ids[2]}.xml").write_text("<annotation><object>")
    with pytest.raises(WsssError) as caught:
        voc.build(broken="fail")
    lines = [line for line in str(caught.value).splitlines() if "2007_" in line]
    assert [line.split(":")[0].strip() for line in lines] == ["unreadable tags", "no tags"]
    assert voc.ids[2] in lines[0] and f"{voc.ids[0]}.xml" in lines[1]


def test_colour_coded_mask_is_converted(voc):
    path = voc.root / "SegmentationClass" / f"{voc.ids[0]}.png"
    Image.fromarray(VOC_PALETTE[block(1)]).save(path)
    item = voc.build().item(voc.ids[0])
    assert item.mask == voc.root / "index" / "masks" / f"{voc.ids[0]}.png"
    np.testing.assert_array_equal(read_mask(item.mask), block(1))
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(path)
    assert voc.build().dropped == (("train", voc.ids[0]),)


@pytest.mark.parametrize("form", ["png", "mat"])
@pytest.mark.parametrize("place", ["", "cls"])
def test_sbd(voc, form, place):
    folder = voc.root.parent / "sbd" / place
    for k, id in enumerate(voc.ids[2:], 2):
        if form == "png":
            write_mask(folder / f"{id}.png", block(k + 1))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            savemat(folder / f"{id}.mat", {"GTcls": {"Segmentation": np.minimum(block(k + 1), 20)}})
    index = voc.build(train="train_aug", sbd=str(voc.root.parent / "sbd"), score=None)
    # the masks' ids and VOC train, without VOC val
    assert [item.id for item in index.split("train")] == voc.ids[:2] + voc.ids[4:]
    assert index.item(voc.ids[0]).mask.parent.name == "SegmentationClass"
    mask = read_mask(index.item(voc.ids[5]).mask)
    assert mask[5, 5] == 6 and mask[-1, -1] == 0
    with pytest.raises(WsssError, match="neither PNG masks"):
        voc.build(sbd=str(voc.root / "Annotations"))
