"""``wsss init`` with what people have: each format becomes the same clean table, from which a run goes on."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.photo_folder import PhotoFolder, written
from tests.cli.workbook import write_workbook
from wsss.errors import WsssError
from wsss.interfaces.tags.base import PhotoIds, spellings
from wsss.interfaces.tags.names import read_names
from wsss.interfaces.tags.tables import joining, names_in, read_table

pytestmark = pytest.mark.usefixtures("plain_machine")


def rows(pets: PhotoFolder, mark: Callable[[str], str] = str, joined: str = ";") -> list[list[str]]:
    return [[mark(id), joined.join(names)] for id, names in pets.tags.items()]


def save(path: str, lines: list[list[str]], sign: str = ",", encoding: str = "utf-8", first: str = "") -> None:
    text = first + "".join(sign.join(line) + "\r\n" for line in lines)
    Path(path).write_bytes(text.encode(encoding))


def semicolons(pets: PhotoFolder) -> None:
    save("list.csv", [["filename", "species"], *rows(pets, lambda id: f"{id}.jpg", ",")], ";")


def announced(pets: PhotoFolder) -> None:
    save("list.csv", [["Photo", "Labels"], *rows(pets, joined="|")], ";", "utf-8-sig", "sep=;\r\n")


def tabs(pets: PhotoFolder) -> None:
    save("list.tsv", [["n", "image", "class"], *([str(k), *row] for k, row in enumerate(rows(pets)))], "\t")


def unicode_text(pets: PhotoFolder) -> None:
    save("list.csv", [["Bild", "Art"], *rows(pets, lambda id: f"D:\\Fotos\\{id}.JPG")], "\t", "utf-16")


def suffixes(pets: PhotoFolder) -> None:
    save("tags.csv", [["id", "labels"], *rows(pets, lambda id: f"photos/{id}.jpg")])


def no_head(pets: PhotoFolder) -> None:
    save("list.csv", rows(pets, lambda id: f"{id}.jpg"))


def a_row_per_label(pets: PhotoFolder) -> None:
    lines = [[f"{id}.jpg", "64", name] for id, names in pets.tags.items() for name in names]
    save("list.csv", [["filename", "width", "class"], *lines])


def lists_of_python(pets: PhotoFolder) -> None:
    save("list.csv", [["path", "tags"], *([f"{id}.jpg", f'"{list(names)}"'] for id, names in pets.tags.items())])


def multi_hot(pets: PhotoFolder) -> None:
    lines = [[f"{id}.jpg", *(str(int(name in names)) for name in ("dog", "cat"))] for id, names in pets.tags.items()]
    save("list.csv", [["filename", " dog", " cat"], *lines])


def workbook(pets: PhotoFolder) -> None:
    write_workbook(
        Path("list.xlsx"), [["Nr", "File name", "Species"], *([k, *row] for k, row in enumerate(rows(pets)))]
    )


def multi_hot_workbook(pets: PhotoFolder) -> None:
    lines = [[id, *("x" if name in names else None for name in ("cat", "dog"))] for id, names in pets.tags.items()]
    write_workbook(Path("list.xlsx"), [["photo", "cat", "dog"], *lines])


def coco(pets: PhotoFolder) -> None:
    value = {"cat": 3, "dog": 1}
    content = {
        "images": [{"id": k, "file_name": f"{id}.jpg"} for k, id in enumerate(pets.tags)],
        "annotations": [
            {"id": 10 * k + value[name], "image_id": k, "category_id": value[name], "bbox": [1, 2, 3, 4]}
            for k, names in enumerate(pets.tags.values())
            for name in (*names, *names)
        ],
        "categories": [{"id": 0, "name": "pets", "supercategory": "none"}]
        + [{"id": number, "name": name, "supercategory": "pets"} for name, number in value.items()],
    }
    Path("annotations").mkdir()
    Path("annotations/instances_default.json").write_text(json.dumps(content))


def label_studio(pets: PhotoFolder) -> None:
    tasks = []
    for k, (id, names) in enumerate(pets.tags.items()):
        kind = ("choices", "rectanglelabels", "polygonlabels", "brushlabels")[k % 4]
        result = [{"type": kind, "value": {kind: [name], "x": 1.5}} for name in names]
        image = f"/data/local-files/?d=pets/photos/{id}.jpg" if k % 2 else f"/data/upload/3/1a2b3c4d-{id}.jpg"
        wrong = {"result": [{"value": {"choices": ["zebra"]}}], "was_cancelled": True}
        tasks.append({"id": k, "data": {"image": image}, "annotations": [{"result": result}, wrong]})
    Path("project-1.json").write_text(json.dumps(tasks))


def label_studio_short(pets: PhotoFolder) -> None:
    tasks = [
        {"image": f"s3://bucket/{id}.jpg", "id": k, "annotator": 1, "created_at": "2026-01-01T00:00:00Z"}
        | ({"choice": names[0]} if len(names) == 1 else {"choice": {"choices": list(names)}})
        for k, (id, names) in enumerate(pets.tags.items())
    ]
    Path("project-1.json").write_text(json.dumps(tasks))


def label_studio_table(pets: PhotoFolder) -> None:
    with Path("project-1.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["annotation_id", "annotator", "choice", "id", "image"])
        for k, (id, names) in enumerate(pets.tags.items()):
            choice = names[0] if len(names) == 1 else json.dumps({"choices": names})
            lines.writerow([k + 100, 1, choice, k, f"/data/upload/3/1a2b3c4d-{id}.jpg"])


def cvat(pets: PhotoFolder) -> None:
    shapes = ("tag", "box", "polygon", "mask")
    images = "".join(
        f'<image id="{k}" name="{id}.jpg" width="64" height="48">'
        + "".join(f'<{shapes[k % 4]} label="{name}" source="manual"><attribute name="a">1</attribute></{shapes[k % 4]}>'
                  for name in names) + "</image>"
        for k, (id, names) in enumerate(pets.tags.items())
    )  # fmt: skip
    labels = "".join(f"<label><name>{name}</name><color>#ff0000</color></label>" for name in ("dog", "cat"))
    Path("annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><job><labels>{labels}</labels>'
        f"</job></meta>{images}</annotations>"
    )


def boxes(pets: PhotoFolder, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for id, names in pets.tags.items():
        lines = [f"{('dog', 'cat').index(name)} 0.5 0.5 0.25 0.25\n" for name in names]
        (folder / f"{id}.txt").write_text("".join(lines))


def yolo(pets: PhotoFolder) -> None:
    boxes(pets, Path("labels"))
    Path("data.yaml").write_text("nc: 2\nnames: [dog, cat]\n")


def yolo_beside_the_photos(pets: PhotoFolder) -> None:
    boxes(pets, pets.photos)
    (pets.photos / "classes.txt").write_text("dog\ncat\n")


FORMATS = (
    semicolons, announced, tabs, unicode_text, suffixes, no_head, a_row_per_label, lists_of_python, multi_hot, workbook,
    multi_hot_workbook, coco, label_studio, label_studio_short, label_studio_table, cvat, yolo, yolo_beside_the_photos,
)  # fmt: skip


def tags_of(path: Path) -> dict[str, set[str]]:
    with path.open(newline="") as file:
        return {row["id"]: set(row["labels"].split(";")) for row in csv.DictReader(file)}


@pytest.mark.parametrize("make", FORMATS, ids=lambda one: one.__name__)
def test_each_becomes_a_clean_table(pets: PhotoFolder, wsss, make: Callable[[PhotoFolder], None]) -> None:
    pets.table.unlink()
    make(pets)
    code, said, error = wsss("init", "photos")
    assert (code, error) == (0, "") and "problem" not in said and "wrote" in said
    dataset = written().recipes["datasets"]["photos"]
    assert dataset.labels == ("photos-tags.csv" if make is suffixes else "tags.csv"), "a file of yours stays as it is"
    assert tags_of(Path(dataset.labels)) == {id: set(names) for id, names in pets.tags.items()}
    assert wsss("check")[0] == 0
    before = Path("config.yaml").read_text()
    assert wsss("init", "photos", "--force")[0] == 0, "it finds its own table"
    assert Path("config.yaml").read_text() == before


class TestFolders:
    def move(self, pets: PhotoFolder, parts: Callable[[int], str] = lambda k: "") -> None:
        pets.table.unlink()
        for k, (id, names) in enumerate(pets.tags.items()):
            folder = pets.photos / parts(k) / names[0]
            folder.mkdir(parents=True, exist_ok=True)
            (pets.photos / f"{id}.jpg").rename(folder / f"{id}.jpg")

    def test_of_classes(self, pets: PhotoFolder, wsss) -> None:
        self.move(pets)
        code, said, _ = wsss("init", "photos")
        assert code == 0 and "folders named after classes" in said
        assert tags_of(Path("tags.csv"))["dog/p01"] == {"dog"} and len(tags_of(Path("tags.csv"))) == 12
        assert wsss("check")[0] == 0
        pets.paint("cat/new one", 3)
        assert "1 photo without a row of tags: cat/new one" in wsss("init", "photos", "--force")[1]
        assert wsss("init", "photos", "--labels", "photos", "--force")[0] == 0
        assert tags_of(Path("photos-tags.csv"))["cat/new one"] == {"cat"} and wsss("check")[0] == 0

    def test_of_splits_and_classes(self, pets: PhotoFolder, wsss) -> None:
        self.move(pets, lambda k: ("train", "train", "train", "valid", "test", "train")[k % 6])
        code, said, _ = wsss("init", "photos")
        assert code == 0 and "by the folders of the photos: 8 in train and 2 in val" in said
        dataset = written().recipes["datasets"]["photos"]
        assert (dataset.train, dataset.val) == ("train.txt", "val.txt")
        assert Path("val.txt").read_text() == "valid/cat/p03\nvalid/cat/p09\n"
        assert wsss("check")[0] == 0

    def test_that_are_no_classes(self, pets: PhotoFolder, wsss) -> None:
        self.move(pets)
        pets.paint("loose")
        assert "no table of tags in photos or beside it" in wsss("init", "photos")[2]


class TestNamesThatDifferInCase:
    @pytest.fixture(autouse=True)
    def _twice(self, pets: PhotoFolder) -> None:
        pets.tags |= {"p00": ("Cat",), "p02": (" cat", "dog")}
        pets.write()

    def test_nobody_to_ask(self, pets: PhotoFolder, wsss) -> None:
        code, _, error = wsss("init", "photos")
        assert code == 2 and not Path("config.yaml").exists()
        assert "are 'Cat' (1) and 'cat' (7) one class?" in error and "--similar-names merge to make them 'cat'" in error

    @pytest.mark.parametrize(("answer", "classes"), [("y", {"cat", "dog"}), ("n", {"Cat", "cat", "dog"})])
    def test_somebody_answers(self, pets: PhotoFolder, wsss, typed, answer: str, classes: set[str]) -> None:
        typed(answer)
        code, _, error = wsss("init", "photos")
        assert code == 0 and "Are they one class, 'cat'? [y/N]" in error
        used = tags_of(Path(written().recipes["datasets"]["photos"].labels)).values()
        assert {name for names in used for name in names} - {" cat"} == classes

    def test_said_beforehand(self, pets: PhotoFolder, wsss) -> None:
        assert "made one class each: 'Cat' is 'cat'" in wsss("init", "photos", "--similar-names", "merge")[1]
        assert pets.table.read_text().count("Cat") == 1, "a file of yours stays as it is"
        assert wsss("init", "photos", "--similar-names", "keep", "--labels", "tags.csv", "--force")[0] == 0
        assert "'Cat' and 'cat' differ in case, blanks or hyphens alone: are they one class?" in " ".join(
            wsss("check")[1].split()
        )

    def test_the_file_of_names_decides(self, pets: PhotoFolder, wsss) -> None:
        Path("classes.txt").write_text("Cat\ncat\ndog\n")
        assert wsss("init", "photos", "--similar-names", "merge")[0] == 0
        used = tags_of(Path(written().recipes["datasets"]["photos"].labels)).values()
        assert {name for names in used for name in names} == {"cat", "dog"}


class TestMaskValues:
    """Masks of the order dog, cat, where the alphabet says cat, dog."""

    @pytest.fixture(autouse=True)
    def _masks(self, pets: PhotoFolder) -> None:
        for id, names in pets.tags.items():
            pets.mask(id, ("dog", "cat").index(names[0]) + 1)

    def test_another_order_stops(self, pets: PhotoFolder, wsss) -> None:
        said = " ".join(wsss("init", "photos")[1].split())
        assert "1 cat, 2 dog (no file says so: the names in the order of the alphabet)" in said
        assert "only 4 times with 1 dog, 2 cat" in said and 'write \'classes: ["dog", "cat"]\'' in said
        code, checked, _ = wsss("check")
        assert code == 2 and "mask order (1)" in checked and 'classes: ["dog", "cat"]' in " ".join(checked.split())
        text = Path("config.yaml").read_text()
        Path("config.yaml").write_text(text.replace("classes: [cat, dog]", 'classes: ["dog", "cat"]'))
        code, checked, _ = wsss("check")
        assert code == 0
        noise = re.search(r"4 tags have no pixel in their mask \(label noise\): (.*)", checked)[1]
        assert sorted(noise.split(", ")) == ["p02 (dog)", "p05 (dog)", "p08 (dog)", "p11 (dog)"]

    def test_dropping_what_is_broken_does_not_pass_it(self, pets: PhotoFolder, wsss) -> None:
        assert wsss("init", "photos", "--broken", "drop")[0] == 0 and wsss("check")[0] == 2

    def test_trusted(self, pets: PhotoFolder, wsss) -> None:
        assert wsss("init", "photos")[0] == 0
        text = Path("config.yaml").read_text()
        Path("config.yaml").write_text(text.replace("    broken:", "    mask_order: trust\n    broken:"))
        code, checked, _ = wsss("check")
        assert code == 0 and "12 tags have no pixel in their mask (label noise): p" in checked
        assert checked.rstrip().splitlines()[-2].endswith(", ..."), "ten are named"

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("classes.txt", "dog\ncat\n"),
            ("masks/labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:1,2,3::\ncat:4,5,6::\n"),
            ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\ndog,128,0,0\ncat,0,128,0\n"),
        ],
    )
    def test_files_that_tell(self, pets: PhotoFolder, wsss, file: str, text: str) -> None:
        Path(file).write_text(text)
        said = wsss("init", "photos")[1]
        assert "1 dog, 2 cat\n" in said and "problem" not in said and file in said
        assert written().recipes["datasets"]["photos"].classes == (file if file == "classes.txt" else ("dog", "cat"))
        assert wsss("check")[0] == 0

    @pytest.mark.parametrize("make", [coco, cvat, yolo], ids=lambda one: one.__name__)
    def test_exports_tell(self, pets: PhotoFolder, wsss, make: Callable[[PhotoFolder], None]) -> None:
        pets.table.unlink()
        make(pets)
        assert wsss("init", "photos")[0] == 0
        assert written().recipes["datasets"]["photos"].classes == ("dog", "cat") and wsss("check")[0] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("foo,bar,baz\nx,1a,2b\n", "no column names these photos, such as 'p00'"),
        ("filename,a,b\np00.jpg,3,7\n", "which of its columns holds the classes?"),
        ("", "holds no row"),
        ("file,tags\np00.jpg,cat\nother/p00.jpg,dog\n", "would both be the photo 'p00'"),
    ],
)
def test_tables_that_nobody_can_read(pets: PhotoFolder, wsss, content: str, said: str) -> None:
    Path("list.csv").write_text(content)
    code, _, error = wsss("init", "photos", "--labels", "list.csv")
    assert code == 2 and "list.csv" in error and said in error


def test_columns_by_name(pets: PhotoFolder, wsss) -> None:
    save("list.csv", [["file", "place", "what is in it"], *([id, "farm", one] for id, one in rows(pets))])
    assert "which of its columns" in wsss("init", "photos", "--labels", "list.csv")[2]
    assert wsss("init", "photos", "--labels", "list.csv", "--columns", "file,what is in it")[0] == 0
    assert tags_of(Path("photos-tags.csv"))["p00"] == {"cat"} or tags_of(Path("tags.csv"))["p00"] == {"cat"}
    assert "has no column 'fils'; did you mean 'file'?" in wsss(
        "init", "photos", "--labels", "list.csv", "--columns", "fils,place", "--force"
    )[2]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", '{"shapes": []}', "is neither COCO's format"),
        ("a.json", '[{"data": {"text": "x"}}]', "names no photo"),
        ("a.json", '{"images": [], "categories": [], "annotations": [{"id": 1, "category_id": 5, "image_id": 0}]}',
         "annotation 1 has the category 5"),
        ("a.xml", "<annotation></annotation>", "is no export of CVAT"),
        ("a.xlsx", "no archive", "cannot be read as an Excel workbook"),
        ("a.zip", "", "unpack archives first"),
    ],
)  # fmt: skip
def test_exports_that_nobody_can_read(pets: PhotoFolder, wsss, file: str, content: str, said: str) -> None:
    Path(file).write_text(content)
    code, _, error = wsss("init", "photos", "--labels", file)
    assert code == 2 and file in error and said in error


def test_yolo_that_nobody_can_read(pets: PhotoFolder, wsss) -> None:
    pets.table.unlink()
    boxes(pets, Path("labels"))
    assert "no names of YOLO's classes in" in wsss("init", "photos")[2]
    Path("labels/classes.txt").write_text("dog\n")
    assert "has the class 1, but" in wsss("init", "photos", "--labels", "labels")[2]
    Path("labels/p00.txt").write_text("dog 1 2\n")
    assert "line 1 ('dog 1 2') is none of YOLO's" in wsss("init", "photos", "--labels", "labels")[2]


class TestNamesOfPhotos:
    IDS = PhotoIds(["a", "farm/b", "farm/c", "town/c", "1a2b3c4d-e", "x.v2", "Über"])

    @pytest.mark.parametrize(
        ("name", "ids"),
        [
            ("a", ["a"]), ("a.JPG", ["a"]), ("photos/a.jpg", ["a"]), ("C:\\Photos\\farm\\b.png", ["farm/b"]),
            ("b.jpg", ["farm/b"]), ("c", ["farm/c", "town/c"]), ("data/town/c.jpg", ["town/c"]), ("A", ["a"]),
            ("https://a.org/x/farm/b.jpg?w=1", ["farm/b"]), ("/data/upload/1/0a1b2c3d-a.jpg", ["a"]),
            ("1a2b3c4d-e.jpg", ["1a2b3c4d-e"]), ("x.v2", ["x.v2"]), ("U\u0308ber.png", ["Über"]), ("d", []),
            ("/data/local-files/?d=farm%2Fb.jpg", ["farm/b"]),
        ],
    )  # fmt: skip
    def test_find(self, name: str, ids: list[str]) -> None:
        assert self.IDS.find(name) == ids

    def test_an_ambiguous_name_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("file,tags\na,x\nc.jpg,y\n")
        with pytest.raises(WsssError, match=r"'c.jpg' may be 2 photos \(farm/c, town/c\)"):
            read_table(tmp_path / "t.csv", self.IDS)

    def test_the_whole_name_goes_first(self) -> None:
        assert next(spellings("x/y.jpg")) == "x/y.jpg" and list(spellings("x/y.jpg")) == [
            "x/y.jpg",
            "x/y",
            "y.jpg",
            "y",
        ]


def test_signs_between_names() -> None:
    assert joining(["a, b", "a, c", "b, c"]) == "," and joining(["a, b", "c, d", "a"]) == ";"
    assert joining(["a/b", "a", "b"]) == "/" and joining(["a/b", "a"]) == ";" and joining(["a;b", "a|b"]) == ";"
    assert names_in(" a ; b;;") == ["a", "b"] and names_in("['a', 'b c']") == ["a", "b c"]
    assert names_in('{"choices": ["a"]}') == ["a"] and names_in('[{"rectanglelabels": ["b"], "x": 1}]') == ["b"]
    assert names_in("[a") == ["[a"] and names_in("(not a list)") == ["(not a list)"] and names_in("[]") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("background\npolar bear\n", ("polar bear",)),
        ("__ignore__\n_background_\ncat\n", ("cat",)),
        ("128 0 0 polar bear\n0 128 0\tcat\n", ("polar bear", "cat")),
        ("polar bear 128 0 0\ncat 0 128 0\n", ("polar bear", "cat")),
        ("cat:::\ndog:1,2,3:head,tail:\n", ("cat", "dog")),
        ("route: 66\ncat\n", ("route: 66", "cat")),
    ],
)
def test_files_of_names(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "n.txt").write_text(text)
    assert read_names(tmp_path / "n.txt") == names
