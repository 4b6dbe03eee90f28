"""``wsss init``: what it sees in a folder, and the configuration that it writes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made import ROOT
from shoebox import Shoebox

import wsss.cli.init
from wsss.cli.choices import choose, power, split
from wsss.cli.machine import Machine, Weights, choose_weights, model_of
from wsss.cli.survey import survey
from wsss.cli.template import scalar
from wsss.config import Config, load
from wsss.data.folder import draw_splits
from wsss.errors import WsssError
from wsss.yamlfile import read_yaml

ANIMALS = ROOT.parent / "shared" / "data" / "animals"
CPU, GPU = Machine(0, cores=2), Machine(2, "A GPU (80 GiB)", 16)
TRAINED = Weights("mobilenetv2_100", "w.safetensors", "w.safetensors (given)")
NONE = Weights("resnet10t", False, "none")


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without weights, whatever the tests run on."""
    monkeypatch.setattr(wsss.cli.init, "this_machine", lambda: CPU)
    monkeypatch.setattr(wsss.cli.init, "choose_weights", lambda *given: NONE)


def written(path: str = "config.yaml") -> Config:
    return load(read_yaml(path))


def test_says_what_it_found_and_writes_what_a_run_reads(box: Shoebox, wsss) -> None:
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


def test_the_same_photos_give_the_same_file(box: Shoebox, wsss) -> None:
    texts = []
    for _ in range(2):
        assert wsss("init", "photos", "--force")[0] == 0
        texts.append(Path("config.yaml").read_text())
    assert texts[0] == texts[1]


def test_never_writes_over_a_file(box: Shoebox, wsss) -> None:
    Path("config.yaml").write_text("mine")
    code, said, error = wsss("init", "photos")
    assert (code, said) == (2, "") and "config.yaml is there already" in error and "--force" in error
    assert Path("config.yaml").read_text() == "mine"
    assert wsss("init", "photos", "--out", "other.yaml")[0] == 0
    assert "wsss run --configfile other.yaml" in wsss("init", "photos", "--out", "third.yaml")[1].replace(
        "third", "other"
    )
    assert wsss("init", "photos", "--force")[0] == 0 and written()


def test_a_mistake_leaves_no_file(box: Shoebox, wsss) -> None:
    assert wsss("init", "photos", "--labels", "tagz.csv")[0] == 2
    assert not Path("config.yaml").exists()


class TestTable:
    def test_in_the_folder(self, box: Shoebox) -> None:
        box.table.rename(box.photos / "my tags.csv")
        assert survey(Path("photos")).table == Path("photos/my tags.csv")

    def test_misspelt(self, box: Shoebox, wsss) -> None:
        error = wsss("init", "photos", "--labels", "tag.csv")[2]
        assert "tag.csv: there is no such table of tags; did you mean tags.csv?" in error

    def test_several(self, box: Shoebox) -> None:
        (box.root / "old.csv").write_text("id,labels\np00,cat\n")
        (box.root / "other.csv").write_text("name,price\na,1\n")
        with pytest.raises(WsssError, match=r"2 tables of tags \(old.csv, tags.csv\); name one with --labels"):
            survey(Path("photos"))
        assert survey(Path("photos"), Path("old.csv")).table == Path("old.csv")

    def test_none(self, box: Shoebox) -> None:
        box.table.unlink()
        with pytest.raises(WsssError, match="no table of tags in photos or beside it.*'id,labels'"):
            survey(Path("photos"))

    def test_another_header(self, box: Shoebox) -> None:
        box.write("file,tags")
        with pytest.raises(WsssError, match="'id' and 'labels' but holds 'file', 'tags'"):
            survey(Path("photos"))

    def test_no_label_at_all(self, box: Shoebox) -> None:
        box.table.write_text("id,labels\np00,\n")
        with pytest.raises(WsssError, match="no row has a label"):
            survey(Path("photos"))

    @pytest.mark.parametrize("sign", [";", "|", ",", "/"])
    def test_separator(self, box: Shoebox, wsss, sign: str) -> None:
        box.write(joined=sign)
        assert wsss("init", "photos")[0] == 0
        assert written().recipes["datasets"]["photos"].separator == sign
        assert wsss("check")[0] == 0

    def test_a_class_name_with_a_slash_is_one_class(self, box: Shoebox) -> None:
        box.tags = {id: ("cat/kitten",) for id in box.tags} | {"p00": ("dog",)}
        box.write()
        assert survey(Path("photos")).classes == ("cat/kitten", "dog")


