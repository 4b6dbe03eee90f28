"""Messages of stages, networks and ``wsss`` that no other test reaches."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tests.engine.process_group import free_port
from wsss.compute.devices import device_type
from wsss.data.index import Item, write_index
from wsss.errors import WsssError
from wsss.explain.seeds import SeedMaker
from wsss.models.backbone import create_backbone
from wsss.models.classifier import Classifier as Network
from wsss.models.encoder import create_encoder
from wsss.models.guided import Guided
from wsss.models.segmenter import Segmenter
from wsss.parts.maps import Parts
from wsss.runtime.program import Stage
from wsss.runtime.run import Run
from wsss.runtime.shard import Shard, locked, owner
from wsss.settings import (
    AffinityLabelSettings,
    AffinitySettings,
    C2amSettings,
    CamsSettings,
    Classifier,
    ExplanationSettings,
    SaliencyMapSettings,
    SaliencyMaskSettings,
    SegmenterSettings,
)
from wsss.stages.affinity import make as train_affinity
from wsss.stages.affinity_labels import AffinityLabelWriter
from wsss.stages.explanation import make as write_explanations
from wsss.stages.explanations import read_explained
from wsss.stages.saliency import Hints
from wsss.stages.saliency import make as train_saliency
from wsss.stages.saliency_maps import make as write_saliency_maps
from wsss.stages.saliency_masks import SaliencyMaskWriter
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapWriter
from wsss.store.weights import save_weights
from wsss.system.files import write_json
from wsss.system.gpus import claim_gpu
from wsss.system.launch import World
from wsss.system.rendezvous import joined
from wsss.workflow.chain import Chain

ROOT = Path(__file__).resolve().parents[2]


def run(at: Path, settings: object, labels: tuple[int, ...] = (), **inputs: Path) -> Run:
    """A run on an index of one training image without a mask."""
    index = at / "index"
    index.mkdir()
    Image.new("RGB", (5, 4)).save(index / "a.png")
    write_index(index, ("cat",), [Item("a", "train", index / "a.png", None, 4, 5, labels, False)])
    write_json(index / "report.json", {})
    write_manifest(index, {"stage": "index"})
    args = SimpleNamespace(out=at, state=None, seed=0, threads=1, device="cpu")
    return Run(args, settings, {"index": index, **inputs}, "segmenter")


def flags(*given: str, **options: object) -> object:
    stage = Stage("", settings=Classifier, **options)
    return stage._read_settings(stage.parser.parse_args(["--out", "out", *given]))


def several(at: Path) -> object:
    stage = Stage("", scattered=True)
    args = stage.parser.parse_args(["--out", "out"])
    return stage._team(args)


def chain() -> Chain:
    Path("config.yaml").write_text("dataset: a\ndatasets: {a: {kind: scenes}}\n")
    return Chain.read([])


def hints(at: Path) -> object:
    store = SimpleNamespace(full=lambda id: np.ones((1, 9, 9), np.float32), folder=at)
    return Hints(store)(Item("a", "train", at / "a.png", None, 4, 5, (0,), False))


def no_folder(at: Path) -> object:
    (at / "file").touch()
    return claim_gpu(2, World(), at / "file")


def listed(at: Path) -> object:
    (at / "my.yaml").write_text("- 1\n")
    return flags("--settings", "my.yaml")


def unfit(at: Path) -> object:
    """Two parts of maps whose networks had different strides."""
    shards = [SimpleNamespace(path=at / f"{n}.h5", attributes=FORM | {"stride": n}) for n in (8, 16)]
    return Parts.format(SimpleNamespace(_shards=shards))  # type: ignore[arg-type]


def item(at: Path) -> Item:
    """A picture that is no longer as large as the index has it."""
    Image.new("RGB", (9, 9)).save(at / "a.png")
    return Item("a", "train", at / "a.png", None, 4, 5, (0,), False)


def store(at: Path) -> object:
    return SimpleNamespace(full=lambda id: np.ones((1, 4, 5), np.float32), folder=at)


def unsuited(at: Path) -> object:
    """Maps of a network of probabilities, to be made by the rule for logits."""
    about = {"kind": "saliency-net", "architecture": "unet", "backbone": "test_resnet", "output_stride": 32}
    save_weights(at / "model.safetensors", Segmenter("unet", "test_resnet", 1, 32).state_dict(), about)
    write_manifest(at, {})
    return write_saliency_maps(run(at, SaliencyMapSettings(activation="relu"), saliency=at))


def diverged(at: Path) -> object:
    network = Network("test_resnet", 2).eval()
    torch.nn.init.constant_(network.head.weight, torch.nan)
    maker = SeedMaker(network, CamsSettings(classifier="x"), 2, 0)
    return maker(torch.zeros(1, 3, 64, 64), [item(at)])


def last(at: Path) -> object:
    network = Network("test_resnet", 2)
    network.backbone.output_fmt = "NHWC"
    return Guided(network, "backbone.layer3")


def half_explained(at: Path) -> object:
    write_manifest(at, {"seed": 0, "inputs": {}})
    return read_explained(at)


FORM = {"scales": np.ones(1), "flip": False, "stride": 8, "round_to": 8, "relative": 1}
MISTAKES: dict[str, Callable[[Path], object]] = {
    "--settings no.yaml: neither a JSON object nor a readable file": lambda at: flags("--settings", "no.yaml"),
    "--settings: neither JSON nor YAML: ": lambda at: flags("--settings", "{a: [1}"),
    "--settings: objective: missing (allowed: vanilla, ": lambda at: flags(),
    "--settings: objective: unknown objective 'vanila'; did you mean 'vanilla'?": lambda at: flags(
        "--settings", '{"objective": "vanila"}'
    ),
    "--settings must be a mapping, not list": listed,
    "16.h5 has another format than 8.h5; delete the folder": unfit,
    "this stage runs as one process, but 2 were started together; give each job its share by --shard I/N": several,
    "is no folder that config.yaml makes (results/DATASET/sSEED/KIND/NAME)": lambda at: chain().at("results/a/b/c/d/e"),
    "no stage writes into a folder 'pictures'": lambda at: chain().at("results/a/s0/pictures/b"),
    "config.yaml has no 'explanations'": lambda at: chain().wanted("explain"),
    "file: the locks of GPUs cannot be written (File exists); set TMPDIR": no_folder,
    "deeplabv3plus on test_resnet with output stride 32: ": lambda at: Segmenter("deeplabv3plus", "test_resnet", 2, 32),
    "'supervision: masks' needs true masks, and no training image has one": lambda at: train_segmenter(
        run(at, SegmenterSettings(supervision="masks"))
    ),
    "--masks: name the folder of pseudo masks to learn from": lambda at: train_segmenter(
        run(at, SegmenterSettings(masks="m"))
    ),
    "index: no training image has a tag; see report.json": lambda at: train_saliency(run(at, C2amSettings())),
    "index: no training image has a label; see report.json there": lambda at: train_affinity(
        run(at, AffinitySettings(cams="c"))
    ),
    "are of a 9 x 9 image": hints,
    "a.png is now 9 x 9; build the index again": lambda at: AffinityLabelWriter(
        store(at), None, None, AffinityLabelSettings()
    )(item(at)),
    "a.png is 9 x 9, in the index 4 x 5; build the index and the maps again": lambda at: SaliencyMaskWriter(
        store(at), None, SaliencyMaskSettings()
    )(item(at)),
    "activation: a saliency network gives probabilities; use sigmoid": unsuited,
    "cam: the map of image 'a' holds NaN or infinity; see that the classifier's training": diverged,
    "index: there are no images in the split val; explain the other one": lambda at: write_explanations(
        run(at, ExplanationSettings(classifier="c"))
    ),
    "no whole explanations (FileNotFoundError": half_explained,
    "guidance_layer 'backbone.layer3': the layers of this backbone put channels last": last,
}
"""The words -> what provokes them, in an empty folder."""


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_named(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if said.startswith("this stage"):
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_ADDR", "localhost")
        monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(WsssError, match=re.escape(said)):
        MISTAKES[said](tmp_path)


@pytest.mark.parametrize("share", [None, Shard(0, 2)])
def test_results_of_another_user(share: Shard | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not write there is told whose the folder is. Patched, for nothing is forbidden to root."""

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("wsss.runtime.shard.owner", lambda path: "anna")
    said = "p-noc: these are the results of another user (anna), and you may not write here; ask them to share the"
    with pytest.raises(WsssError, match=re.escape(said)), locked(tmp_path / "p-noc", share):
        pass


