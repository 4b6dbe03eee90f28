"""``wsss predict``: masks, overlays and regions of photos without tags, by a network of random weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from scipy import ndimage

import wsss as wsss_package
from tests.cli.photo_folder import PhotoFolder
from tests.cli.small_network import CLASSES, NETWORK, put_classifier_beside, write_network
from wsss.data.images import read_image
from wsss.data.palette import CLASS_COLOURS, VOC_PALETTE
from wsss.inference.cams import tag_probabilities
from wsss.inference.segmentation import pixel_probabilities
from wsss.interfaces.networks import recipe, segmenter
from wsss.interfaces.predict import Photo, legend, overlay, regions, run_lengths
from wsss.models.classifier import load_classifier
from wsss.models.segmenter import load_segmenter
from wsss.settings import PredictSettings
from wsss.stages import predictions
from wsss.store.artefact import load
from wsss.store.masks import MaskFolder
from wsss.store.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a network and its predictions, made with one scale and no CRF."""
    return write_network(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def new(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhotoFolder:
    """Six photos of two sizes, one in a folder, one lying on its side."""
    shutil.copytree(trained / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    pets = PhotoFolder(tmp_path, 4)
    pets.paint("farm/sheep 7", 7, size=(40, 56), suffix=".PNG")
    turned = Image.open(pets.paint("turned", 8))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(pets.photos / "turned.jpg", exif=exif)
    return pets


IDS = ["farm/sheep 7", "p00", "p01", "p02", "p03", "turned"]
GO = ("predict", NETWORK, "photos", "--out", "out", "--threads", "1", "--device", "cpu")


def files(folder: str = "out") -> dict[str, bytes]:
    found = (path for path in Path(folder).rglob("*") if path.is_file() and path.name not in (".lock", "journal.jsonl"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def photo(id: str) -> Photo:
    path = next(Path("photos").glob(f"{id}.*"))
    height, width = read_image(path).shape[:2]
    return Photo(id, path, height, width, 0)


def test_masks_are_those_of_the_network(new: PhotoFolder, wsss) -> None:
    code, said, error = wsss(*GO)
    assert code == 0 and "6 masks in out/masks" in said
    assert "scales [1], crf null (as its recipe has it)" in error
    masks = MaskFolder("out/masks")
    assert masks.ids() == IDS
    network, classes = load_segmenter(Path(NETWORK))
    items = [photo(id).item for id in IDS]
    settings = PredictSettings(scales=(1.0,), flip=False)
    for item, scores in pixel_probabilities(network.eval(), items, settings, torch.device("cpu"), 1):
        found = masks.read(item.id)
        assert (found == scores.argmax(0)).mean() > 0.999, "folded layers round otherwise"
    assert masks.read("turned").shape == (64, 48), "upright"
    assert len({int(value) for id in IDS for value in np.unique(masks.read(id))}) == 3
    with Image.open("out/masks/farm/sheep 7.png") as image:
        assert image.mode == "P" and image.size == (40, 56)
        assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3), VOC_PALETTE)


class TestWithAClassifier:
    """A network whose recipe asks a classifier which classes a photo may hold."""

    def test_it_is_asked(self, new: PhotoFolder, wsss) -> None:
        assert wsss(*GO)[0] == 0
        alone = files()
        folder = put_classifier_beside(Path("results/photos/s0"))
        with pytest.raises(SystemExit):  # its masks were made otherwise
            wsss(*GO)
        code, _, error = wsss(*GO, "--force")
        assert code == 0 and "as results/photos/s0/classifiers/plain finds likely" in error
        masks, network = MaskFolder("out/masks"), load_segmenter(Path(NETWORK))[0].eval()
        items, cpu = [photo(id).item for id in IDS], torch.device("cpu")
        view = PredictSettings(scales=(1.0,), flip=False)
        tags = tag_probabilities(load_classifier(folder)[0].eval(), items, view, cpu, 1)
        likely = {
            item.id: [c for c in range(2) if row[c] >= 0.5 or c == row.argmax()]
            for item, row in zip(items, tags, strict=True)
        }
        assert len({str(found) for found in likely.values()}) > 1, "photos differ in what they may hold"
        for item, scores in pixel_probabilities(network, items, view, cpu, 1):
            found = likely[item.id]
            objects = scores[[1 + c for c in found]]
            objects = objects * (1 - scores[0]) / objects.sum(0)
            expected = np.where(objects.max(0) > scores[0], 1 + np.array(found)[objects.argmax(0)], 0)
            assert (masks.read(item.id) == expected).mean() > 0.999, "folded layers round otherwise"
        assert any(files()[name] != alone[name] for name in alone if name.startswith("masks/"))
        door = wsss_package.load(NETWORK, device="cpu", threads=1)
        assert door.tags_from == folder.absolute()
        for one in door.predict("photos"):
            id = one.path.relative_to("photos").with_suffix("").as_posix()
            assert np.array_equal(one.mask, masks.read(id)), "the Python door does the same"

    def test_it_is_gone(self, new: PhotoFolder, wsss) -> None:
        (put_classifier_beside(Path("results/photos/s0")) / "model.safetensors").unlink()
        code, _, error = wsss(*GO)
        assert code == 2 and "this classifier says which classes" in error and not Path("out").exists()

    def test_it_knows_other_classes(self, new: PhotoFolder, wsss, capsys) -> None:
        folder = put_classifier_beside(Path("results/photos/s0"))
        weights, about = load_weights(folder / "model.safetensors")
        save_weights(folder / "model.safetensors", weights, {**about, "classes": ["dog", "cat"]})
        with pytest.raises(SystemExit):
            wsss(*GO)
        assert "knows the classes dog, cat, but the segmentation network cat, dog" in capsys.readouterr().err


def test_regions_are_what_coco_tools_read(new: PhotoFolder, wsss, capsys) -> None:
    wsss(*GO)
    coco = COCO("out/coco.json")
    assert [one["name"] for one in coco.loadCats([1, 2])] == CLASSES
    assert [one["file_name"] for one in coco.dataset["images"]][0] == "farm/sheep 7.PNG"
    for image in coco.dataset["images"]:
        mask = MaskFolder("out/masks").read(str(Path(image["file_name"]).with_suffix("")))
        assert mask.shape == (image["height"], image["width"])
        painted = np.zeros_like(mask)
        for one in coco.loadAnns(coco.getAnnIds(image["id"])):
            region = coco.annToMask(one).astype(bool)
            assert not painted[region].any() and one["area"] == region.sum() and one["iscrowd"] == 0
            assert ndimage.label(region, np.ones((3, 3)))[1] == 1
            assert list(map(float, one["bbox"])) == rle.toBbox(one["segmentation"]).tolist()
            painted[region] = one["category_id"]
        assert np.array_equal(painted, mask)
    ids = [one["id"] for one in coco.dataset["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


def test_pictures(new: PhotoFolder, wsss) -> None:
    wsss(*GO)
    for id in IDS:
        with Image.open(f"out/overlays/{id}.jpg") as image:
            assert image.size == (photo(id).width, photo(id).height)
    with Image.open("out/legend.png") as image:
        assert image.getpixel((16, 34)) == tuple(CLASS_COLOURS[1]) and image.getpixel((16, 54)) == tuple(
            CLASS_COLOURS[2]
        )


def test_a_legend_spells_names_of_other_scripts() -> None:
    """Each name is drawn as itself, and not as a question mark or a box for what is missing."""
    drawn = [
        np.asarray(legend((name,)).crop((34, 24, 44, 44))).tobytes() for name in ("Łoś", "лось", "ślad", "?", "\uffff")
    ]
    assert len(set(drawn)) == 5


def test_a_second_run_makes_nothing_again(new: PhotoFolder, wsss, monkeypatch: pytest.MonkeyPatch) -> None:
    wsss(*GO)
    before, times = files(), {path: path.stat().st_mtime_ns for path in Path("out/masks").rglob("*.png")}
    monkeypatch.setattr("wsss.interfaces.predict._producer", None)  # the network is not even opened
    code, _, error = wsss(*GO)
    assert code == 0 and "6 of 6 masks are made already: kept" in error
    assert files() == before and times == {path: path.stat().st_mtime_ns for path in times}


def test_what_changed_is_made_again(new: PhotoFolder, wsss) -> None:
    wsss(*GO)
    before = files()
    new.paint("p01", 11)  # another photo of that name
    Path("out/masks/p02.png").write_bytes(b"half")  # not what was written
    Path("out/overlays/p03.jpg").unlink()
    new.paint("added", 12)
    assert "4 of 7 masks are made already" in wsss(*GO)[2]
    after = files()
    assert set(after) - set(before) == {"masks/added.png", "overlays/added.jpg"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed - {"masks/p01.png"} == {"overlays/p01.jpg", "coco.json", "predict.json"}


@pytest.mark.parametrize("stop", ["SIGTERM", "an error"])
def test_stopped_halfway(new: PhotoFolder, wsss, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    """What is made stays, nothing is half there, and in the end all is as if nothing had happened."""
    wsss(*GO)
    whole = files()
    shutil.rmtree("out")
    original = predictions.predicted

    def stopped(*given):
        run = given[-2]
        for number, written in enumerate(original(*given)):
            if number == 1:
                if stop == "an error":
                    raise KeyboardInterrupt
                run.stop = stop
            yield written

    with monkeypatch.context() as here:
        here.setattr(predictions, "predicted", stopped)
        with pytest.raises(SystemExit) as ended:
            wsss(*GO)
    assert ended.value.code == (75 if stop == "SIGTERM" else 130)
    assert not Path("out/coco.json").exists() and not Path("out/overlays").exists()
    some = len(MaskFolder("out/masks").ids())
    assert 0 < some < 6
    assert f"{2 if stop == 'SIGTERM' else 1} of 6 masks are made already" in wsss(*GO)[2]
    assert files() == whole


def test_masks_made_otherwise_are_not_mixed(new: PhotoFolder, wsss) -> None:
    wsss(*GO)
    before = files()
    with pytest.raises(SystemExit) as ended:
        wsss(*GO, "--scales", "0.5", "1")
    assert ended.value.code == 2 and files() == before
    assert wsss(*GO, "--scales", "0.5", "1", "--force")[0] == 0
    assert json.loads(Path("out/predict.json").read_text())["made_by"]["settings"]["scales"] == [0.5, 1.0]
    assert "masks are made already" not in wsss(*GO, "--force")[2]
    assert {name: data for name, data in files().items() if "masks" in name} == {
        name: data for name, data in before.items() if "masks" in name
    }


def test_what_is_wrong_with_the_folder_is_said(new: PhotoFolder, wsss, capsys) -> None:
    new.mask("p00", folder="mine/masks")
    own = Path("mine/masks/p00.png").read_bytes()
    with pytest.raises(SystemExit):
        wsss(*GO, "--out", "mine")
    assert "mine: holds masks that this command did not make" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        wsss(*GO, "--out", "mine", "--force")
    assert Path("mine/masks/p00.png").read_bytes() == own
    wsss(*GO)
    with pytest.raises(SystemExit):
        wsss(*GO, "--crf", "deeplab")
    assert "settings was" in (said := capsys.readouterr().err) and "--force" in said
    Path("out/predict.json").write_text("{}")
    with pytest.raises(SystemExit):
        wsss(*GO)
    assert "predict.json: cannot be read; name another folder with --out, or give --force" in capsys.readouterr().err


def test_masks_beside_the_photos_are_no_photos(new: PhotoFolder, wsss) -> None:
    for _ in range(2):
        assert wsss(*GO, "--out", "photos/out")[0] == 0
        assert MaskFolder("photos/out/masks").ids() == IDS


class TestPhotosThatCannotBeUsed:
    def test_each_is_named_before_work_starts(self, new: PhotoFolder, wsss) -> None:
        (new.photos / "p00.jpg").write_bytes(b"no image")
        whole = (new.photos / "p01.jpg").read_bytes()
        (new.photos / "p01.jpg").write_bytes(whole[: len(whole) // 2])
        new.paint("p02", suffix=".png")
        code, said, error = wsss(*GO)
        assert (code, said) == (2, "") and not Path("out").exists()
        error = " ".join(error.split())
        assert "3 problems; nothing was predicted" in error
        assert "photos/p00.jpg: cannot be read (not an image of a known kind); copy it again" in error
        assert "photos/p01.jpg: cannot be read (image file is truncated" in error
        assert "photos/p02.png: is also the id 'p02' of p02.jpg" in error

    def test_they_may_be_left_out(self, new: PhotoFolder, wsss) -> None:
        (new.photos / "p00.jpg").write_bytes(b"no image")
        code, _, error = wsss(*GO, "--skip-unreadable")
        assert code == 0 and "left out: photos/p00.jpg: cannot be read" in error
        assert MaskFolder("out/masks").ids() == [id for id in IDS if id != "p00"]
        for path in new.photos.rglob("*.*"):
            path.write_bytes(b"")
        assert "none of its 6 photos can be read" in wsss(*GO, "--skip-unreadable")[2]

    def test_none(self, new: PhotoFolder, wsss) -> None:
        Path("empty").mkdir()
        for name, said in (("empty", "empty: holds no photo"), ("no", "no: there is no such folder")):
            assert said in wsss("predict", NETWORK, name, "--out", "out")[2]
        assert "is a file" in wsss("predict", NETWORK, "tags.csv", "--out", "out")[2]
        assert "no photo matches this pattern" in wsss("predict", NETWORK, "photos/*.gif", "--out", "out")[2]


class TestPhotosThatAreNamed:
    """Single photos and patterns get the masks that they have in their folder."""

    def test_a_photo(self, new: PhotoFolder, wsss) -> None:
        wsss(*GO)
        code, said, _ = wsss("predict", "results/photos", "photos/p00.jpg", "--out", "one", *GO[-4:])
        assert code == 0 and "1 mask in one/masks" in said
        assert Path("one/masks/p00.png").read_bytes() == Path("out/masks/p00.png").read_bytes()
        assert json.loads(Path("one/coco.json").read_text())["images"][0]["file_name"] == "p00.jpg"

    def test_patterns_and_several(self, new: PhotoFolder, wsss) -> None:
        code, _, _ = wsss("predict", NETWORK, "photos/p0[01].jpg", "photos/farm", "--out", "some", *GO[-4:])
        assert code == 0 and MaskFolder("some/masks").ids() == ["p00", "p01", "sheep 7"]
        images = json.loads(Path("some/coco.json").read_text())["images"]
        assert [one["file_name"] for one in images] == ["p00.jpg", "p01.jpg", "farm/sheep 7.PNG"]

    def test_two_of_one_name(self, new: PhotoFolder, wsss) -> None:
        new.paint("farm/p00", 1)
        error = wsss("predict", NETWORK, "photos/p00.jpg", "photos/farm/p00.jpg", "--out", "two")[2]
        assert "photos/farm/p00.jpg: is also the id 'p00' of p00.jpg" in error and not Path("two").exists()

    def test_a_run_with_several_networks(self, new: PhotoFolder, wsss) -> None:
        shutil.copytree(NETWORK, "results/photos/s0/segmenters/other")
        error = wsss("predict", "results/photos", "photos", "--out", "out")[2]
        assert f"results/photos: holds 2 segmentation networks ({NETWORK}, results/photos/s0/segmenters/other)" in error


class TestWhatIsNamed:
    def test_no_network(self, new: PhotoFolder, wsss) -> None:
        code, _, error = wsss("predict", "results/photos/s0/classifiers/plain", "photos", "--out", "out")
        assert code == 2
        assert (
            "made by the stage 'classifier'; name the folder of a segmentation network; there are: " + NETWORK in error
        )
        assert "does not exist" in wsss("predict", "results/photos/s0/segmenters/min", "photos", "--out", "out")[2]
        os.unlink(f"{NETWORK}/model.safetensors")
        assert "model.safetensors is gone" in wsss(*GO)[2]
        Path(f"{NETWORK}/model.safetensors").write_bytes(b"no weights")
        assert "cannot be read" in wsss(*GO)[2]

    def test_its_predictions_mean_the_network(self, new: PhotoFolder) -> None:
        assert segmenter(Path("results/photos/s0/predictions/mine")).folder == Path(NETWORK).absolute()
        assert segmenter(Path(NETWORK, "model.safetensors")).title == NETWORK

    def test_settings_without_predictions(self, new: PhotoFolder) -> None:
        shutil.rmtree("results/photos/s0/predictions")
        applied = recipe(load(NETWORK))
        assert applied.settings == PredictSettings() and applied.origin.startswith("the defaults")
        assert applied.tags_from is None

    @pytest.mark.parametrize(("flags", "said"), [
        (("--scales", "9"), "--scales[0]"), (("--scales", "0"), "--scales"), (("--crf", "deeplabb"), "deeplab, psa"),
        (("--device", "tpu"), "--device tpu: one of auto, cpu, cuda"),
    ])  # fmt: skip
    def test_flags(self, new: PhotoFolder, wsss, flags: tuple[str, ...], said: str) -> None:
        code, _, error = wsss(*GO, *flags)
        assert code == 2 and said in error and not Path("out").exists()

    def test_a_crf_changes_masks(self, new: PhotoFolder, wsss) -> None:
        wsss(*GO)
        assert wsss(*GO, "--out", "crf", "--crf", "deeplab")[0] == 0
        pairs = [(MaskFolder("out/masks").read(id), MaskFolder("crf/masks").read(id)) for id in IDS]
        assert any((a != b).any() for a, b in pairs) and all(a.shape == b.shape for a, b in pairs)
        assert wsss(*GO, "--out", "crf", "--crf", "none", "--force")[0] == 0
        assert all(np.array_equal(MaskFolder("crf/masks").read(id), a) for id, (a, _) in zip(IDS, pairs, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_against_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random(40) < rng.random()
    values[rng.integers(40)] = True
    slow, current = [0], False
    for value in values:
        if value != current:
            slow.append(0)
            current = value
        slow[-1] += 1
    fast = run_lengths(np.flatnonzero(values), 40)
    assert fast == slow or fast == [*slow, 0], "a last run of no zeros may be said"


def test_regions_touching_at_a_corner_are_one() -> None:
    mask = np.zeros((4, 5), np.uint8)
    mask[0, 0] = mask[1, 1] = 1
    mask[3, 3:] = 1
    mask[2, 0] = 2
    found = list(regions(mask))
    assert [(one["category_id"], one["area"], one["bbox"]) for one in found] == [
        (1, 2, [0, 0, 2, 2]), (1, 2, [3, 3, 2, 1]), (2, 1, [0, 2, 1, 1]),
    ]  # fmt: skip
    assert list(regions(np.zeros((3, 3), np.uint8))) == []
    (full,) = regions(np.ones((3, 2), np.uint8))
    assert rle.decode(full["segmentation"]).all()


def test_overlay_shows_the_photo_and_the_mask() -> None:
    image = np.full((6, 6, 3), 100, np.uint8)
    mask = np.zeros((6, 6), np.uint8)
    mask[1:5, 1:5] = 1
    picture = overlay(image, mask)
    assert (picture[0] == 100).all()
    assert picture[3, 3].tolist() == [93, 140, 166]  # half the photo, half the class's (86, 180, 233)
    assert picture[1, 3].tolist() == [86, 180, 233]  # the border


def test_legend_takes_any_name() -> None:
    for names in (("cat", "シカ", "a very long name of a class, longer than any"), ("a", "WWWWWWWWWWWWWWWWWWWW")):
        picture = np.asarray(legend(names))
        assert (picture[:, -6:] == 255).all(), "no name is cut off"
        assert all((picture[4 + 20 * n : 24 + 20 * n, 34:] < 128).any() for n in range(len(names) + 1))
