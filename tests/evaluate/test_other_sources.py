"""Ensembles, votes, saliency and things made elsewhere, from their stages to the summary."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wsss.refine.ensembles import reduced
from wsss.report.panels import paint_saliency
from wsss.report.provenance import fetched_weights, find_artefacts, lineage, read_scored, supervision
from wsss.report.tables import learnt_from
from wsss.store.manifest import read_manifest, write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder


@pytest.fixture
def run(tmp_path, index, little):
    """A run with one classifier's maps and saliency."""
    run = tmp_path / "s0"
    write_manifest(run / "classifiers/plain", {"settings": {"objective": "vanilla", "pretrained": True}, "inputs": {}})
    cams = little.cams(run / "cams/plain", index)
    facts = read_manifest(cams) | {"inputs": {"classifier": {"path": "../../classifiers/plain"}}}
    write_manifest(cams, facts | {"settings": {"source": "classifier", "classifier": "plain", "splits": ["train"]}})
    saliency = run / "saliency-maps/c2am"
    saliency.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with MapWriter(
        saliency / shard_name(0, 1), scales=(1.0,), flip=False, stride=4, attributes={"relative": 0}
    ) as writer:
        for item in index.items:
            truth = np.asarray(Image.open(str(item.image).replace("/images/", "/masks/")))[::4, ::4]
            writer.add(item.id, (0,), (item.height, item.width), [0.9 * (truth > 0)[None] + 0.1 * rng.random()])
    write_manifest(run / "saliency/c2am", {"settings": {"objective": "c2am", "pretrained": True}, "inputs": {}})
    manifest = {"settings": {"scales": [1.0], "splits": ["train", "val"]}, "seed": 0}
    write_manifest(saliency, manifest | {"inputs": {"saliency": {"path": "../../saliency/c2am"}}})
    return run


def test_the_stages_in_a_row(run, tmp_path, index, little):
    common, scored = ["--index", index.folder, "--threads", 1, "--seed", 0], []

    def made(stage, out, settings, *flags):
        little.run_stage(stage, *common, "--settings", json.dumps(settings), "--out", run / out, *flags)
        return run / out

    def score(kind, out):
        given = json.dumps({"calibration_images": 3, "thresholds": 20}) if kind in ("cams", "saliency") else "{}"
        folder = run / "scores" / kind / out.name
        little.run_stage("scores", *common, "--kind", kind, "--artefact", out, "--settings", given, "--out", folder)
        scored.append(folder)
        return folder

    plain, splits = run / "cams/plain", ["train", "val"]
    clip = made(
        "external_cams", "cams/clip", {"source": "external", "path": str(plain), "supervision": "image-text pairs"}
    )
    weights = [score("cams", plain), score("cams", clip)]
    both = made(
        "ensemble", "cams/both", {"source": "ensemble", "members": ["plain", "clip"], "rule": "calibrated"},
        "--members", plain, clip, "--scores", *weights,
    )  # fmt: skip
    score("cams", both)
    score("saliency", run / "saliency-maps/c2am")
    salient = made(
        "masks", "masks/salient", {"cams": "both", "saliency": "c2am", "crf": None},
        "--cams", both, "--saliency", run / "saliency-maps/c2am",
    )  # fmt: skip
    each = made(
        "masks", "masks/each", {"cams": "plain", "crf": None, "threshold": {"policy": "calibrated", "per_class": True}},
        "--cams", plain, "--scores", weights[0],
    )  # fmt: skip
    band = made("masks", "masks/band", {"cams": "plain", "crf": None, "ignore": {}}, "--cams", plain)
    sam = made("external_masks", "masks/sam", {"source": "external", "path": str(each / "masks"), "splits": splits})
    vote = made(
        "vote", "masks/vote", {"source": "vote", "members": ["salient", "sam", "band"]},
        "--members", salient, sam, band,
    )  # fmt: skip
    for masks in (salient, each, band, sam, vote):
        score("masks", masks)
        assert len(MaskFolder(masks / "masks").ids()) == 13

    low = reduced(MapStore(plain).full(index.items[2].id))  # of a store and its copy
    np.testing.assert_allclose(MapStore(both)[index.items[2].id].maps[0], low, atol=1e-6)
    agreement = read_manifest(both)["agreement"][0]
    assert (agreement["a"], agreement["b"], agreement["agreement"], agreement["miou"]) == ("plain", "clip", 1.0, 1.0)

    found = json.loads((run / "scores/masks/salient/scores.json").read_text())["splits"]["val"]["policies"][""]
    assert found["miou"] > 0.5 and "unlabelled" not in found
    found = json.loads((run / "scores/masks/vote/scores.json").read_text())["splits"]["val"]["policies"][""]
    assert 0 < found["unlabelled"] < 0.5 and found["miou_labelled"] > found["miou"]

    assert supervision(clip) == ["image tags", "elsewhere: image-text pairs"]
    assert set(supervision(both)) == {
        "image tags", "ImageNet", "elsewhere: image-text pairs", "3 ground-truth masks (weights of the ensemble)"
    }  # fmt: skip
    assert supervision(sam) == ["elsewhere: not stated"]
    assert {folder.name for folder in lineage(salient)} == {"salient", "both", "plain", "clip", "c2am"}
    pictured = find_artefacts([read_scored(run / "scores/masks/salient")], None)
    assert [(a.kind, a.recipe) for a in pictured] == [("masks", "salient"), ("saliency", "c2am")]
    assert len(find_artefacts([read_scored(folder) for folder in scored], tmp_path)) == 3 + 5 + 1

    little.run_stage("summary", *common, "--results", tmp_path, "--scores", *scored, "--out", tmp_path / "out")
    page = (tmp_path / "out/summary.md").read_text()
    for said in (
        "| clip | val | made elsewhere | calibrated on 3 training masks |",
        "| both | val | calibrated of plain, clip | fixed |",
        "| salient | val | both, saliency c2am | 1 - saliency | no |",
        "| each | val | plain | calibrated, of each class 0.",
        "| band | val | plain | ignore band 0.1–0.4 | no |",
        "| vote | val | majority of salient, sam, band |  |  |",
        "| sam | val | made elsewhere |",
        "## Saliency maps",
        "| c2am | val | fixed | 0.3 | ×1 |",
        "elsewhere: image-text pairs",
        "left out | mIoU of the rest",
        "## Uneven data",
        "head: ",
        "| cams | both | plain | clip | 100.0 | 100.0 |",
        "| masks | vote | salient | sam |",
    ):
        assert said in page, said
    assert "| cams | both | val | fixed |" not in page.split("## Uneven data")[1].split("##")[0]
    with open(tmp_path / "out/summary.csv", newline="", encoding="utf-8") as file:
        table = {tuple(row[2:7]): row[7] for row in csv.reader(file)}
    for metric in ("miou_head", "miou_tail", "iou_size_small", "iou_size_large"):
        assert ("cams", "both", "val", "oracle", metric) in table and ("masks", "vote", "val", "", metric) in table
    assert float(table["cams", "both", "val", "calibrated", "threshold_dog"]) < 1
    with Image.open(tmp_path / "out/panels/s0.png") as image:
        assert np.asarray(image.convert("RGB")).std() > 20


