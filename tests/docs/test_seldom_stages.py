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

from wsss.affinity import train_affinity
from wsss.cli.chain import Chain
from wsss.data.index import Item, write_index
from wsss.devices import device_type
from wsss.errors import WsssError
from wsss.gpus import claim_gpu
from wsss.launch import Team
from wsss.map_parts import Parts
from wsss.models.backbone import create_backbone
from wsss.models.encoder import create_encoder
from wsss.models.segmenter import Segmenter
from wsss.saliency import Hints, train_saliency
from wsss.settings import (
    AffinitySettings,
    C2amSettings,
    Classifier,
    SegmenterSettings,
)
from wsss.stage import Run, Stage
from wsss.store.manifest import write_json, write_manifest
from wsss.train import train_segmenter

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


def chain(path: str) -> object:
    Path("config.yaml").write_text("dataset: a\ndatasets: {a: {kind: scenes}}\n")
    return Chain.read([]).at(path)


def hints(at: Path) -> object:
    store = SimpleNamespace(full=lambda id: np.ones((1, 9, 9), np.float32), folder=at)
    return Hints(store)(Item("a", "train", at / "a.png", None, 4, 5, (0,), False))


def locked(at: Path) -> object:
    (at / "file").touch()
    return claim_gpu(2, Team(), at / "file")


def listed(at: Path) -> object:
    (at / "my.yaml").write_text("- 1\n")
    return flags("--settings", "my.yaml")


def unfit(at: Path) -> object:
    """Two parts of maps whose networks had different strides."""
    shards = [SimpleNamespace(path=at / f"{n}.h5", attributes=FORM | {"stride": n}) for n in (8, 16)]
    return Parts.format(SimpleNamespace(_shards=shards))  # type: ignore[arg-type]


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
    "is no folder that config.yaml makes (results/DATASET/sSEED/KIND/NAME)": lambda at: chain("results/a/b/c/d/e"),
    "no stage writes into a folder 'pictures'": lambda at: chain("results/a/s0/pictures/b"),
    "file: the locks of GPUs cannot be written (File exists); set TMPDIR": locked,
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
    monkeypatch.setattr("wsss.gpus.MOST", 0)
    with pytest.raises(WsssError, match="0 processes use each of the 2 GPUs; wait for some of them"):
        claim_gpu(2, Team(), tmp_path)


def test_ctrl_c() -> None:
    program = (
        "from pathlib import Path\nfrom wsss.ending import orderly\n"
        "with orderly('x.py', Path('out')): raise KeyboardInterrupt"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "x.py: stopped by Ctrl-C; the same command goes on from what is saved\n"
