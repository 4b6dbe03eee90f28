"""``wsss explain``: overlays of photos, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.explain import Regions
from wsss.models.classifier import Classifier
from wsss.models.segmenter import Segmenter
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights

CLASSES = ["red", "green"]


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """One that is sure of the second class whatever it sees."""
    torch.manual_seed(0)
    network = Classifier("test_resnet", 2, 8).eval()
    with torch.no_grad():
        network.head.weight[0], network.head.weight[1] = -network.head.weight[1].abs(), network.head.weight[1].abs()
    folder = tmp_path / "classifier"
    folder.mkdir()
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": CLASSES}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {"stage": "classifier"})
    return folder


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "segmenter"
    folder.mkdir()
    about = {"architecture": "deeplabv3plus", "backbone": "test_resnet", "output_stride": 16}
    about |= {"atrous_rates": [6, 12, 18], "classes": CLASSES}
    network = Segmenter("deeplabv3plus", "test_resnet", 3).eval()
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {"stage": "segmenter"})
    return folder


def width(path: Path) -> int:
    return Image.open(path).size[0]


def test_the_predicted_classes_of_a_photo(wsss, photo, classifier):
    code, said, _ = wsss("explain", classifier, photo)
    assert code == 0
    rows = {line.split()[0]: line for line in said.splitlines()[2:4]}
    assert rows["green"].endswith("yes") and "yes" not in rows["red"] and list(rows) == ["green", "red"]
    one = width(photo.parent / "photo-cam.png")
    code, said, _ = wsss("explain", classifier, photo, "--classes", "red", "green", "--explainer", "minmax-cam")
    assert code == 0 and said.count("yes") == 2
    assert width(photo.parent / "photo-minmax-cam.png") == pytest.approx(1.5 * one, rel=0.05)  # one more map


def test_options_and_places(wsss, photo, classifier):
    out = photo.parent / "there" / "mine.png"
    how = ("--explainer", "score-cam", "--option", "top_channels=2", "--out", out)
    assert wsss("explain", classifier, photo, *how)[0] == 0 and out.is_file()
    code, _, error = wsss("explain", classifier, photo, "--explainer", "score-cam", "--option", "top_chanels=2")
    assert code == 2 and "did you mean 'top_channels'" in error
    code, _, error = wsss("explain", classifier, photo, photo, "--out", out)
    assert code == 2 and "name a folder" in error


def test_a_segmentation_network(wsss, photo, segmenter):
    code, said, _ = wsss("explain", segmenter, photo, "--classes", "red")
    assert code == 0 and (photo.parent / "photo-seg-hires-grad-cam.png").is_file()
    assert said.count("yes") == 1
    code, _, error = wsss("explain", segmenter, photo, "--option", "windw=3")
    assert code == 2 and "seg-hires-grad-cam has no option 'windw'" in error


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Regions]:
    """The targets that a segmentation network was asked about, and the maps' classes."""
    found: list[Regions] = []
    rows = Regions.rows

    def seen(self, output, single_label=False):
        made = rows(self, output, single_label)
        found.append((self, made, output))
        return made

    monkeypatch.setattr(Regions, "rows", seen)
    return found


def test_a_pixel_and_a_box_of_the_photo(wsss, photo, segmenter, asked):
    """In pixels of the photo, however small the network sees it; the class is the one that is predicted there."""
    assert wsss("explain", segmenter, photo, "--at", "24", "40", "--max-side", "32")[0] == 0
    target, rows, output = asked[-1]
    assert (target.where, target.at, output.shape[2:]) == ("pixel", (12, 20), (24, 32))
    label = int(output.argmax(1)[0, 12, 20])
    assert rows.class_idx.tolist() == ([label] if label else [])
    assert (
        wsss("explain", segmenter, photo, "--at", "3", "4", "21", "64", "--max-side", "32", "--classes", "red")[0] == 0
    )
    target, rows, _ = asked[-1]
    assert (target.where, target.at, rows.class_idx.tolist()) == ("box", (1, 2, 11, 32), [1])
    assert int(rows.masks.sum()) == 10 * 30


def test_a_part_of_the_prediction_and_a_mask(wsss, photo, segmenter, asked):
    assert wsss("explain", segmenter, photo, "--region", "largest", "--classes", "red")[0] == 0
    assert asked[-1][0].where == "largest"
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 2
    Image.fromarray(mask).save(photo.parent / "mask.png")
    code, said, _ = wsss("explain", segmenter, photo, "--mask", "mask.png")
    assert code == 0 and asked[-1][1].class_idx.tolist() == [2] and int(asked[-1][1].masks.sum()) == 200
    assert next(line for line in said.splitlines() if "yes" in line).startswith("green")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--at", "1"), "needs no numbers after --at"),
        (("--at", "48", "2"), "the photo has 48 rows and 64 columns"),
        (("--at", "5", "2", "5", "9"), "the photo has 48 rows"),
        (("--region", "box", "--at", "1", "2"), "needs 4 numbers"),
        (("--region", "given"), "--mask go together"),
        (("--explainer", "minmax-cam"), "is for classifiers"),
    ],
)
def test_regions_that_are_none(wsss, photo, segmenter, args, said):
    code, _, error = wsss("explain", segmenter, photo, *args)
    assert code == 2 and said in error and error.count("\n") == 1


def test_a_classifier_has_no_regions(wsss, photo, classifier):
    code, _, error = wsss("explain", classifier, photo, "--at", "1", "2")
    assert code == 2 and "are for segmentation networks" in error
    code, _, error = wsss("explain", classifier, photo, "--explainer", "seg-grad-cam")
    assert code == 2 and "is for regions of segmentation networks" in error and "grad-cam" in error


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("CLASSIFIER", "no.jpg"), "no.jpg"),
        (("CLASSIFIER", "photo.png", "--explainer", "gradcam"), "did you mean 'grad-cam'"),
        (("CLASSIFIER", "photo.png", "--classes", "gren"), "did you mean 'green'"),
        (("nowhere", "photo.png"), "does not exist"),
        (("CLASSIFIER", "photo.png", "--option", "a"), "NAME=VALUE"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(wsss, photo, classifier, args, said):
    code, _, error = wsss("explain", *(classifier if arg == "CLASSIFIER" else arg for arg in args))
    assert code == 2 and said in error and error.count("\n") == 1
    assert not list(photo.parent.glob("photo-*.png"))


def test_what_argparse_and_names_refuse(wsss, photo, classifier, capsys):
    (photo.parent / "there").mkdir()
    other = photo.rename(photo.parent / "there" / photo.name)
    Image.open(other).save(photo.with_suffix(".jpg"))
    code, _, error = wsss("explain", classifier, other, photo.with_suffix(".jpg"))
    assert code == 2 and "two photos have the same name" in error
    with pytest.raises(SystemExit):
        wsss("explain", classifier, other, "--threads", "0")
    assert "argument --threads: 0 is below 1" in capsys.readouterr().err


def test_other_folders_are_refused(wsss, photo, classifier):
    write_manifest(classifier, {"stage": "masks"})
    code, _, error = wsss("explain", classifier, photo)
    assert code == 2 and "was made by the stage masks" in error
