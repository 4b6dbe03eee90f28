"""The summary: every score in one table, a page that says what it rests on, pictures."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from wsss.data.palette import CLASS_COLOURS
from wsss.provenance.outputs import digest
from wsss.report.markdown import markdown, written
from wsss.report.panels import choose_items, paint_maps, paint_mask
from wsss.report.provenance import lineage, read_scored, supervision
from wsss.report.tables import scores_table, spread
from wsss.store.manifest import read_manifest, write_manifest


def made_from(folder, **inputs):
    """Write the inputs into a manifest, as the stage runner does."""
    facts = json.loads((folder / "manifest.json").read_text())
    facts["inputs"] = {name: {"path": f"../../{path}", "digest": ""} for name, path in inputs.items()}
    write_manifest(folder, facts)


@pytest.fixture
def results(tmp_path, index, little):
    """A run with two seeds: classifier, maps, masks at a calibrated threshold, predictions."""
    items = index.split("val")
    for seed in (0, 3):
        run = tmp_path / f"s{seed}"
        classifier = run / "classifiers" / "plain"
        classifier.mkdir(parents=True)
        table = [["id", "split", *little.classes]]
        table += [[i.id, "val", *(str(0.9 * (c in i.labels) + 0.01 * seed) for c in range(3))] for i in items]
        (classifier / "predictions.csv").write_text("\n".join(map(",".join, table)), encoding="utf-8")
        settings = {"objective": "vanilla", "pretrained": "weights/net.safetensors"}
        times = {"wall_seconds": 60.0 + seed, "peak_memory_mib": 900, "device": "cpu", "threads": 1}
        write_manifest(classifier, {"stage": "classifier", "settings": settings, "seed": seed, "inputs": {}, **times})
        little.cams(run / "cams" / "plain", index)
        made_from(run / "cams" / "plain", classifier="classifiers/plain")
        facts = {"threshold": {"value": 0.25 + 0.01 * seed, "policy": "calibrated", "masks_looked_at": 20}}
        little.masks(run / "masks" / "plain", index, lambda mask: np.roll(mask, 3, 0), **facts)
        made_from(run / "masks" / "plain", cams="cams/plain")
        little.masks(run / "predictions" / "net", index, lambda mask: np.roll(mask, 5, 1), ("val",))
        made_from(run / "predictions" / "net", segmenter="segmenters/net")
        write_manifest(run / "segmenters" / "net", {
            "settings": {"architecture": "unet", "supervision": "pseudo", "masks": "plain", "pretrained": True},
            "inputs": {"masks": {"path": "../../masks/plain"}},
        })  # fmt: skip
        for kind, place, name in (
            ("classifiers", "classifiers", "plain"),
            ("cams", "cams", "plain"),
            ("masks", "masks", "plain"),
            ("segmenters", "predictions", "net"),
        ):
            little.run_stage(
                "scores", "--index", index.folder, "--kind", kind, "--artefact", run / place / name,
                "--threads", 1, "--seed", seed, "--out", run / "scores" / kind / name,
            )  # fmt: skip
    return tmp_path


def test_stage(results, index, little):
    scores = sorted(path.parent for path in results.glob("s*/scores/*/*/manifest.json"))
    assert len(scores) == 8
    little.run_stage(
        "summary", "--index", index.folder, "--dataset", "little", "--results", results, "--scores", *scores,
        "--out", results / "out", "--threads", 1,
    )  # fmt: skip
    with open(results / "out" / "summary.csv", newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert ",".join(table[0]) == "dataset,seed,kind,recipe,split,policy,metric,value,images"
    found = {tuple(row[1:7]): (row[7], int(row[8])) for row in table[1:]}
    assert len(found) == len(table) - 1 and {row[0] for row in table[1:]} == {"little"}
    content = json.loads((results / "s3/scores/cams/plain/scores.json").read_text())
    value = content["splits"]["val"]["policies"]["oracle"]["miou"]
    assert float(found["3", "cams", "plain", "val", "oracle", "miou"][0]) == pytest.approx(value, abs=1e-6)
    assert found["0", "masks", "plain", "train", "", "iou_background"][1] == len(index.scored("train"))
    assert float(found["0", "classifiers", "plain", "val", "", "map"][0]) == 1
    assert {("0", "segmenters", "net", "val", "", f"iou_{c}") for c in little.classes} <= set(found)

    page = (results / "out" / "summary.md").read_text()
    for said in (
        "| train | 8 | 7 | 7 | 1 |",
        "calibrated on 7 training masks",
        "oracle: all 5 masks",
        "calibrated 0.25–0.28",
        "image tags, 20 ground-truth masks (threshold), ImageNet, weights net.safetensors",
        "pseudo-labels plain",
        "| classifiers | plain | 62 | 123 | 900 | cpu (1 threads) |",
        "red cow",
        "panels/s3.png",
    ):
        assert said in page, said
    for seed in (0, 3):
        with Image.open(results / "out" / "panels" / f"s{seed}.png") as image:
            assert image.size[0] > 500 and np.asarray(image.convert("RGB")).std() > 20


def test_stage_without_scores_or_masks(tmp_path, little):
    index = little.index(tmp_path / "index", masks=False)
    results = tmp_path / "results"
    little.cams(results / "s0/cams/plain", index)
    common = ["--index", index.folder, "--threads", 1]
    little.run_stage("summary", *common, "--results", results, "--out", tmp_path / "out")
    assert (tmp_path / "out/panels/s0.png").is_file()
    scores = tmp_path / "scores"
    little.run_stage("scores", *common, "--kind", "cams", "--artefact", results / "s0/cams/plain", "--out", scores)
    little.run_stage("summary", *common, "--scores", scores, "--out", tmp_path / "out")
    assert "No ground-truth masks here" in (tmp_path / "out/summary.md").read_text()
    assert ",fixed,coverage," in (tmp_path / "out/summary.csv").read_text()


def test_wrong_scores_are_refused(results, index, little):
    path = results / "s0/scores/cams/plain/scores.json"
    path.write_text(path.read_text().replace('"dog"', '"wolf"'))
    made = read_manifest(path.parent)
    write_manifest(path.parent, made | {"outputs": {name: digest(path.parent / name) for name in made["outputs"]}})
    common = ["summary", "--index", index.folder, "--out", results / "out"]
    assert "other classes" in little.run_stage(*common, "--scores", path.parent, code=2)
    (results / "s0/masks/plain/manifest.json").unlink()
    assert "never finished" in little.run_stage(*common, "--scores", results / "s0/scores/masks/plain", code=2)


def test_provenance(results):
    found = lineage(results / "s0/predictions/net")
    assert [folder.parent.name for folder in found] == ["predictions", "segmenters", "masks", "cams", "classifiers"]
    assert supervision(results / "s0/cams/plain") == ["image tags", "weights net.safetensors"]


def test_corrections_by_hand_are_told(results):
    masks = read_manifest(results / "s0/masks/plain")
    for images, told in ((12, {"12 corrected masks"}), (1, {"1 corrected mask"}), (0, set())):
        write_manifest(results / "s0/masks/plain", {**masks, "corrected": {"images": images, "pixels": 300}})
        assert {one for one in supervision(results / "s0/predictions/net") if "corrected mask" in one} == told
    write_manifest(results / "s0/masks/plain", {**masks, "corrected": {"images": 12, "pixels": 300}})
    table = written(scores_table("segmenters", [read_scored(results / "s0/scores/segmenters/net")]))
    assert "12 corrected masks" in table


def test_few_true_masks_are_told(results):
    classifier, segmenter = results / "s0/classifiers/plain", results / "s0/segmenters/net"
    given = {"objective": "guided", "gt_masks": 20, "pretrained": False}
    write_manifest(classifier, {"stage": "classifier", "settings": given, "masks_looked_at": 20})
    assert supervision(results / "s0/cams/plain") == ["image tags", "20 ground-truth masks (heatmaps)"]
    given = {"architecture": "unet", "supervision": "masks", "gt_masks": 20, "pretrained": False}
    write_manifest(segmenter, {"stage": "segmenter", "settings": given, "masks_looked_at": 20})
    table = written(scores_table("segmenters", [read_scored(results / "s0/scores/segmenters/net")]))
    assert "| net | val | 20 ground-truth masks |" in table and "| 20 ground-truth masks, chosen by tags |" in table


def test_choice_of_pictures_shows_every_class(index, little):
    items = choose_items(index, 3, seed=0)
    assert items == choose_items(index, 3, seed=0) and len({item.id for item in items}) == 3
    assert {c for item in items for c in item.labels} == {c for item in index.labelled("val") for c in item.labels}
    assert len(choose_items(index, 99)) == len(index.labelled("val"))


def test_paint_by_hand():
    image = np.full((1, 3, 3), 100, np.uint8)
    mask = paint_mask(image, np.array([[0, 1, 255]], np.uint8), strength=1.0)
    assert mask.tolist() == [[[75] * 3, CLASS_COLOURS[1].tolist(), [255] * 3]]
    maps = paint_maps(image, np.array([[[0.0, 1.0, 0.2]], [[0.0, 0.5, 0.4]]], np.float32), np.array([4, 0]))
    assert maps[0, 0].tolist() == [75] * 3
    np.testing.assert_allclose(maps[0, 1], 7.5 + 0.9 * CLASS_COLOURS[5], atol=0.51)
    np.testing.assert_allclose(maps[0, 2], 75 * 0.64 + 0.36 * CLASS_COLOURS[1], atol=0.51)
    assert paint_maps(image, np.zeros((0, 1, 3)), np.zeros(0)).tolist() == [[[75] * 3] * 3]


def test_tables_by_hand():
    assert spread([0.5]) == "50.0" and spread([0.5, 0.52]) == "51.0 ± 1.4" and spread([None]) == "–"
    assert markdown(["a", "b"], [[1, "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n"
