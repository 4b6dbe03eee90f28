"""What an artefact holds: digests of files, folders and the index."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from wsss.provenance.outputs import content, digest, missing, outputs_of, tree_digest

COLUMNS = "id,split,image,mask,height,width,labels,scored,sha256,mask_sha256\n"


def index(folder: Path, place: str, sha: str = "1") -> Path:
    folder.mkdir(parents=True)
    file = folder / "index.csv"
    file.write_text(f"{COLUMNS}a,train,{place}/a.jpg,{place}/a.png,3,4,cat,1,{sha},2\n")
    return file


def test_an_index_is_the_same_wherever_its_images_lie(tmp_path: Path) -> None:
    one, other = index(tmp_path / "a", "../../photos"), index(tmp_path / "b", "/data/photos")
    assert one.read_bytes() != other.read_bytes() and digest(one) == digest(other)
    assert digest(index(tmp_path / "c", "../../photos", sha="other picture")) != digest(one)


def test_a_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    (masks / "sub").mkdir(parents=True)
    (masks / "a.png").write_bytes(b"1")
    (masks / "sub" / "b.png").write_bytes(b"2")
    known = {"a.png": zlib.crc32(b"1"), "sub/b.png": zlib.crc32(b"2")}
    assert digest(masks) == tree_digest(known) == tree_digest(dict(reversed(known.items())))
    (masks / ".a.png.1.tmp").write_bytes(b"left by a killed writer")
    assert digest(masks) == tree_digest(known)
    before = digest(masks)
    (masks / "a.png").rename(masks / "c.png")
    assert digest(masks) != before


def test_what_lies_in_a_folder_and_is_no_output(tmp_path: Path) -> None:
    for name in ("model.safetensors", "manifest.json", "run.json", ".manifest.json", ".lock", "metrics.jsonl"):
        (tmp_path / name).touch()
    for name in ("state", "parts", "tensorboard", "masks"):
        (tmp_path / name).mkdir()
    assert outputs_of("classifier", tmp_path) == ["masks", "metrics.jsonl", "model.safetensors"]


def test_the_summary_owns_its_own_files_only(tmp_path: Path) -> None:
    """All other artefacts of its dataset lie in its folder; the report's page lies beside the report's."""
    for name in ("summary.md", "summary.csv", "report.html", "notes.txt"):
        (tmp_path / name).touch()
    for name in ("panels", "s0", "index", "report"):
        (tmp_path / name).mkdir()
    (tmp_path / "report" / "pictures.csv").touch()
    assert outputs_of("summary", tmp_path) == ["panels", "summary.csv", "summary.md"]
    assert outputs_of("report", tmp_path / "report") == ["../report.html", "pictures.csv"]


def test_content_is_that_of_all_outputs(tmp_path: Path) -> None:
    assert content({"a": "1", "b": "2"}) == content({"b": "2", "a": "1"}) != content({"a": "2", "b": "1"})


def test_the_first_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert missing(tmp_path, ["a"]) is None and missing(tmp_path, ["a", "b"]) == "b"


def test_a_file_that_is_not_there_is_no_content(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "none")