def test_folders_that_are_none(box: Shoebox, wsss) -> None:
    assert "photo: there is no such folder; did you mean photos?" in wsss("init", "photo")[2]
    assert "is a file; name the folder" in wsss("init", "photos/p00.jpg")[2]
    Path("empty").mkdir()
    assert "empty: holds no photo" in wsss("init", "empty")[2]


def test_a_folder_with_images_inside(box: Shoebox, wsss) -> None:
    Path("farm").mkdir()
    box.photos.rename("farm/images")
    box.table.rename("farm/labels.csv")
    assert wsss("init", "farm")[0] == 0
    assert written().dataset == ("farm",)
    assert written().recipes["datasets"]["farm"].images == "farm/images"


def test_names_that_need_quotes(box: Shoebox, wsss) -> None:
    box.photos.rename("my: photos #1")
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


class TestBesideThePhotos:
    def test_masks(self, box: Shoebox, wsss) -> None:
        for id in list(box.tags)[:6]:
            box.mask(id)
        assert "masks   6 in masks" in wsss("init", "photos")[1]
        config = written()
        assert config.recipes["datasets"]["photos"].masks == "masks"
        assert 1 <= config.evaluation.calibration_images <= 6
        assert config.recipes["masks"]["p-noc"].threshold.policy == "fixed"  # nothing but scores looks at them

    def test_masks_of_others(self, box: Shoebox, wsss) -> None:
        box.mask("stranger")
        assert wsss("init", "photos")[0] == 0 and written().recipes["datasets"]["photos"].masks is None
        error = wsss("init", "photos", "--masks", "masks", "--force")[2]
        assert "masks: holds no mask of these photos; a mask is called ID.png, like p00.png" in error
        assert "mask: there is no such folder of masks; did you mean masks?" in wsss(
            "init", "photos", "--masks", "mask", "--force"
        )[2]  # fmt: skip

    @pytest.mark.parametrize("given", [(), ("--masks", "photos/masks")])
    def test_masks_among_the_photos(self, box: Shoebox, wsss, given: tuple[str, ...]) -> None:
        box.mask("p00", folder="photos/masks")
        assert "photos/masks lies among the photos" in wsss("init", "photos", *given)[2]

    def test_lists(self, box: Shoebox, wsss) -> None:
        Path("train.txt").write_text("".join(f"{id}.jpg\n" for id in list(box.tags)[:9]))
        Path("val.txt").write_text("".join(f"{id}\n" for id in list(box.tags)[9:]))
        assert "train.txt (9), val.txt (3)" in wsss("init", "photos")[1]
        dataset = written().recipes["datasets"]["photos"]
        assert (dataset.train, dataset.val) == ("train.txt", "val.txt")
        assert wsss("check")[0] == 0

    def test_lists_of_others(self, box: Shoebox, wsss) -> None:
        for name in ("train", "val"):
            Path(f"{name}.txt").write_text("stranger\n")
        assert "are not used: they do not name these photos" in wsss("init", "photos")[1]
        assert written().recipes["datasets"]["photos"].train is None

    def test_class_names(self, box: Shoebox, wsss) -> None:
        Path("classes.txt").write_text("dog\ncat\n")
        assert wsss("init", "photos")[0] == 0
        assert written().recipes["datasets"]["photos"].classes == "classes.txt"
        Path("classes.txt").write_text("dog\n")
        assert "classes.txt is not used: it lacks the tag 'cat'" in wsss("init", "photos", "--force")[1]
        assert written().recipes["datasets"]["photos"].classes is None