@pytest.fixture
def rounds(run, index, little):
    """Masks, a network that learnt from them, one that learnt from ground truth, and labels from both networks."""
    splits = ["train", "val"]
    little.masks(run / "masks/first", index, lambda mask: np.roll(mask, 3, 0))
    for place, settings, inputs in (
        ("masks/first", {"source": "cams", "cams": "plain", "crf": None, "splits": splits}, {"cams": "cams/plain"}),
        ("segmenters/first", {"architecture": "unet", "supervision": "pseudo", "masks": "first"},
         {"masks": "masks/first"}),
        ("segmenters/true", {"architecture": "unet", "supervision": "masks", "gt_masks": 7,
                             "pretrained": "weights/big.safetensors"}, {}),
    ):  # fmt: skip
        facts = read_manifest(run / place) if (run / place).is_dir() else {}
        given = {name: {"path": f"../../{path}", "digest": ""} for name, path in inputs.items()}
        write_manifest(run / place, {**facts, "settings": settings, "inputs": given})

    def made(name, networks, prior="first", **facts):
        little.masks(run / "masks" / name, index, lambda mask: np.roll(mask, 1, 0), **facts)
        settings = {"source": "segmenter", "segmenters": networks, "prior": prior, "crf": None, "splits": splits}
        inputs = {f"segmenters.{n}": f"segmenters/{network}" for n, network in enumerate(networks)}
        inputs |= {"prior": f"masks/{prior}"} if prior else {}
        given = {key: {"path": f"../../{path}", "digest": ""} for key, path in inputs.items()}
        manifest = read_manifest(run / "masks" / name) | {"settings": settings, "inputs": given}
        write_manifest(run / "masks" / name, manifest)
        return run / "masks" / name

    return made


def test_what_networks_and_prior_rest_on_travels_along(run, rounds, tmp_path, index, little):
    agreement = [{"a": "networks first", "b": "masks first", "agreement": 0.9, "miou": 0.8, "pixels": 100}]
    again = rounds("again", ["first"], agreement=agreement)
    both = rounds("both", ["first", "true"])
    alone = rounds("alone", ["true"], None)
    assert supervision(again) == ["image tags", "ImageNet"]
    few = "7 ground-truth masks, chosen by tags"
    assert set(supervision(both)) == {"image tags", "ImageNet", few, "weights big.safetensors"}
    assert supervision(alone) == ["image tags", few, "weights big.safetensors"]  # the tags restrict its labels
    assert {folder.name for folder in lineage(both)} == {"both", "first", "true", "plain"}
    write_manifest(run / "segmenters/student", {
        "settings": {"architecture": "unet", "supervision": "pseudo", "masks": "both"},
        "inputs": {"masks": {"path": "../../masks/both"}},
    })  # fmt: skip
    assert few in supervision(run / "segmenters/student")

    common, scored = ["--index", index.folder, "--threads", 1, "--seed", 0], []
    for masks in (run / "masks/first", again, both, alone):
        scored.append(run / "scores/masks" / masks.name)
        little.run_stage("scores", *common, "--kind", "masks", "--artefact", masks, "--out", scored[-1])
    little.run_stage("summary", *common, "--results", tmp_path, "--scores", *scored, "--out", tmp_path / "out")
    page = (tmp_path / "out/summary.md").read_text()
    for said in (
        "| again | val | networks first, prior first |",
        "| both | val | networks first, true, prior first |",
        "| alone | val | networks true |",
        "| masks | again | networks first | masks first | 90.0 | 80.0 |",
        "self-training",
        few,
    ):
        assert said in page, said


