"""``wsss check``: counts, problems with their cures, exit codes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.finished_run import CONFIG
from tests.cli.photo_folder import PhotoFolder
from tests.tiny_clip import write_clip
from wsss.config.loader import load
from wsss.data.index import Index
from wsss.interfaces.zero_shot import zero_shot
from wsss.stages.index import build_index


def configure(**dataset: Any) -> None:
    photos = {"kind": "folder", "images": "photos", "labels": "tags.csv", "val_share": 0.25, **dataset}
    Path("config.yaml").write_text(yaml.safe_dump({"dataset": "photos", "datasets": {"photos": photos}}))


def flat(text: str) -> str:
    return " ".join(text.split())


def test_in_order(pets: PhotoFolder, wsss) -> None:
    configure()
    before = sorted(os.listdir())
    code, said, _ = wsss("check")
    assert code == 0 and "All in order" in said
    assert "photos 9 3" in flat(said) and "with a mask 0 0" in flat(said)
    assert sorted(os.listdir()) == before, "it writes nothing"


def broken_photo(pets: PhotoFolder) -> None:
    path = pets.photos / "p03.jpg"
    path.write_bytes(path.read_bytes()[:300])


def lost_photo(pets: PhotoFolder) -> None:
    (pets.photos / "p04.jpg").rename(pets.photos / "p044.jpg")


def twin(pets: PhotoFolder) -> None:
    pets.paint("p05", suffix=".png")


def two_rows(pets: PhotoFolder) -> None:
    with pets.table.open("a") as file:
        file.write("p06,dog\n")


def untagged(pets: PhotoFolder) -> None:
    pets.paint("p99")


def empty_class(pets: PhotoFolder) -> None:
    configure(classes=["cat", "dog", "zebra"])


def misspelt_tag(pets: PhotoFolder) -> None:
    configure(classes=["cat", "dog"])
    pets.table.write_text(pets.table.read_text().replace('p00,"cat"', 'p00,"catt"'))


def wrong_mask(pets: PhotoFolder) -> None:
    configure(masks="masks")
    pets.mask("p00", value=7)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (broken_photo, r"photos/p03.jpg, id 'p03' (", ),
        (lost_photo, "id 'p04' (train): there is no such file"),
        (twin, "photos/p05.png, id 'p05'"),
        (two_rows, "tags.csv, id 'p06': has another row of tags in line 14 -> keep one row an id"),
        (untagged, "tags.csv, id 'p99'"),
        (empty_class, "no sound training image is tagged 'zebra' -> tag some, take it off the classes"),
        (misspelt_tag, "id 'p00' (train): is tagged 'catt' -> did you mean 'cat'?"),
        (wrong_mask, "masks/p00.png, id 'p00' (train): holds 7 (400 pixels) -> allowed are 0 (background), 1..2"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)  # fmt: skip
def test_problems(pets: PhotoFolder, wsss, spoil: Any, said: str) -> None:
    configure()
    spoil(pets)
    code, out, error = wsss("check")
    assert (code, error) == (2, "")
    assert said in flat(out) and "->" in out
    assert "a run stops here" in out and "Or set 'broken: drop' in datasets.photos" in out
    assert "photos" in flat(out).split("problem")[0], "what the dataset holds is told all the same"


def test_all_at_once(pets: PhotoFolder, wsss) -> None:
    configure()
    for spoil in (broken_photo, lost_photo, twin, two_rows):
        spoil(pets)
    out = wsss("check")[1]
    assert [out.count(f"{kind} (") for kind in ("unreadable image", "missing image", "duplicate id")] == [1, 1, 1]
    assert "5 problems" in out  # p044 has no tags


def test_dropped_ones_are_listed_and_harmless(pets: PhotoFolder, wsss) -> None:
    configure(broken="drop")
    broken_photo(pets)
    code, out, _ = wsss("check")
    assert code == 0 and "id 'p03'" in out and "1 problem, left out as 'broken: drop' says" in out


def test_a_table_that_is_not_there(pets: PhotoFolder, wsss) -> None:
    configure(labels="tagz.csv")
    code, _, error = wsss("check")
    assert code == 2 and "tagz.csv: the table of tags (labels) is not there" in error


def test_few_photos_of_a_class_are_pointed_out(pets: PhotoFolder, wsss) -> None:
    configure()
    assert "few" in wsss("check")[1]


def test_files_that_recipes_name(pets: PhotoFolder, wsss) -> None:
    configure()
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["classifiers"] = {"a": {"objective": "vanilla", "pretrained": "gone.safetensors"}}
    config["cams"] = {"b": {"source": "external", "path": "maps"}}
    config["masks"] = {"c": {"source": "external", "path": ".", "corrected": "by hand"}}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    code, out, _ = wsss("check")
    assert code == 2
    assert "gone.safetensors: there is no such file or folder, but classifiers.a name it" in flat(out)
    assert "maps: there is no such file or folder, but cams.b" in flat(out)
    assert "by hand: there is no such file or folder, but masks.c" in flat(out)
    Path("gone.safetensors").write_bytes(b"")
    Path("maps").mkdir()
    Path("by hand").mkdir()
    assert wsss("check")[0] == 0


def test_scenes_and_names(pets: PhotoFolder, wsss) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    assert "24 training and 8 validation scenes" in wsss("check")[1]
    assert "has no dataset 'scene'; did you mean 'scenes'?" in wsss("check", "--dataset", "scene")[2]
    Path("config.yaml").unlink()
    assert wsss("check")[0] == 2


def test_zero_shot_with_a_random_clip(pets: PhotoFolder, wsss, tmp_path: Path) -> None:
    """The whole way from the flag to the table: the recipe's own network and words, all photos or some of them."""
    pytest.importorskip("open_clip", reason="pip install '.[foundation]'")
    named = write_clip(tmp_path / "clip")
    configure()
    raw = yaml.safe_load(Path("config.yaml").read_text())
    words = {"cat": ["tabby", "cat"], "dog": ["dog"]}
    raw["cams"] = {"clip": {"source": "text", **named, "method": "naclip", "synonyms": words, "too_near": 1.0}}
    Path("config.yaml").write_text(yaml.safe_dump(raw))
    code, said, _ = wsss("check", "--zero-shot", "--threads", "1")
    assert code == 0 and "on 12 tagged photos, average precision in %" in flat(said)
    rows = {words[0]: words[1:] for line in said.splitlines() if (words := line.split()) and words[0] in ("cat", "dog")}
    config = load(raw)
    build_index(config.recipes["datasets"]["photos"], "photos", tmp_path / "index", 1)
    index, settings = Index.load(tmp_path / "index"), config.recipes["cams"]["clip"]
    for one in zero_shot(index.items, index.classes, settings, "cpu", 1):
        assert rows[one.name][:3] == [str(one.images), f"{100 * one.precision:.0f}", f"{100 * one.chance:.0f}"]
    assert ("hardly known by this word" in said) == any(int(row[1]) < 50 for row in rows.values())
    code, said, _ = wsss("check", "--zero-shot", "--images", "5", "--threads", "1")
    assert code == 0 and "on 5 tagged photos" in said
    raw["cams"]["clip"]["weights"] = "nowhere.safetensors"
    Path("config.yaml").write_text(yaml.safe_dump(raw))
    code, said, error = wsss("check", "--zero-shot", "--threads", "1")
    assert code != 0 and "nowhere.safetensors" in flat(said + error) and "Traceback" not in error