class TestProblems:
    """They are said, and the file is written all the same: the run lists them again."""

    def said(self, wsss) -> str:
        code, said, _ = wsss("init", "photos")
        assert code == 0 and "wsss run will stop at these" in " ".join(said.split())
        assert wsss("check")[0] == 2
        return " ".join(said.split())

    def test_a_photo_without_tags(self, box: Shoebox, wsss) -> None:
        box.paint("new one")
        assert "1 photo without a row of tags: new one; add a row for each" in self.said(wsss)

    def test_tags_without_a_photo(self, box: Shoebox, wsss) -> None:
        box.tags["gone"] = ("cat",)
        box.write()
        assert "1 id of tags.csv without a photo: gone; restore the photos" in self.said(wsss)

    def test_ids_with_a_suffix(self, box: Shoebox, wsss) -> None:
        box.tags = {f"{id}.jpg": names for id, names in box.tags.items()} | {"p00": ("cat",), "p01": ("dog",)}
        box.tags |= {"p02": ("dog",), "p03": ("cat",)}
        box.write()
        assert "12 ids of tags.csv end in a suffix ('p00.jpg'); write ids without it" in self.said(wsss)

    def test_a_photo_that_cannot_be_read(self, box: Shoebox, wsss) -> None:
        (box.photos / "p03.jpg").write_bytes(b"no image")
        assert "photos/p03.jpg cannot be read: not an image of a known kind; copy it again" in self.said(wsss)

    def test_two_photos_of_one_id(self, box: Shoebox, wsss) -> None:
        box.paint("p03", suffix=".png")
        assert "photos/p03.jpg, photos/p03.png: several photos of one id (p03)" in self.said(wsss)

    def test_two_rows_of_one_id(self, box: Shoebox, wsss) -> None:
        with box.table.open("a") as file:
            file.write("p03,dog\n")
        assert "tags.csv: id p03: has another row of tags in line 14; keep one row an id" in self.said(wsss)

    def test_a_class_with_no_photo(self, box: Shoebox, wsss) -> None:
        Path("classes.txt").write_text("cat\ndog\nzebra\n")
        assert "no photo has the tag zebra; tag some, or take it out of classes.txt" in self.said(wsss)

    def test_left_out_when_asked_for(self, box: Shoebox, wsss) -> None:
        (box.photos / "p03.jpg").write_bytes(b"no image")
        said = wsss("init", "photos", "--broken", "drop")[1]
        assert "p03.jpg cannot be read" in said and "wsss run will stop" not in said
        assert written().recipes["datasets"]["photos"].broken == "drop"
        assert wsss("check")[0] == 0

    def test_nothing_to_learn_from(self, box: Shoebox, wsss) -> None:
        box.table.write_text("id,labels\np00,cat\np01,dog\n")
        assert "at least 2 and 1 are needed: tag more photos" in wsss("init", "photos")[2]


class TestChoices:
    """Numbers that fit what was found."""

    def test_those_that_were_measured(self, box: Shoebox) -> None:
        """1,400 photos of 320 pixels on a CPU: benchmarks/RESULTS.md."""
        found = survey(Path("photos"))
        ids = [f"a{k}" for k in range(1625)]
        many = replace(
            found,
            files={id: [Path(id)] for id in ids},
            tags={id: ("cat",) for id in ids},
            sizes={id: (320, 240) for id in ids},
            splits={"train": tuple(ids[:1400]), "val": tuple(ids[1400:])},
        )
        chosen = choose(many, CPU, TRAINED)
        assert (chosen.crop, chosen.long_side, chosen.batch, chosen.epochs) == (224, (192, 320), 16, 6)
        assert (chosen.more_epochs, chosen.network_epochs, chosen.steps, chosen.side) == (1, 8, 64, 320)
        assert (chosen.train, chosen.val) == (1400, 225)
        assert choose(many, CPU, NONE).epochs > 2 * chosen.epochs  # from nothing it takes longer

    @pytest.mark.parametrize(("size", "machine", "side", "steps"), [
        ((64, 48), CPU, 64, 8), ((96, 96), CPU, 96, 8), ((500, 375), CPU, 320, 64), ((500, 375), GPU, 480, 128),
        ((4000, 3000), GPU, 512, 256), ((3000, 4000), CPU, 320, 64), ((40, 30), CPU, 64, 8),
    ])  # fmt: skip
    def test_sizes(self, box: Shoebox, size, machine: Machine, side: int, steps: int) -> None:
        found = survey(Path("photos"))
        chosen = choose(replace(found, sizes={id: size for id in found.files}), machine, TRAINED)
        assert (chosen.side, chosen.steps) == (side, steps)
        assert chosen.crop % 32 == 0 and chosen.crop // 4 >= 2 * chosen.radius
        assert chosen.long_side[0] <= chosen.long_side[1] == side
        assert any("photos are large" in note for note in chosen.notes) == (max(size) > 2000)

    def test_quick_is_small_and_short(self, box: Shoebox, wsss) -> None:
        assert wsss("init", "photos", "--quick")[0] == 0
        config = written()
        assert list(config.recipes["classifiers"]) == ["vanilla"] and not config.recipes["affinity"]
        network = config.recipes["segmenters"]["vanilla"]
        assert network.crop <= 128 and network.epochs <= 12 and network.pretrained is False

    def test_with_weights_the_whole_chain(self, box: Shoebox, wsss, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wsss_init(), "choose_weights", lambda *given: TRAINED)
        monkeypatch.setattr(wsss_init(), "this_machine", lambda: GPU)
        said = wsss("init", "photos")[1]
        config = written()
        assert config.recipes["cams"]["walk"].steps == 8 and config.recipes["segmenters"]["walk"].masks == "walk"
        assert {
            r.pretrained for k in ("classifiers", "affinity", "segmenters") for r in config.recipes[k].values()
        } == {"w.safetensors"}
        assert config.workstation.gpus == 2 and "no ImageNet weights" not in said

    def test_every_class_is_trained_on(self, box: Shoebox) -> None:
        """A rare class is drawn for validation by some seeds; those are passed over."""
        found = survey(Path("photos"))
        rare = next(id for id in draw_splits(found.wanted, 0.2, 0)["val"])
        found = replace(found, tags={**found.tags, rare: ("cat", "newt")}, classes=("cat", "dog", "newt"))
        share, seed, splits = split(found)
        assert seed > 0 and rare in splits["train"] and splits == draw_splits(found.wanted, share, seed)
        assert set(found.per_class(splits["train"])) == {"cat", "dog", "newt"}

    def test_power(self) -> None:
        assert [power(n) for n in (1, 2, 3, 4, 31, 32, 33)] == [1, 2, 2, 4, 16, 32, 32]


