"""``import wsss``: a trained network on photos of every kind, whole runs, and nothing imported too early."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import wsss
from tests.cli.finished_run import CONFIG, ROOT
from tests.cli.photo_folder import PhotoFolder
from tests.cli.small_network import CLASSES, NETWORK, write_network
from wsss.cli import main
from wsss.data.images import read_image
from wsss.data.palette import VOC_PALETTE
from wsss.errors import WsssError
from wsss.interfaces.predict import overlay
from wsss.store.masks import MaskFolder


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> PhotoFolder:
    """Four photos, one lying on its side, a network, and the masks that the command line makes."""
    root = write_network(tmp_path_factory.mktemp("door"))
    pets = PhotoFolder(root, 2)
    turned = Image.open(pets.paint("farm/turned", 8))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(pets.photos / "farm/turned.jpg", exif=exif)
    pets.paint("beach", 5)
    words = ("predict", str(root / NETWORK), str(pets.photos), "--out", str(root / "masks"), "--device", "cpu")
    assert main([*words, "--threads", "1"]) == 0
    return pets


@pytest.fixture
def network(pets: PhotoFolder, monkeypatch: pytest.MonkeyPatch) -> wsss.Network:
    monkeypatch.chdir(pets.root)
    return wsss.load(NETWORK, device="cpu", threads=1)


def mask(id: str) -> np.ndarray:
    return MaskFolder("masks/masks").read(id)


def test_a_photo_of_any_kind(network: wsss.Network) -> None:
    assert network.classes == tuple(CLASSES) and "mine" in repr(network)
    pixels = read_image("photos/p00.jpg")
    with Image.open("photos/p00.jpg") as opened:
        for photo in ("photos/p00.jpg", Path("photos/p00.jpg"), opened, pixels):
            made = network.predict(photo)
            assert np.array_equal(made.mask, mask("p00")), "the same as the command line's, to the last pixel"
            assert np.array_equal(made.photo, pixels) and made.classes == network.classes
            assert (made.path == Path("photos/p00.jpg")) == isinstance(photo, str | Path)
    with Image.open("photos/farm/turned.jpg") as opened:
        assert np.array_equal(network.predict(opened).mask, mask("farm/turned")), "upright"


def test_several(network: wsss.Network) -> None:
    for photos in ("photos", "photos/**/*.jpg", ["photos/farm", "photos/p0?.jpg", "photos/beach.jpg"]):
        found = network.predict(photos)
        assert sorted(one.path.stem for one in found) == ["beach", "p00", "p01", "turned"]
        for one in found:
            assert np.array_equal(one.mask, mask(one.path.relative_to("photos").with_suffix("").as_posix()))
    assert [len(network.predict(photos)) for photos in (["photos/p00.jpg"], "photos/p0[0].jpg")] == [1, 1]


def test_a_prediction(network: wsss.Network, tmp_path: Path) -> None:
    made = network.predict("photos/p00.jpg")
    path = made.save(tmp_path / "new/p00.png")
    with Image.open(path) as image:
        assert image.mode == "P" and np.array_equal(np.array(image), made.mask)
        assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3), VOC_PALETTE)
    with pytest.raises(WsssError, match="saved as .png"):
        made.save(tmp_path / "p00.jpg")
    assert np.array_equal(np.array(made.overlay()), overlay(made.photo, made.mask))
    assert made._repr_png_()[:4] == b"\x89PNG"
    expected = {
        name: np.mean(made.mask == value) for value, name in enumerate(CLASSES, 1) if (made.mask == value).any()
    }
    assert made.shares == pytest.approx(expected) and list(made.shares.values()) == sorted(expected.values())[::-1]


def test_settings(network: wsss.Network) -> None:
    assert network.settings.scales == (1.0,)
    other = network.predict("photos/p00.jpg", scales=[0.5])
    assert other.mask.shape == mask("p00").shape and not np.array_equal(other.mask, mask("p00"))
    with pytest.raises(WsssError, match="scales"):
        network.predict("photos/p00.jpg", scales=[0])


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        ("no.jpg", "no such folder or photo"),
        ("*.gif", "no photo matches"),
        (np.zeros((4, 4)), "not ndarray float64"),
        (3, "a photo is"),
    ],
)
def test_what_is_no_photo(network: wsss.Network, photo: object, said: str) -> None:
    with pytest.raises(WsssError, match=said):
        network.predict(photo)


def test_networks_by_their_run(network: wsss.Network) -> None:
    for folder in ("results/photos", "results/photos/s0", "results/photos/s0/predictions/mine"):
        assert wsss.load(folder).folder == network.folder
    with pytest.raises(
        WsssError, match="was made by the stage 'classifier'; name the folder of a segmentation network"
    ):
        wsss.load("results/photos/s0/classifiers/plain")
    with pytest.raises(WsssError, match="does not exist"):
        wsss.load("results/photoz")


class TestRun:
    @pytest.fixture(autouse=True)
    def _instead(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """No run is started; what it would have been called with is kept."""
        monkeypatch.chdir(tmp_path)
        self.calls: list[tuple[list[str], str]] = []
        self.code = 0

        def called(words: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
            assert env["PYTHONPATH"].split(":")[0] == str(ROOT)
            self.calls.append((words, Path(words[words.index("--configfile") + 1]).read_text()))
            return subprocess.CompletedProcess(words, self.code)

        monkeypatch.setattr(subprocess, "run", called)

    def test_of_a_file(self, tmp_path: Path) -> None:
        Path("my.yaml").write_text(text := yaml.safe_dump({**CONFIG, "results": "made"}))
        assert wsss.run("my.yaml", "-n", "all_masks") == Path("made")
        words = [
            sys.executable,
            "-m",
            "wsss",
            "run",
            "--configfile",
            str(tmp_path / "my.yaml"),
            "--yes",
            "-n",
            "all_masks",
        ]
        assert self.calls == [(words, text)]

    def test_of_a_mapping(self, tmp_path: Path) -> None:
        (tmp_path / "work").mkdir()
        config = {**CONFIG, "results": "made", "seeds": [1]}
        assert wsss.run(config, folder="work") == Path("work/made")
        assert yaml.safe_load(self.calls[0][1]) == config

    def test_that_fails(self) -> None:
        Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
        self.code = 3
        with pytest.raises(WsssError, match=r"the run failed \(exit code 3\)"):
            wsss.run()

    def test_without_a_file(self) -> None:
        with pytest.raises(WsssError, match="config.yaml: there is no such configuration; wsss init FOLDER"):
            wsss.run()


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, wsss\nassert {'load', 'run', 'Network', '__version__'} <= set(dir(wsss))\n"
        "print([name for name in ('torch', 'numpy', 'pydantic', 'PIL', 'yaml') if name in sys.modules])\n"
        "try:\n    wsss.lod\nexcept AttributeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "module 'wsss' has no attribute 'lod'"]


def test_types_are_shipped() -> None:
    assert (Path(wsss.__file__).parent / "py.typed").is_file()
    assert 'package-data.wsss = ["py.typed", "*.pyi"]' in (ROOT / "pyproject.toml").read_text()


def test_the_page(network: wsss.Network, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Every block of Python of ``docs/python.md``, in order, as it stands there; no run is started."""
    calls: list[list[str]] = []
    monkeypatch.setattr(
        subprocess, "run", lambda words, **more: calls.append(words) or subprocess.CompletedProcess(words, 0)
    )
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.M | re.S):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert Path("beach-mask.png").is_file() and Path("beach-overlay.jpg").is_file()
    assert "photos/p00.jpg" in capsys.readouterr().out and len(calls) == 2
