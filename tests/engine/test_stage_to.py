"""``stage_to``: a training that copies its images to a disk of the node is the same training."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.engine.tiny_training import SMALL
from wsss.data.index import Index, write_index
from wsss.settings import VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.store.manifest import write_manifest
from wsss.system.files import write_json


@pytest.fixture
def with_digests(tiny_index, tmp_path):
    """The same index, with the digests that the stage writes into one."""
    index, folder = Index.load(tiny_index), tmp_path / "index"
    folder.mkdir()
    items = [replace(one, sha256=hashlib.sha256(one.image.read_bytes()).hexdigest()) for one in index.items]
    write_index(folder, index.classes, items)
    write_json(folder / "report.json", {"dataset": "tiny", "dropped": []})
    write_manifest(folder, {"stage": "index"})
    return folder


def test_weights_and_identity_are_the_same_with_and_without_copies(with_digests, make_run, tmp_path, monkeypatch):
    """With two loader processes, on an empty disk, on one that has the copies, and where the variable is not set."""
    monkeypatch.setenv("NODE", str(tmp_path / "node"))
    made, identities = {}, set()
    for name, stage_to in {"plain": None, "first": "$NODE", "again": "$NODE", "unset": "$NOWHERE"}.items():
        settings = VanillaSettings(**SMALL, augment=("colour-jitter",), stage_to=stage_to)
        run = make_run(settings, {"index": with_digests}, name)
        run.args.threads = 3
        train_classifier(run)
        made[name] = (run.out / "model.safetensors").read_bytes()
        identities.add(run.identity)
    assert made["plain"] == made["first"] == made["again"] == made["unset"]
    assert len(identities) == 1
    digests = {item.sha256 for item in Index.load(with_digests).labelled("train")}
    assert {path.name for path in (tmp_path / "node").rglob("*") if path.is_file()} == digests
