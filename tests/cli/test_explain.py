"""``wsss explain``: overlays of photos, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
    assert code == 0 and (photo.parent / "photo-seg-grad-cam.png").is_file()
    assert said.count("yes") == 1
    code, _, error = wsss("explain", segmenter, photo, "--option", "windw=3")
    assert code == 2 and "options of seg-grad-cam: " in error and "'windw'" in error


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
