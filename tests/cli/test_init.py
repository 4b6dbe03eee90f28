"""``wsss init``: the configuration that it writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.finished_run import ROOT
from tests.cli.photo_folder import TRAINED, PhotoFolder, written
from wsss.cli.template import scalar

ANIMALS = ROOT.parent / "shared" / "data" / "animals"
pytestmark = pytest.mark.usefixtures("plain_machine")


def test_says_what_it_found_and_writes_what_a_run_reads(pets: PhotoFolder, wsss) -> None:
    code, said, error = wsss("init", "photos")
    assert (code, error) == (0, "")
    for text in ("12 files in photos", "64 pixels", "12 rows in tags.csv, 2 classes"):
        assert text in said
    assert re.search(r"^  cat +8  #+$", said, re.M) and re.search(r"^  dog +8  #+$", said, re.M)
    assert "problem" not in said and "\033" not in said
    dataset = written().recipes["datasets"]["photos"]
    assert (dataset.images, dataset.labels, dataset.masks, dataset.broken) == ("photos", "tags.csv", None, "fail")
    assert wsss("check")[0] == 0
    assert wsss("plan")[0] == 0
    text = Path("config.yaml").read_text()
    assert "`wsss init photos`" in text and max(map(len, text.splitlines())) <= 120


def test_the_same_photos_give_the_same_file(pets: PhotoFolder, wsss) -> None:
    texts = []
    for _ in range(2):
        assert wsss("init", "photos", "--force")[0] == 0
        texts.append(Path("config.yaml").read_text())
    assert texts[0] == texts[1]


def test_never_writes_over_a_file(pets: PhotoFolder, wsss) -> None:
    Path("config.yaml").write_text("mine")
    code, said, error = wsss("init", "photos")
    assert (code, said) == (2, "") and "config.yaml is there already" in error and "--force" in error
    assert Path("config.yaml").read_text() == "mine"
    assert wsss("init", "photos", "--out", "other.yaml")[0] == 0
    assert "wsss run --configfile other.yaml" in wsss("init", "photos", "--out", "third.yaml")[1].replace(
        "third", "other"
    )
    assert wsss("init", "photos", "--force")[0] == 0 and written()


def test_a_mistake_leaves_no_file(pets: PhotoFolder, wsss) -> None:
    assert wsss("init", "photos", "--labels", "tagz.csv")[0] == 2
    assert not Path("config.yaml").exists()
    assert "photos is a folder; --out is the name of a file" in wsss("init", "photos", "--out", "photos", "--force")[2]


def test_folders_that_are_none(pets: PhotoFolder, wsss) -> None:
    assert "photo: there is no such folder; did you mean photos?" in wsss("init", "photo")[2]
    assert "is a file; name the folder" in wsss("init", "photos/p00.jpg")[2]
    Path("empty").mkdir()
    assert "empty: holds no photo" in wsss("init", "empty")[2]


def test_a_folder_with_images_inside(pets: PhotoFolder, wsss) -> None:
    Path("farm").mkdir()
    pets.photos.rename("farm/images")
    pets.table.rename("farm/labels.csv")
    assert wsss("init", "farm")[0] == 0
    assert written().dataset == ("farm",)
    assert written().recipes["datasets"]["farm"].images == "farm/images"


def test_names_that_need_quotes(pets: PhotoFolder, wsss) -> None:
    pets.photos.rename("my: photos #1")
    assert wsss("init", "my: photos #1")[0] == 0
    assert written().recipes["datasets"]["my-photos-1"].images == "my: photos #1"
    assert wsss("init", "my: photos #1", "--name", "pets", "--force")[0] == 0
    assert written().dataset == ("pets",)
    assert wsss("init", "my: photos #1", "--name", "2024", "--out", "year.yaml")[0] == 0
    assert written("year.yaml").dataset == ("2024",)
    assert "is not a valid name" in wsss("init", "my: photos #1", "--name", "a b", "--force")[2]
    assert written().dataset == ("pets",)


@pytest.mark.parametrize(
    "text", ["on", "no", "null", "12", "1_000", "1.5", "a: b", "ü", "- x", "/a/b", "../a", "~", "0x1F", "1e3"]
)
def test_scalars_are_read_as_they_were_meant(text: str) -> None:
    import yaml

    assert yaml.safe_load(f"a: {scalar(text)}     # said") == {"a": text}


@pytest.mark.skipif(not ANIMALS.is_dir(), reason="the animals of ../shared are not here")
def test_the_animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wsss) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wsss.cli.init.choose_weights", lambda *given: TRAINED)
    code, said, _ = wsss("init", ANIMALS / "images")
    assert code == 0 and "problem" not in said
    config = written()
    animals, network = config.recipes["datasets"]["animals"], config.recipes["segmenters"]["salient"]
    assert [Path(path).name for path in (animals.classes, animals.masks, animals.train)] == [
        "classes.txt", "masks", "train.txt",
    ]  # fmt: skip
    assert (network.epochs, network.crop, list(config.recipes["classifiers"])) == (4, 224, ["linear"])