def test_saliency_is_found_without_scores_of_it(run, tmp_path, index, little):
    common = ["--index", index.folder, "--threads", 1]
    found = find_artefacts([], tmp_path)
    assert [(a.kind, a.recipe) for a in found] == [("cams", "plain"), ("saliency", "c2am")]
    little.run_stage("summary", *common, "--results", tmp_path, "--out", tmp_path / "out")
    assert (tmp_path / "out/panels/s0.png").is_file()


def test_tags_are_supervision_where_they_restrict_a_teacher(run):
    folder = run / "segmenters/taught"
    for objective, tags in ((None, []), ("segmentation", []), ("ema-teacher", ["image tags"])):
        settings = {"supervision": "masks", **({"objective": objective} if objective else {})}
        write_manifest(folder, {"settings": settings, "inputs": {}})
        assert supervision(folder) == [*tags, "ground-truth masks"]
        write_manifest(folder, {"settings": {**settings, "supervision": "pseudo"}, "inputs": {}})
        assert supervision(folder) == tags


def test_what_a_network_learnt_from_names_its_objective(run):
    settings = {"architecture": "fpn", "supervision": "pseudo", "masks": "x"}
    group = [(SimpleNamespace(artefact=run / "segmenters/taught"), {})]
    for objective, words in ((None, ""), ("segmentation", ""), ("co-training", " (co-training)")):
        named = settings if objective is None else {**settings, "objective": objective}
        write_manifest(run / "segmenters/taught", {"settings": named, "inputs": {}})
        assert learnt_from(group, "") == f"pseudo-labels x{words}"


def test_tags_are_not_supervision_of_c2am(run):
    assert supervision(run / "saliency-maps/c2am") == ["ImageNet"]


def test_untagged_images_that_c2am_left_out_were_told_by_their_tags(run):
    folder = run / "saliency/c2am"
    write_manifest(folder, read_manifest(folder) | {"untagged_left_out": 3})
    assert supervision(run / "saliency-maps/c2am") == ["ImageNet", "image tags (whether there are any)"]
    settings = {"objective": "c2am-h", "pretrained": True}
    inputs = {"hints": {"path": "../../cams/plain"}}
    write_manifest(folder, {"settings": settings, "inputs": inputs, "untagged_left_out": 3})
    assert supervision(run / "saliency-maps/c2am") == ["image tags", "ImageNet"]


def test_pretrained_does_not_count_where_a_warm_start_replaces_it(run):
    write_manifest(run / "classifiers/plain", {"settings": {"objective": "vanilla", "pretrained": False}, "inputs": {}})
    settings = {"objective": "c2am", "pretrained": True, "warm_start": "plain"}
    inputs = {"warm_start": {"path": "../../classifiers/plain"}}
    write_manifest(run / "saliency/c2am", {"settings": settings, "inputs": inputs})
    assert supervision(run / "saliency-maps/c2am") == ["image tags"]
    write_manifest(run / "classifiers/plain", {"settings": {"objective": "vanilla", "pretrained": True}, "inputs": {}})
    assert supervision(run / "saliency-maps/c2am") == ["image tags", "ImageNet"]


def test_weights_of_an_unlabelled_training_are_called_so_and_fetched_ones_are_named(run):
    told = {"model": "vit_small_patch16_224.dino", "source": "https://hub/dino", "licence": "apache-2.0"}
    settings = {"objective": "token-cut", "pretrained": True, "backbone": told["model"]}
    assert fetched_weights(run / "saliency-maps/c2am") == []
    facts = {"settings": settings, "inputs": {}, "weights": {**told, "sha256": "0123456789abcdef" * 4}}
    write_manifest(run / "saliency/c2am", facts)
    assert supervision(run / "saliency-maps/c2am") == ["images without labels (DINO)"]
    expected = "https://hub/dino (licence: apache-2.0; SHA-256 0123456789abcdef…)"
    assert fetched_weights(run / "saliency-maps/c2am") == [expected]
    clip = {"sha256": "f" * 64, "source": "https://hub/clip", "licence": "MIT"}
    text = {"settings": {"source": "text"}, "inputs": {}, "text": {"weights": clip}}
    write_manifest(run / "cams/plain", text)
    assert fetched_weights(run / "cams/plain") == ["https://hub/clip (licence: MIT; SHA-256 ffffffffffffffff…)"]


def test_paint_saliency_by_hand():
    image = np.full((1, 2, 3), 200, np.uint8)
    assert paint_saliency(image, np.array([[0.0, 1.0]])).tolist() == [[[30] * 3, [200] * 3]]
