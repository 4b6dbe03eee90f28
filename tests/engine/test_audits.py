"""Audits in the chain: the stage that attacks, its resume and shards, and the table of audits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from wsss.beyond.auditing import succeeded
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.models.classifier import Classifier
from wsss.models.segmenter import Segmenter
from wsss.parts.units import read_unit
from wsss.runtime.shard import Shard
from wsss.settings import AuditSettings
from wsss.stages.audit import make as write_audit
from wsss.stages.audits import make as write_table
from wsss.stages.audits import read_audited
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights
from wsss.system.exit import Interrupted

FEW = {"eps": [8], "steps": 2, "images": 3, "grid": 8, "pictures": 1, "split": "val"}


def settled(network: torch.nn.Module) -> torch.nn.Module:
    """With statistics that a training would have left."""
    for module in network.eval().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
            module.running_mean.normal_(0, 0.1)
    return network


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, Path]:
    torch.manual_seed(0)
    made = {
        "classifier": settled(Classifier("test_resnet", 2, 8)),
        "segmenter": settled(Segmenter("fpn", "test_resnet", 3)),
    }
    last = made["segmenter"].network.segmentation_head[0]
    torch.nn.init.normal_(last.weight, 0, 1)
    torch.nn.init.zeros_(last.bias)
    folders = {}
    for kind, network in made.items():
        folders[kind] = tmp_path_factory.mktemp("audited") / kind
        folders[kind].mkdir()
        about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "green"]}
        if kind == "segmenter":
            about |= {"architecture": "fpn", "output_stride": 32, "atrous_rates": [6, 12, 18]}
        save_weights(folders[kind] / "model.safetensors", network.state_dict(), about)
        write_manifest(folders[kind], {})
    return folders


def start(make_run, tiny_index, networks, kind="segmenter", name="audited", **how):
    settings = AuditSettings.read({kind: "x", **FEW, **how})
    return make_run(settings, {"index": tiny_index, kind: networks[kind]}, name)


def audit(make_run, tiny_index, networks, kind="segmenter", name="audited", shard=None, **how):
    run = start(make_run, tiny_index, networks, kind, name, **how)
    if shard:
        run.shard = shard
    write_audit(run)
    if not shard:
        facts = {"seed": 0, "settings": run.settings.model_dump(mode="json")}
        write_manifest(run.out, json.loads(json.dumps(facts, default=str)) | run.facts | run.recorded)
    return run.out


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "audit.csv").open()))


def test_what_is_written_hangs_together(make_run, tiny_index, networks):
    out = audit(make_run, tiny_index, networks, keep_images=True, eps=[2, 8])
    rows, told = rows_of(out), json.loads((out / "metrics.json").read_text())
    images = {row["image"] for row in rows}
    assert len(images) == told["images"] and len(images) + len(told["without_object"]) == 3 and images
    assert len(rows) == len(images) * (1 + 2 * 3)
    for row in rows:
        linf, size = float(row["linf"]), float(row["eps"])
        assert linf <= size + 1e-3, "within eps, in whole 255ths"
        if row["condition"] == "clean":
            same = ("agreement", "region_iou", "cosine_clean", "spearman", "top_kept", "ssim")
            assert [float(row[name]) for name in same] == [pytest.approx(1, abs=1e-5)] * 6 and linf == 0
        if row["condition"] == "noise":
            (attack,) = (
                r for r in rows if (r["image"], r["eps"], r["condition"]) == (row["image"], row["eps"], "attack")
            )
            assert linf == pytest.approx(float(attack["linf"]), abs=1e-3)
    with h5py.File(out / "perturbed.h5") as file:
        assert file.attrs["eps"].tolist() == [2, 8] and set(file["images"]) == images
        for item in Index.load(tiny_index).items:
            if item.id in images:
                change = file["images"][item.id][()].astype(int) - np.array(Image.open(item.image))
                assert [np.abs(one).max() <= eps for one, eps in zip(change, (2, 8), strict=True)] == [True, True]
    for one in told["sizes"]:
        mine = [float(r["spearman"]) for r in rows if r["condition"] == "noise" and float(r["eps"]) == one["eps"]]
        assert one["fragility"] == pytest.approx(1 - np.mean(mine), abs=1e-5)
    assert Image.open(out / "pictures.png").size[0] > 100 and told["unsteerable"] == 0


@pytest.mark.parametrize(
    ("explainer", "goal", "more"),
    [
        ("cam", "other-image", {}),
        ("smooth-grad", "top-k", {"explainer_options": {"n": 2}}),
        ("grad-cam", "centre", {"optimizer": "adam", "step_size": 1}),
        ("hires-cam", "uniform", {"layers": ["backbone.layer3", "backbone.layer4"]}),
        ("gradient-x-input", "inverted", {"smooth_beta": 5}),
        ("gradient", "output", {}),
        ("minmax-cam", "box", {}),
    ],
)
def test_every_way_on_a_classifier(explainer, goal, more, make_run, tiny_index, networks):
    out = audit(make_run, tiny_index, networks, "classifier", explainer=explainer, goal=goal, **{"images": 2, **more})
    told = json.loads((out / "metrics.json").read_text())
    assert told["images"] == 2 and told["unsteerable"] == 0
    attack = told["sizes"][0]["attack"]
    assert attack["agreement"] is not None and attack["miou_change"] is None and 0 < attack["rms"] <= 8
    assert (attack["cosine_target"] is None) == (goal in ("top-k", "centre", "output"))
    assert told["seeds"]["images"] == 2 and set(told["seeds"]["miou"]) == {"clean", "attack 8", "noise 8", "shuffled 8"}


def test_killed_and_shared_audits_are_those_of_one_run(make_run, tiny_index, networks, monkeypatch):
    how = {"goal": "other-image", "explainer": "seg-grad-cam"}
    whole = audit(make_run, tiny_index, networks, name="whole", **how)
    for number in range(2):
        audit(make_run, tiny_index, networks, name="shared", shard=Shard(number, 2), **how)
    monkeypatch.setattr("wsss.stages.audit.open_network", lambda *_: pytest.fail("made again"))
    shared = audit(make_run, tiny_index, networks, name="shared", **how)
    monkeypatch.undo()
    run, stops = start(make_run, tiny_index, networks, name="killed", **how), 0

    def kill_after_each(original=run.check_stop):
        original()
        if len(list(run.out.rglob("*.h5"))) > stops:
            run.stop = "a test"

    monkeypatch.setattr(run, "check_stop", kill_after_each)
    while True:
        run.stop = None
        try:
            write_audit(run)
            break
        except Interrupted:
            stops += 1
    assert stops >= 2
    for name in ("audit.csv", "metrics.json", "pictures.png"):
        assert (whole / name).read_bytes() == (shared / name).read_bytes() == (run.out / name).read_bytes(), name


def test_a_damaged_part_is_made_again(make_run, tiny_index, networks):
    audit(make_run, tiny_index, networks, name="parts", shard=Shard(0, 1))
    run = start(make_run, tiny_index, networks, name="parts")
    parts = sorted(run.out.rglob("*.h5"))
    before = read_unit(parts[0]).told
    parts[0].write_bytes(b"half")
    run.shard = Shard(0, 1)
    write_audit(run)
    after = read_unit(parts[0]).told
    if before is not None:
        assert before.pop("seconds") > 0 and after.pop("seconds") > 0
    assert after == before


def test_relus_that_are_not_softened_leave_gradients_without_a_derivative(make_run, tiny_index, networks, capfd):
    out = audit(make_run, tiny_index, networks, "classifier", explainer="gradient", beta=None, images=2)
    told = json.loads((out / "metrics.json").read_text())
    assert told["unsteerable"] == told["images"] > 0
    assert "second derivatives of ReLUs vanish" in capfd.readouterr().err


def test_detectors_are_tried_and_the_table_shows_all(make_run, tiny_index, networks):
    out = audit(make_run, tiny_index, networks, name="a", detector=True, images=4, explainer="seg-hires-grad-cam")
    told = json.loads((out / "metrics.json").read_text())
    conditions = [row["condition"] for row in csv.DictReader((out / "detection.csv").open())]
    assert conditions == ["clean", "attack", "output", "adaptive"] * told["images"]
    assert sum(told["detector"]["images"]) == told["images"]
    other = audit(make_run, tiny_index, networks, name="b", explainer="seg-grad-cam")
    run = make_run(None, {"index": tiny_index, "audits.0": out, "audits.1": other}, "table")
    run.args.dataset = "tiny"
    write_table(run)
    page = (run.out / "audits.md").read_text()
    attack = told["sizes"][0]["attack"]
    assert f"| {100 * attack['success']:.1f} (" in page and "| b | seg-grad-cam |" in page
    assert "From the most to the least fragile at eps 8" in page and "What the attacks did" in page
    assert ("maps, fitted on attack" in page) == bool(told["detector"]["results"])
    rows = list(csv.DictReader((run.out / "audits.csv").open()))
    (agreed,) = (r for r in rows if (r["recipe"], r["condition"], r["metric"]) == ("a", "attack", "agreement"))
    assert float(agreed["value"]) == pytest.approx(attack["agreement"], abs=1e-6)
    (other / "metrics.json").unlink()
    with pytest.raises(WsssError, match="no whole audit"):
        read_audited(other)


def test_success_is_judged_beside_the_noise():
    clean, noise = {"cosine_target": 0.1}, {"agreement": 0.98}
    row = {"agreement": 0.976, "region_iou": 0.96, "cosine_target": 0.41, "top_kept": 0.4, "shift": 0.2}
    assert succeeded("box", row, noise, clean, 0.005) and succeeded("top-k", row, noise, clean, 0.005)
    assert succeeded("centre", row, noise, clean, 0.005) and not succeeded("output", row, noise, clean, 0.005)
    for changed in ({"agreement": 0.97}, {"region_iou": 0.9}, {"cosine_target": 0.39}):
        assert not succeeded("box", row | changed, noise, clean, 0.005)
    assert not succeeded("top-k", row | {"top_kept": 0.5}, noise, clean, 0.005)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either 'classifier: NAME' or 'segmenter: NAME'"),
        ({"classifier": "a", "segmenter": "b"}, "either 'classifier: NAME' or 'segmenter: NAME'"),
        ({"classifier": "a", "explainer": "seg-grad-cam"}, "does not explain classifiers"),
        ({"segmenter": "a", "explainer": "cam"}, "does not explain segmentation networks"),
        ({"segmenter": "a", "explainer": "smooth-grad", "explainer_options": {"m": 3}}, "no option 'm'"),
        ({"classifier": "a", "explainer": "cam", "layers": ["x"]}, "leave 'layers' out"),
        ({"classifier": "a", "beta": {"start": 9, "end": 2}}, "'beta' falls"),
        ({"classifier": "a", "eps": [2, 2]}, "names a size twice"),
        ({"classifier": "a", "explainer": "occlusion"}, "Input should be"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(ValueError, match=said):
        AuditSettings.read(settings)


def test_what_cannot_be_audited_is_said(make_run, tiny_index, networks):
    run = start(make_run, tiny_index, networks)
    run.inputs = {"index": tiny_index, "classifier": networks["classifier"]}
    with pytest.raises(WsssError, match="the settings name a segmenter"):
        write_audit(run)
    with pytest.raises(WsssError, match="there is no other image"):
        audit(make_run, tiny_index, networks, name="one", goal="other-image", images=1)
    with pytest.raises(WsssError, match="has no layer 'layer9'"):
        audit(make_run, tiny_index, networks, "classifier", "layer", explainer="hires-cam", layers=["layer9"])
