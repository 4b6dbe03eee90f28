"""The folder kind, and every problem that the check knows, provoked."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from wsss.data.index import Index
from wsss.data.kinds.folder import draw_splits, photos_below
from wsss.data.palette import write_mask
from wsss.data.validate import Collected, Entry, examine
from wsss.errors import WsssError


def report(index):
    return json.loads((index.folder / "report.json").read_text("utf-8"))


def test_sound(photos):
    index = photos.build()
    assert index.name == "photos" and index.classes == ("cat", "dog")
    assert [item.id for item in index.split("train")] == photos.lists["train"]
    assert [item.id for item in index.split("val")] == photos.lists["val"]
    item = index.item("p2")
    assert (item.height, item.width, item.labels, item.scored) == (30, 40, (0, 1), True)
    assert item.image == photos.image("p2") and item.mask == photos.mask("p2")
    facts = report(index)
    assert facts["images"] == facts["labelled"] == facts["scored"] == {"train": 6, "val": 2}
    assert facts["per_class"] == {"train": {"cat": 6, "dog": 3}, "val": {"cat": 2, "dog": 1}}
    assert facts["co_occurrence"]["train"] == [[6, 3], [3, 3]]
    assert facts["problems"] == facts["dropped"] == facts["notes"] == []


def test_threads_change_nothing(photos):
    photos.image("p3").write_bytes(b"no")
    photos.mask("p4").write_bytes(b"no")
    first = photos.complaint()
    assert len(first) == 2
    assert all(photos.complaint() == first for _ in range(3))


def test_missing_image(photos):
    photos.image("p1").unlink()
    (line,) = photos.complaint()
    assert line.startswith("missing image: ") and "'p1'" in line and "train.txt" in line


def test_missing_image_near_name(photos):
    photos.lists["train"][0] = "pp0"
    assert "did you mean 'p0'?" in photos.complaint()[0]


@pytest.mark.parametrize("keep", [0, 100, 1000])
def test_truncated_image(photos, keep):
    photos.image("p7").write_bytes(photos.image("p7").read_bytes()[:keep])
    (line,) = photos.complaint()
    assert line.startswith("unreadable image: ") and "p7.png" in line and "id 'p7' (val)" in line


def test_unknown_class(photos):
    photos.tags["p0"] = ("cat", "dig")
    (line,) = photos.complaint(classes=["cat", "dog"])
    assert line.startswith("unknown class: ") and "tags.csv" in line
    assert "is tagged 'dig'; did you mean 'dog'?" in line


def test_no_tags(photos):
    del photos.tags["p6"]
    (line,) = photos.complaint()
    assert line.startswith("no tags: ") and "tags.csv" in line and "'p6'" in line


def test_mask_size(photos):
    write_mask(photos.mask("p5"), np.zeros((40, 30), np.uint8))
    (line,) = photos.complaint()
    assert line.startswith("size: ") and "p5.png" in line
    assert "30 x 40 pixels, the upright image 40 x 30 (one of them lies on its side)" in line


def test_masks_belong_to_the_upright_image(photos):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 40)).save(photos.image("p5"), exif=exif)
    index = photos.build()
    assert (index.item("p5").height, index.item("p5").width) == (30, 40)


def test_mask_value(photos):
    mask = np.zeros((30, 40), np.uint8)
    mask[0, :7], mask[1, 0] = 3, 254
    write_mask(photos.mask("p5"), mask)
    (line,) = photos.complaint()
    assert line.startswith("mask value: ") and "3 (7 pixels), 254 (1 pixels)" in line and "1..2" in line


def test_unreadable_mask(photos):
    Image.new("RGB", (40, 30)).save(photos.mask("p5"))
    photos.mask("p6").write_bytes(photos.mask("p6").read_bytes()[:60])
    lines = photos.complaint()
    assert [line.split(":")[0] for line in lines] == ["unreadable mask"] * 2
    assert "colour mode RGB" in lines[0] and "palette PNG" in lines[0]


def test_empty_class(photos):
    (line,) = photos.complaint(classes=["cat", "dog", "emu"])
    assert line.startswith("empty class: ") and "'emu'" in line
    index = photos.build(classes=["cat", "dog", "emu"], broken="drop")
    assert len(index.items) == 8 and report(index)["problems"][0]["kind"] == "empty class"


def test_two_files_of_one_id(photos):
    Image.new("RGB", (40, 30)).save(photos.root / "images" / "p1.JPG")
    (line,) = photos.complaint()
    assert line.startswith("duplicate id: ") and "p1.png" in line and "p1.JPG" in line


def test_id_twice_in_tags(photos):
    photos.tags["p1 "] = ("dog",)
    (line,) = photos.complaint()
    assert line.startswith("duplicate id: ") and "line 10" in line


def test_id_twice_in_list(photos):
    photos.lists["train"].append("p0")
    (line,) = photos.complaint()
    assert line.startswith("duplicate id: ") and "more than once in the train split" in line
    assert len(photos.build(broken="drop").split("train")) == 6


def test_overlapping_splits(photos):
    photos.lists["val"].append("p0")
    (line,) = photos.complaint()
    assert line.startswith("split overlap: ") and "'p0'" in line
    index = photos.build(broken="drop")
    assert "p0" in [item.id for item in index.split("val")] and "p0" not in [item.id for item in index.split("train")]


def test_all_at_once_then_dropped(photos):
    photos.image("p0").unlink()
    photos.image("p1").write_bytes(b"no")
    photos.tags["p2"] = ("emu",)
    del photos.tags["p3"]
    write_mask(photos.mask("p6"), np.full((30, 40), 9, np.uint8))
    classes = ["cat", "dog"]
    lines = photos.complaint(classes=classes)
    kinds = sorted(line.split(":")[0] for line in lines)
    assert kinds == ["mask value", "missing image", "no tags", "unknown class", "unreadable image"]
    assert len(json.loads((photos.root / "index" / "problems.json").read_text("utf-8"))) == 5
    assert not (photos.root / "index" / "index.csv").exists()
    index = photos.build(classes=classes, broken="drop")
    assert [item.id for item in index.items] == ["p4", "p5", "p7"]
    assert not (photos.root / "index" / "problems.json").exists()
    dropped = [("train", "p0"), ("train", "p1"), ("train", "p2"), ("train", "p3"), ("val", "p6")]
    assert list(index.dropped) == dropped
    facts = report(index)
    assert [(row["split"], row["id"]) for row in facts["dropped"]] == dropped
    assert all(row["reasons"] for row in facts["dropped"]) and "5 broken images were dropped" in facts["notes"]
    assert Index.load(index.folder).dropped == index.dropped


def test_drop_leaves_something(photos):
    for id in photos.lists["val"]:
        photos.image(id).unlink()
    (line,) = photos.complaint(broken="drop")
    assert "the val split has no sound image" in line


def test_failing_leaves_no_older_index(photos):
    photos.build()
    photos.image("p0").unlink()
    photos.complaint()
    with pytest.raises(WsssError, match="run stages/index.py again"):
        Index.load(photos.root / "index")


def test_many_problems_are_cut_short_in_print_only(photos):
    photos.lists["train"] += [f"q{k}" for k in range(150)]
    lines = photos.complaint()
    assert len(lines) == 101 and "50 more" in lines[-1]
    assert len(json.loads((photos.root / "index" / "problems.json").read_text("utf-8"))) == 150


def test_unlabelled_are_kept_and_not_trained_on(photos):
    photos.tags["p1"] = ()
    index = photos.build()
    assert index.item("p1").labels == ()
    assert "p1" not in [item.id for item in index.labelled("train")] and len(index.split("train")) == 6
    assert report(index)["unlabelled"] == {"train": ["p1"], "val": []}


def test_label_noise_is_noted(photos):
    write_mask(photos.mask("p0"), np.full((30, 40), 2, np.uint8))
    write_mask(photos.mask("p1"), np.full((30, 40), 2, np.uint8))
    noise = report(photos.build())["label_noise"]
    assert noise["tag_without_pixel"] == [{"id": "p0", "class": "cat"}, {"id": "p1", "class": "cat"}]
    assert noise["pixel_without_tag"] == [{"id": "p1", "class": "dog"}]


def test_images_without_mask_are_not_scored(photos):
    photos.mask("p6").unlink()
    index = photos.build()
    assert [item.id for item in index.scored("val")] == ["p7"]
    assert "1 images have no mask" in report(index)["notes"][0]
    assert photos.build(masks=None).scored("train") == []


def test_images_in_no_list(photos):
    photos.lists["train"].remove("p1")
    assert "1 images" in report(photos.build())["notes"][0]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("name,tag", "'name', 'tag'; write 'id,labels'"),
        ("id;labels", "semicolons"),
        ("id\tlabels", "tabs"),
        ("", "holds nothing"),
    ],
)
def test_header_of_the_tags(photos, header, message):
    photos.header = header
    with pytest.raises(WsssError, match=r"tags\.csv: .*" + message):
        photos.build()


def test_byte_order_mark_and_more_columns(photos):
    photos.header = "\ufeffid, labels"
    assert len(photos.build().items) == 8
    photos.header = "id,labels,remark"
    photos.tags = {id: (*names[:-1], names[-1] + ",seen") for id, names in photos.tags.items()}
    assert photos.build().classes == ("cat", "dog")


def test_names_joined_by_commas(photos):
    photos.tags["p0"] = ("cat,dog",)
    (line,) = photos.complaint()
    assert "'p0'" in line and "line 2 has 3 cells" in line and "join class names by ';'" in line


def test_other_separator(photos):
    photos.tags = {id: ("|".join(names),) for id, names in photos.tags.items()}
    assert photos.build(separator="|").classes == ("cat", "dog")


def test_tags_in_another_encoding(photos):
    photos.build()
    photos.root.joinpath("tags.csv").write_bytes("id,labels\np0,Kühe\n".encode("latin-1"))
    settings = {"labels": str(photos.root / "latin.csv")}
    photos.root.joinpath("latin.csv").write_bytes("id,labels\np0,Kühe\n".encode("latin-1"))
    with pytest.raises(WsssError, match=r"latin\.csv: .*UTF-8"):
        photos.build(**settings)


@pytest.mark.parametrize("key", ["images", "labels", "masks", "train", "val", "classes"])
def test_paths_that_are_not_there(photos, key):
    with pytest.raises(WsssError, match="nowhere.*" + key):
        photos.build(**{key: "nowhere"})


def test_class_names(photos):
    lines = photos.complaint(classes=["cat", "dog", "cat", "Background", "a;b"])
    assert sum(line.startswith("class name: ") for line in lines) == 3


def test_empty_list(photos):
    photos.lists["val"] = []
    assert any("val.txt: is empty" in line for line in photos.complaint())


def test_sub_folders_suffixes_and_accents(photos):
    for id, name in (("farm/red cow 1", "farm/red cow 1.PNG"), ("vo\u0308gel", "vo\u0308gel.png")):
        (photos.root / "images" / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(photos.root / "images" / name, "PNG")
        photos.tags[id] = ("dog",)
    # the list spells the accent as one sign, and names one file with its suffix
    photos.lists["train"] += ["farm/red cow 1.PNG", "v\u00f6gel"]
    index = photos.build()
    assert index.item("farm/red cow 1").image.name == "red cow 1.PNG"
    assert index.item("v\u00f6gel").image.exists()


def test_paths_are_relative_and_follow_the_folder(photos, monkeypatch):
    monkeypatch.chdir(photos.root)
    relative = {key: os.path.relpath(photos.root / name) for key, name in (("images", "images"), ("masks", "masks"))}
    photos.build(**relative)
    text = (photos.root / "index" / "index.csv").read_text("utf-8")
    assert "../images/p0.png" in text and str(photos.root) not in text
    monkeypatch.chdir("/")
    link = photos.root / "deep" / "link"
    link.parent.mkdir()
    link.symlink_to(photos.root / "index")
    assert Index.load(link).item("p0").image.is_file()


def test_index_answers(photos):
    index = photos.build()
    with pytest.raises(WsssError, match="'test'; allowed: train, val"):
        index.split("test")
    with pytest.raises(WsssError, match="'p9'"):
        index.item("p9")
    with pytest.raises(WsssError, match="not a whole dataset index"):
        Index.load(photos.root)


def test_draw_depends_on_ids_alone(photos):
    ids = [f"image {k}" for k in range(200)]
    drawn = draw_splits(ids, 0.25, 3)
    assert drawn == draw_splits(reversed(ids), 0.25, 3) != draw_splits(ids, 0.25, 4)
    assert len(drawn["val"]) == 50 and sorted(drawn["train"] + drawn["val"]) == sorted(ids)
    more = draw_splits([*ids, "one more"], 0.25, 3)
    assert len(set(more["val"]) ^ set(drawn["val"])) <= 2
    assert {key: len(value) for key, value in draw_splits(["a", "b"], 0.01, 0).items()} == {"train": 1, "val": 1}


def test_build_without_lists(photos):
    photos.lists = {}
    index = photos.build(val_share=0.25, split_seed=1)
    assert (len(index.split("train")), len(index.split("val"))) == (6, 2)
    photos.paint("untagged")
    photos.tags["gone"] = ("cat",)
    kinds = sorted(line.split(":")[0] for line in photos.complaint())
    assert kinds == ["missing image", "no tags"]


def test_labels_are_sorted_and_unique(tmp_path):
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    entries = [Entry("a", "train", tmp_path / "a.png", None, ("b", "a", "b"))]
    (item,) = examine(Collected(("a", "b"), entries), 1).items
    assert item.labels == (0, 1) and (item.height, item.width) == (5, 4) and not item.scored


def test_sha256_follows_the_files(photos):
    before = photos.build().item("p0")
    photos.paint("p0", 99)
    after = photos.build().item("p0")
    assert before.sha256 != after.sha256 and before.mask_sha256 == after.mask_sha256 and len(after.sha256) == 64


def test_links_that_lead_around_are_not_followed_for_ever(tmp_path):
    """A link to the folder itself, to one above it, and one to somewhere else, which counts."""
    (tmp_path / "photos" / "farm").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for place in ("photos/a.png", "photos/farm/b.gif", "elsewhere/c.avif"):
        (tmp_path / place).write_bytes(b"")
    (tmp_path / "photos" / "loop").symlink_to(".")
    (tmp_path / "photos" / "farm" / "up").symlink_to(tmp_path)
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    assert list(photos_below(tmp_path / "photos")) == ["a", "farm/b", "more/c"]
