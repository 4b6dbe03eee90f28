"""``storage: packed``: the same chain of stage programs, once with masks as files and once in packs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.programs import program
from tests.workflow.test_rules import at, rules, said
from wsss.cli import main
from wsss.data.index import Index
from wsss.provenance import outputs
from wsss.settings import WITHOUT_EFFECT
from wsss.steps import STEPS
from wsss.store.manifest import read_manifest, write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.system.packs import is_packed

WRITERS = {
    *("saliency_masks", "affinity_labels", "predictions"),
    *("masks", "vote", "choice", "segmenter_masks", "regions", "external_masks"),
}
"""Stages that write a mask for each image."""


def test_the_setting_becomes_a_flag_of_the_stages_that_write_masks() -> None:
    assert {rule for rule in STEPS if program(rule)[0].stores_masks} == WRITERS and "storage" in WITHOUT_EFFECT
    made = rules("{masks: {packed: {cams: p-noc, storage: packed}}, defaults: {affinity: {labels: {storage: packed}}}}")
    for wildcards, packed in (
        (at("masks", "packed"), True),
        (at("masks"), False),
        (at("affinity-labels"), True),
        (at("affinity"), False),
        (at("cams"), False),
    ):
        words = said(made, wildcards)
        assert (".py --storage packed " in words) == packed and '"storage"' not in words


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of scenes, and maps and saliency that are the truth and noise."""
    folder = tmp_path_factory.mktemp("packed")
    scenes = {"kind": "scenes", "train": 8, "val": 3, "size": 64, "classes": 2}
    call("index", folder / "index", scenes, "--dataset", "scenes")
    index, rng = Index.load(folder / "index"), np.random.default_rng(0)
    for name in ("cams", "saliency"):
        (folder / name).mkdir()
        about = {"relative": int(name == "cams")}
        with MapWriter(
            folder / name / shard_name(0, 1), scales=(1.0,), flip=False, stride=8, attributes=about
        ) as writer:
            for item in index.items:
                classes = item.labels if name == "cams" else (0,)
                writer.add(item.id, classes, (item.height, item.width), [rng.random((len(classes), 8, 8))])
        write_manifest(
            folder / name, {"stage": name, "settings": {"splits": ["train", "val"]}, "seed": 0, "inputs": {}}
        )
    return folder


def call(stage: str, out: Path, settings: dict[str, Any] | None, *words: str | Path) -> Path:
    """Run a stage's program in this process."""
    given = [] if settings is None else ["--settings", json.dumps(settings)]
    line, make = program(stage)
    line.main([*map(str, words), *given, "--out", str(out), "--threads", "1", "--device", "cpu"], make)
    return out


def chain(base: Path, storage: str) -> Path:
    """Every stage that writes masks but ``regions``, each of what the one before has made; a network that learns from
    them, and scores."""
    top, index = base / storage, ("--index", base / "index")
    both = {"splits": ["train", "val"]}

    def masks(stage: str, name: str, settings: dict[str, Any], *words: str | Path) -> Path:
        return call(stage, top / name, settings, *index, *words, "--storage", storage)

    plain = masks("masks", "plain", {"cams": "a", "crf": None, **both}, "--cams", base / "cams")
    mixed = {"cams": "a", "saliency": "b", "crf": None, **both}
    salient = masks("masks", "salient", mixed, "--cams", base / "cams", "--saliency", base / "saliency")
    voted = masks("vote", "voted", {"source": "vote", "members": ["a", "b"], **both}, "--members", plain, salient)
    choice = {"source": "choice", "members": ["a", "b", "c"], "by": "masks", "calibration_images": 4, **both}
    best = masks("choice", "best", choice, "--members", plain, salient, voted)
    taken = masks("external_masks", "taken", {"source": "external", "path": str(best / "masks"), **both})
    masks("affinity_labels", "labels", {"crf": None}, "--cams", base / "cams", "--saliency", base / "saliency")
    masks("saliency_masks", "saliency-masks", {"crf": None}, "--maps", base / "saliency")
    small = {"crop": 64, "long_side": [64, 64], "epochs": 1, "batch_size": 4, "pretrained": False, "lr": 1e-3}
    learnt = {"masks": "a", "architecture": "fpn", "backbone": "resnet10t", "output_stride": 32, **small}
    network = call("segmenter", top / "network", learnt, *index, "--masks", taken)
    applied = {"scales": [1.0], "flip": False}
    predicted = masks("predictions", "predicted", {**applied, "splits": ["val"]}, "--segmenter", network)
    again = {"source": "segmenter", "segmenters": ["a"], "prior": "b", "crf": None, **applied}
    masks("segmenter_masks", "again", again, "--segmenters", network, "--prior", taken)
    for kind, folder in (("masks", best), ("segmenters", predicted), ("masks", voted)):
        call("scores", top / f"scores {folder.name}", {}, *index, "--artefact", folder, "--kind", kind)
    return top


@pytest.mark.timeout(900)
def test_a_chain_with_packed_masks_has_the_same_scores(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(base)
    loose, packed = chain(base, "png"), chain(base, "packed")
    made = {path.name for path in packed.iterdir() if is_packed(path / "masks")}
    assert made == {"plain", "salient", "voted", "best", "taken", "labels", "saliency-masks", "predicted", "again"}
    assert not list(packed.rglob("*.png")) and not list(loose.rglob("packed.json"))
    for folder in loose.iterdir():
        one, other = (read_manifest(top / folder.name) for top in (loose, packed))
        assert one["content"] == other["content"], folder.name
        assert folder.name == "taken" or one["identity"] == other["identity"], "the path counts, as files of one's own"
    for scores in loose.glob("scores */scores.json"):
        found = json.loads(scores.read_text())
        assert found == json.loads((packed / scores.relative_to(loose)).read_text())
        assert any(0 < split["policies"][""]["miou"] < 1 for split in found["splits"].values())

    capsys.readouterr()
    assert main(["export", "--masks", str(packed / "best"), "--to", "png", "--out", str(tmp_path / "out")]) == 0
    assert "out: 11 masks" in capsys.readouterr().out
    assert len(list((tmp_path / "out").rglob("*.png"))) == 11
    assert outputs.digest(tmp_path / "out") == outputs.digest(loose / "best/masks")
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--masks", "out", "--to", "packed", "--out", "again"]) == 0
    assert is_packed(tmp_path / "again") and outputs.digest(tmp_path / "again") == outputs.digest(tmp_path / "out")
    assert main(["export", "--masks", "out", "--to", "png", "--out", "again"]) == 2
    assert "again: is there already; name another folder with --out" in capsys.readouterr().err
    assert main(["show", str(packed / "best"), "--verify"]) == 0
    assert "all as they were made" in capsys.readouterr().out
    (pack,) = (packed / "best/masks").glob("*.zip")
    content = bytearray(pack.read_bytes())
    content[60] ^= 1
    pack.write_bytes(content)
    assert main(["show", str(packed / "best"), "--verify"]) == 0
    assert "masks is not the one that was made" in " ".join(capsys.readouterr().out.split())