def wsss_init():
    return wsss.cli.init


class TestWeights:
    @pytest.fixture
    def file(self, box: Shoebox) -> Path:
        import timm
        from safetensors.torch import save_file

        Path("weights").mkdir()
        path = Path("weights/test_resnet.safetensors")
        save_file(timm.create_model("test_resnet").state_dict(), path)
        return path

    def test_given(self, file: Path) -> None:
        assert choose_weights("cpu", file, None, []) == Weights("test_resnet", str(file), f"{file} (given)")
        assert choose_weights("cpu", file, "test_resnet", []).backbone == "test_resnet"

    def test_given_but_of_another_network(self, file: Path) -> None:
        with pytest.raises(WsssError, match="these weights do not fit the backbone"):
            choose_weights("cpu", file, "test_vit", [])

    def test_given_but_missing_or_nameless(self, file: Path) -> None:
        with pytest.raises(WsssError, match="--weights no.pth: there is no such file"):
            choose_weights("cpu", Path("no.pth"), None, [])
        with pytest.raises(WsssError, match="name the network with --backbone"):
            choose_weights("cpu", file.rename("mine.safetensors"), None, [])
        with pytest.raises(WsssError, match="timm has no such model"):
            choose_weights("cpu", None, "resnet51", [])

    def test_found(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wsss.cli.machine.hub", lambda backbone: None)
        assert choose_weights("cpu", None, None, [Path(".")]).pretrained == str(file)
        file.write_bytes(b"no weights")
        assert choose_weights("cpu", None, None, [Path(".")]) == replace(
            choose_weights("cpu", None, None, []), backbone="resnet10t", pretrained=False
        )

    def test_from_the_hub_only_if_it_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wsss.cli.machine.hub", lambda backbone: "cached")
        assert choose_weights("cuda", None, None, []) == Weights("resnet50", True, "the hub of timm (cached)")
        assert choose_weights("cpu", None, None, []).backbone == "mobilenetv2_100"

    def test_names(self) -> None:
        assert model_of(Path("resnet50.a1_in1k.safetensors")) == "resnet50"
        assert model_of(Path("mine.pth")) is None


@pytest.mark.skipif(not ANIMALS.is_dir(), reason="the animals of ../shared are not here")
def test_the_animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wsss) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wsss_init(), "choose_weights", lambda *given: TRAINED)
    code, said, _ = wsss("init", ANIMALS / "images")
    assert code == 0 and "problem" not in said
    config = written()
    animals, vanilla = config.recipes["datasets"]["animals"], config.recipes["classifiers"]["vanilla"]
    assert [Path(path).name for path in (animals.classes, animals.masks, animals.train)] == [
        "classes.txt", "masks", "train.txt",
    ]  # fmt: skip
    assert (vanilla.epochs, vanilla.crop, config.recipes["cams"]["walk"].steps) == (6, 224, 64)
