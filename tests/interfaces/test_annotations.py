"""Masks to annotation tools and back, bit by bit; slow readers of each format stand beside the project's own."""

from __future__ import annotations

import json
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from wsss.cli import main
from wsss.data.index import Index, Item, write_index
from wsss.data.outlines import from_coco_counts
from wsss.errors import WsssError
from wsss.interfaces.annotations import read_annotations, write_annotations
from wsss.interfaces.run_lengths import cvat_rle, from_label_studio_rle, label_studio_rle
from wsss.parts.corrections import corrected
from wsss.store.manifest import write_manifest
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json

CLASSES = ("cat", 'red "dog" & <Łoś>')
SIZES = [(30, 41), (7, 1), (1, 9), (150, 200), (16, 16)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Pseudo-labels of five images: noise, all of one class, nothing, blocks with 255 in them, all left out."""
    monkeypatch.chdir(tmp_path)
    base, rng, items, made = tmp_path / "results/pets", np.random.default_rng(1), [], {}
    folder = base / "s0/masks/a"
    for number, shape in enumerate(SIZES):
        id, path = f"farm/é {number}", tmp_path / "photos" / f"{number}.JPG"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(path)
        items.append(Item(id, "train", path, None, *shape, (0,), False))
        blocks = np.kron(rng.choice([0, 1, 2, 255], (15, 20)), np.ones((10, 10)))
        made[id] = [rng.choice([0, 1, 2, 255], shape), np.full(shape, 2), np.zeros(shape), blocks, np.full(shape, 255)][
            number
        ].astype(np.uint8)
        MaskFolder(folder / "masks").write(id, made[id])
    write_index(base / "index", CLASSES, items)
    write_json(base / "index/report.json", {"dataset": "pets", "dropped": []})
    write_manifest(base / "index", {"stage": "index"})
    inputs = {"index": {"path": "../../../index"}}
    write_manifest(folder, {"stage": "masks", "settings": {"splits": ["train"]}, "inputs": inputs})
    return SimpleNamespace(folder=folder, index=Index.load(base / "index"), made=made, out=tmp_path / "out")


def written(run, to, **more):
    masks, items = MaskFolder(run.folder / "masks"), list(run.index.items)
    return write_annotations(masks, items, CLASSES, to, run.out, **more)


@pytest.mark.parametrize("to", ["coco", "labelstudio"])
@pytest.mark.parametrize("prefix", ["", "/data/local-files/?d=pets/", "s3://bucket/photos/"])
def test_there_and_back(run, to, prefix):
    assert written(run, to, prefix=prefix) > 4
    back = read_annotations(run.out, run.index)
    assert back.keys() == run.made.keys()
    for id, mask in run.made.items():
        assert back[id].dtype == np.uint8
        np.testing.assert_array_equal(back[id], mask)


def slow_label_studio(content):
    """The values of a stream, bit by bit."""
    bits = [byte >> 7 - n & 1 for byte in content for n in range(8)]

    def take(count):
        number = 0
        for _ in range(count):
            number = 2 * number + bits.pop(0)
        return number

    total, word = take(32), take(5) + 1
    sizes, values = [take(4) + 1 for _ in range(4)], []
    while len(values) < total:
        same, count = take(1), take(sizes[take(2)]) + 1
        values += [take(word)] * count if same else [take(word) for _ in range(count)]
    return values


@pytest.mark.parametrize("shape, share", [((5, 7), 0.5), ((1, 1), 1), ((9, 4), 0), ((40, 50), 0.02), ((200, 300), 0.0)])
def test_label_studio_bit_by_bit(shape, share):
    region = np.random.default_rng(2).random(shape) < share
    content = label_studio_rle(region)
    assert slow_label_studio(content) == [255 * int(v) for v in region.ravel() for _ in range(4)]
    np.testing.assert_array_equal(from_label_studio_rle(content, shape), region)


def test_label_studio_with_lists_of_values():
    """Two pixels value by value, one as a run; whatever is not quite transparent is drawn."""
    values = [0, 0, 0, 0, 9, 9, 9, 128]
    bits = f"{12:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16)) + "000111"
    bits += "".join(f"{v:08b}" for v in values) + "100011" + f"{255:08b}"
    content = [int(bits[n : n + 8].ljust(8, "0"), 2) for n in range(0, len(bits), 8)]
    assert slow_label_studio(content) == [*values, 255, 255, 255, 255]
    assert from_label_studio_rle(content, (1, 3)).tolist() == [[False, True, True]]
    for wrong, said in (((2, 3), "have 3 pixels, the image 2 x 3"), ((1, 3), "end too early")):
        with pytest.raises(ValueError, match=said):
            from_label_studio_rle(content[:-2] if wrong == (1, 3) else content, wrong)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_coco_as_pycocotools_reads_it(share):
    region = np.random.default_rng(3).random((33, 47)) < share
    code = coco.encode(np.asfortranarray(region.astype(np.uint8)))
    np.testing.assert_array_equal(from_coco_counts(code["counts"].decode(), (33, 47)), region)
    lengths, last = [0], 0
    for value in region.T.ravel().astype(int).tolist():
        if value != last:
            lengths.append(0)
        lengths[-1] += 1
        last = value
    np.testing.assert_array_equal(from_coco_counts(lengths, (33, 47)), region)
    for wrong in ([33 * 47 + 1], [-5, 33 * 47 + 5], "", [0]):
        with pytest.raises(ValueError, match="run lengths of"):
            from_coco_counts(wrong, (33, 47))


def test_cvat_read_pixel_by_pixel(run):
    regions = written(run, "cvat", prefix="pets/")
    tree = ElementTree.parse(run.out).getroot()
    names = [label.findtext("name") for label in tree.iter("label")]
    assert names == [*CLASSES, "ignore"] and tree.findtext("version") == "1.1"
    assert len(list(tree.iter("mask"))) == regions
    for image in tree.iter("image"):
        id = image.get("name").removeprefix("pets/").removesuffix(".JPG")
        found = np.zeros((int(image.get("height")), int(image.get("width"))), np.uint8)
        for one in image.iter("mask"):
            left, top, width, height = (int(one.get(key)) for key in ("left", "top", "width", "height"))
            value = {**dict(zip(CLASSES, (1, 2), strict=True)), "ignore": 255}[one.get("label")]
            place, inside = 0, False
            for length in map(int, one.get("rle").split(",")):
                for pixel in range(place, place + length if inside else place):
                    assert found[top + pixel // width, left + pixel % width] == 0
                    found[top + pixel // width, left + pixel % width] = value
                place, inside = place + length, not inside
            assert place == width * height
        np.testing.assert_array_equal(found, run.made[id])
    assert cvat_rle(np.array([[True, False, False]])) == [0, 1, 2]


def test_what_other_programs_write(run):
    """Polygons, uncompressed run lengths, overlaps, names without folders that exist here, tasks nobody annotated."""
    shape = SIZES[0]
    box = [[3.0, 4.0, 13.0, 4.0, 13.0, 9.0, 3.0, 9.0]]
    lengths = {"size": list(shape), "counts": [0, 30, 41 * 30 - 30]}
    content = {
        "images": [{"id": 9, "file_name": "upload/farm/é 0.png"}],
        "categories": [{"id": 7, "name": "cat"}, {"id": 5, "name": CLASSES[1]}],
        "annotations": [
            {"image_id": 9, "category_id": 7, "segmentation": box},
            {"image_id": 9, "category_id": 5, "segmentation": lengths},
            {"image_id": 9, "category_id": 5, "segmentation": [[10.0, 4.0, 13.0, 4.0, 13.0, 9.0, 10.0, 9.0]]},
        ],
    }
    run.out.write_text(json.dumps(content))
    expected = np.zeros(shape, np.uint8)
    expected[4:9, 3:13], expected[:, 0], expected[4:9, 10:13] = 1, 2, 2
    np.testing.assert_array_equal(read_annotations(run.out, run.index)["farm/é 0"], expected)
    written(run, "labelstudio")
    tasks = json.loads(run.out.read_text())
    answers = [one.pop("predictions") for one in tasks]
    for task in tasks:
        task["annotations"] = []
    tasks[0]["annotations"] = [{**answers[0][0], "was_cancelled": False}, {"result": [], "was_cancelled": True}]
    run.out.write_text(json.dumps(tasks))
    back = read_annotations(run.out, run.index)
    assert list(back) == ["farm/é 0"] and (back["farm/é 0"] == run.made["farm/é 0"]).all()


def test_what_does_not_fit_is_told(run):
    for text, said in (("no", "cannot be read as JSON"), ("[]x", "cannot be read"), ("{}", "is neither COCO's JSON")):
        run.out.write_text(text)
        with pytest.raises(WsssError, match=said):
            read_annotations(run.out, run.index)
    written(run, "coco")
    content = json.loads(run.out.read_text())
    content["images"][0]["file_name"] = "elsewhere.png"
    content["images"][1]["width"] = 5
    content["images"][3]["file_name"] = content["images"][2]["file_name"]
    del content["images"][3]["width"]
    content["categories"][-1]["name"] = "kat"  # that of 255
    run.out.write_text(json.dumps(content))
    with pytest.raises(WsssError) as error:
        read_annotations(run.out, run.index)
    for said in (
        f"{run.out}: 4 images cannot be taken",
        "elsewhere.png: no image of the index is called so",
        "farm/é 1.JPG: is 7 x 5 pixels there, 7 x 1 in the index",
        "farm/é 2.JPG: comes twice; leave one",
        "farm/é 4.JPG: has the class 'kat', which the dataset lacks; did you mean 'cat'?",
    ):
        assert said in str(error.value)
    written(run, "labelstudio")
    tasks = json.loads(run.out.read_text())
    tasks[0]["predictions"][0]["result"][0]["type"] = "polygonlabels"
    run.out.write_text(json.dumps(tasks))
    with pytest.raises(WsssError, match="é 0: has polygonlabels; only brush labels are read"):
        read_annotations(run.out, run.index)
    masks = MaskFolder(run.folder / "masks")
    masks.write("farm/é 0", np.full(SIZES[0], 3, np.uint8))
    run.out.unlink()
    with pytest.raises(WsssError, match=r"holds the values \[3\]; allowed are 0 to 2 and 255"):
        written(run, "coco")
    masks.write("farm/é 0", np.zeros((2, 2), np.uint8))
    for to in ("coco", "cvat", "labelstudio"):
        with pytest.raises(WsssError, match="is 2 x 2 pixels, the image 30 x 41"):
            written(run, to)
    with pytest.raises(WsssError, match="a class is called 'ignore'"):
        write_annotations(masks, list(run.index.items), ("ignore",), "coco", run.out)
    assert not run.out.exists()


@pytest.mark.parametrize("to", ["coco", "labelstudio"])
def test_commands_there_and_back(run, to, capsys):
    """What was edited elsewhere becomes corrections that give exactly the edited masks."""
    edited = {id: mask.copy() for id, mask in run.made.items()}
    edited["farm/é 0"][3:9, 5:30] = 255
    edited["farm/é 3"][:, 10:50] = 0
    edits = MaskFolder("edited")
    for id, mask in edited.items():
        edits.write(id, mask)
    flags = ["--masks", "edited", "--index", "results/pets/index", "--to", to, "--out", "edited.json"]
    assert main(["export", *flags]) == 0
    assert "edited.json: 5 masks, " in capsys.readouterr().out
    assert main(["review", "results/pets", "--from", "edited.json"]) == 0
    said = capsys.readouterr().out
    assert "edited.json: 2 masks differ from results/pets/s0/masks/a" in said
    assert "5 of 5 photos seen: 3 accepted, 0 rejected, 2 corrected" in said and "    corrected: corrections" in said
    folder = MaskFolder("corrections")
    assert folder.ids() == ["farm/é 0", "farm/é 3"]
    for id in folder.ids():
        np.testing.assert_array_equal(corrected(run.made[id], folder.read(id)), edited[id])
    before = folder.read("farm/é 0")
    assert main(["review", "results/pets", "--from", "edited.json"]) == 0  # nothing is lost by doing it twice
    assert "0 masks differ" in capsys.readouterr().out
    np.testing.assert_array_equal(folder.read("farm/é 0"), before)


def test_commands_that_do_not_fit(run, capsys):
    for flags, said in (
        (["--to", "coco"], "name the folder of a network, or masks with --masks DIR"),
        (["results/pets", "--masks", "x", "--to", "coco"], "name the folder of a network, or masks with --masks DIR"),
        (["--masks", "results/pets/s0/masks/a", "--to", "onnx"], "--to onnx: masks can be written as coco, cvat"),
        (["results/pets", "--to", "cvat"], "--to cvat: a network can be written as onnx, torch.export"),
        (["--masks", "photos", "--index", "results/pets/index", "--to", "coco"], "photos: holds no mask ID.png of an"),
    ):
        assert main(["export", *flags, "--out", "out"]) == 2
        assert said in capsys.readouterr().err
    assert main(["export", "--masks", "results/pets/s0/masks/a", "--to", "cvat", "--out", "out"]) == 0
    assert "out: 5 masks" in capsys.readouterr().out