def test_the_owner_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, of the folder where there is no such file yet, and as a number where the user has no name here."""
    (tmp_path / "file").touch()
    assert owner(tmp_path / "file") == owner(tmp_path / "none") == (tmp_path / "file").owner()

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("wsss.runtime.shard.pwd.getpwuid", unknown)
    assert owner(tmp_path / "file") == str((tmp_path / "file").stat().st_uid)


def test_a_part_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Maps that lie among the parts of an artefact and are of another one are not taken in."""
    path = tmp_path / "parts" / "0123456789abcdef" / "rest-0.h5"
    path.parent.mkdir(parents=True)
    with MapWriter(path, scales=(1.0,), flip=False, stride=16, attributes={"key": "other"}) as writer:
        writer.add("a", [0], (32, 32), [np.ones((1, 2, 2), np.float32)])
    assert "a" not in Parts(path.parent, alone=True, tag="rest") and not path.exists()
    said = f"rest-0.h5 is made again: {path} was made with other settings, inputs or versions\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("make", [create_backbone, create_encoder])
def test_weights_that_cannot_be_fetched(make: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WsssError, match=r"its weights could not be fetched \(no route to host\)"):
        make("test_resnet", 16, True)


def test_a_stride_that_no_stage_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WsssError, match="output stride 16 or its stages' maps are not offered by this network"):
        create_encoder("vgg11", 16, False)


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WsssError, match="--device cuda: torch sees no GPU here"):
        device_type("cuda")


def test_too_many_for_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsss.system.gpus.MOST", 0)
    with pytest.raises(WsssError, match="0 processes use each of the 2 GPUs; wait for some of them"):
        claim_gpu(2, World(), tmp_path)


@pytest.mark.parametrize(
    ("rank", "said"),
    [(0, "only 1 of 2 processes came to 127.0.0.1, port "), (1, "cannot meet the others at 127.0.0.1")],
)
def test_processes_that_do_not_meet(rank: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsss.system.rendezvous.MEETING", 1.0)
    with pytest.raises(WsssError, match=said), joined(World(rank, 2, port=free_port()), lambda: "gloo"):
        pass


def test_ctrl_c() -> None:
    program = (
        "from pathlib import Path\nfrom wsss.system.exit import orderly\n"
        "with orderly('x.py', Path('out')): raise KeyboardInterrupt"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "x.py: stopped by Ctrl-C; the same command goes on from what is saved\n"
