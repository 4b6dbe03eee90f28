"""Explainers in the chain: maps of a ``cams`` recipe, and the stage that measures explanations."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import wsss.parts.maps
from tests.engine.plain import seen
from wsss.data.images import read_mask
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find
from wsss.explain.metrics import ExplainedBatch, Metrics, measure, measure_seeds, seed_scores
from wsss.explain.metrics.weights import weight_correlation
from wsss.models.classifier import Classifier, load_classifier, logits
from wsss.runtime.shard import Shard
from wsss.settings import CamsSettings, ExplanationSettings
from wsss.stages.cams import make as write_cams
from wsss.stages.explanation import evenly
from wsss.stages.explanation import make as write_explanations
from wsss.stages.explanations import make as write_comparison
from wsss.stages.explanations import ordering, read_explained
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.weights import save_weights
from wsss.system.exit import Interrupted

ORDINARY = {"classifier": "x", "scales": [0.5, 1.0]}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    network = Classifier("test_resnet", 2, 8).eval()
    for module in network.modules():  # statistics that a training would have left
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
            module.running_mean.normal_(0, 0.1)
    folder = tmp_path_factory.mktemp("explained")
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "green"]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {})
    return folder


def maps_of(make_run, tiny_index, classifier, name="out", shard=None, **settings):
    run = make_run(CamsSettings.read(ORDINARY | settings), {"index": tiny_index, "classifier": classifier}, name)
    if shard:
        run.shard = shard
    write_cams(run)
    if not shard:
        write_manifest(run.out, {**run.facts, **run.recorded})
    return run.out


def by_hand(image, network, explainer, label, scale):
    """One view of one image by an explainer, mirrored too, the plain way."""
    total = 0
    for mirrored in (False, True):
        view = seen(image, scale)
        view = view.flip(-1) if mirrored else view
        labels = torch.zeros(1, 2, dtype=torch.bool)
        labels[0, list(label)] = True
        made = explainer(Subject(network, "head", "head", "input", logits), view, Classes("gt", labels)).maps.relu()
        total = total + (made.flip(-1) if mirrored else made)
    return total.numpy()


@pytest.mark.parametrize("name", ["minmax-cam", "grad-cam-plus-plus", "score-cam"])
def test_maps_of_an_explainer_against_one_view_at_a_time(name, make_run, tiny_index, classifier):
    store = MapStore(maps_of(make_run, tiny_index, classifier, explainer=name))
    network = load_classifier(classifier)[0].eval()
    items = {item.id: item for item in Index.load(tiny_index).items}
    assert set(store.ids) == set(items)
    for id in store.ids:
        for scale, ours in zip((0.5, 1.0), store[id].maps, strict=True):
            plain = by_hand(items[id].image, network, find(name)(), items[id].labels, scale)
            np.testing.assert_allclose(ours, plain, atol=1e-4 * max(1, plain.max()))


def test_hires_cam_gives_the_seeds_of_cam(make_run, tiny_index, classifier):
    """On pooled features with a linear head it is CAM over the number of cells, and seeds are relative."""
    plain = MapStore(maps_of(make_run, tiny_index, classifier, "plain"))
    same = MapStore(maps_of(make_run, tiny_index, classifier, "same", explainer="hires-cam"))
    for id in plain.ids:
        for a, b in zip(plain[id].maps, same[id].maps, strict=True):
            np.testing.assert_allclose(a, b * a.shape[1] * a.shape[2], rtol=1e-3, atol=1e-4 * a.max())


def test_maps_of_pixels_are_means_of_cells(make_run, tiny_index, classifier):
    store = MapStore(maps_of(make_run, tiny_index, classifier, explainer="gradient", scales=[1.0], flip=False))
    network = load_classifier(classifier)[0].eval()
    item = next(item for item in Index.load(tiny_index).items if len(item.labels) == 2)
    subject = Subject(network, read=logits)
    made = find("gradient")()(subject, seen(item.image, 1.0), Classes("gt", torch.ones(1, 2))).maps
    strongest = made.abs().amax(1).numpy().reshape(2, 10, 4, 12, 4)
    np.testing.assert_allclose(store[item.id].maps[0], strongest.mean((2, 4)), rtol=1e-3)
    assert store.attributes["stride"] == 4 and store.full(item.id).shape == (2, 40, 48)


def test_noise_follows_the_seed_and_the_image_whoever_makes_it(make_run, tiny_index, classifier):
    smooth = {"explainer": "smooth-grad", "explainer_options": {"n": 2}, "scales": [1.0]}
    alone = maps_of(make_run, tiny_index, classifier, "alone", **smooth)
    for number in range(2):
        maps_of(make_run, tiny_index, classifier, "shared", Shard(number, 2), **smooth)
    shared = maps_of(make_run, tiny_index, classifier, "shared", **smooth)
    shards = [next(folder.glob("shard-*.h5")) for folder in (alone, shared)]
    values = [MapStore(folder)["p13"].maps[0] for folder in (alone, shared)]
    assert np.array_equal(*values) and shards[0].stat().st_size == shards[1].stat().st_size
    other = maps_of(make_run, tiny_index, classifier, "other", **{**smooth, "explainer_options": {"n": 3}})
    assert not np.array_equal(values[0], MapStore(other)["p13"].maps[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"explainer": "gradcam"}, "did you mean 'grad-cam'"),
        ({"explainer": "seg-grad-cam"}, "is for regions of segmentation networks"),
        ({"explainer": "score-cam", "explainer_options": {"top_channel": 3}}, "did you mean 'top_channels'"),
        ({"explainer": "external:lime"}, "external:captum:NAME"),
        ({"explainer": "cam", "explainer_options": {"a": 1}}, "no option 'a'"),
    ],
)
def test_what_is_no_explainer_is_refused_before_anything_runs(settings, said):
    with pytest.raises(ValueError, match=said):
        CamsSettings.read({"classifier": "x"} | settings)


def test_a_value_that_an_explainer_refuses_is_said(make_run, tiny_index, classifier):
    with pytest.raises(WsssError, match="window"):
        maps_of(make_run, tiny_index, classifier, explainer="occlusion", explainer_options={"window": 4, "stride": 8})


# --- the stage that measures ---------------------------------------------------------------------------------------


def explain(make_run, tiny_index, classifier, name="explained", shard=None, **settings):
    settings = ExplanationSettings.read({"classifier": "x", "calibration_images": 4, "pictures": 2} | settings)
    run = make_run(settings, {"index": tiny_index, "classifier": classifier}, name)
    if shard:
        run.shard = shard
    write_explanations(run)
    if not shard:
        relative = {"path": "../" + classifier.name} if classifier.parent == run.out.parent else {"path": classifier}
        facts = {"seed": 0, "settings": settings.model_dump(mode="json"), "inputs": {"classifier": relative}}
        write_manifest(run.out, json.loads(json.dumps(facts, default=str)) | run.facts | run.recorded)
    return run.out


def batch_of(items):
    images = torch.cat([seen(item.image, 1.0) for item in items])
    labels = torch.tensor([[c in item.labels for c in (0, 1)] for item in items])
    return ExplainedBatch(images, [item.id for item in items], labels, [read_mask(item.mask) for item in items])


@pytest.mark.parametrize("policy", ["gt", "pred", "gt_or_pred"])
def test_what_is_told_is_what_the_library_measures(policy, make_run, tiny_index, classifier):
    """All images in one batch, by the library, against the stage's buckets and texts."""
    out = explain(make_run, tiny_index, classifier, explainer="minmax-cam", policy=policy, curves=True, curve_steps=3)
    recorded = json.loads((out / "metrics.json").read_text())
    index = Index.load(tiny_index)
    network = load_classifier(classifier)[0].eval()
    subject, method = Subject(network, "head", "head", "input", logits), find("minmax-cam")()
    scored = batch_of(index.split("val"))
    tally = measure(method, subject, [scored], 2, Metrics(policy, curves=True, steps=3))
    for others in ("reference", "multi_only"):
        ours, theirs = recorded["summary"][others], tally.summary(others)
        for kind in ("macro", "weighted"):
            assert ours[kind].keys() == theirs[kind].keys()
            for metric, value in theirs[kind].items():
                expected = None if value is None else pytest.approx(value, rel=1e-3, abs=1e-3)
                assert ours[kind][metric] == expected, metric
        assert (ours["images"], ours["detections"]) == (theirs["images"], theirs["detections"])
        assert ours["forwards_per_image"] == 1
    for name, curve in tally.mean_curves().items():
        assert recorded["curves"][name] == pytest.approx(curve, abs=1e-3), name
    calibration = batch_of([index.item(id) for id in recorded["calibration"]])
    assert len(recorded["calibration"]) == 4 and {index.item(id).split for id in recorded["calibration"]} == {"train"}
    seeds = seed_scores(*(measure_seeds(method, subject, [each], 2) for each in (calibration, scored)))
    assert recorded["seeds"] == pytest.approx(seeds, abs=1e-4)
    rows = list(csv.DictReader((out / "detections.csv").open()))
    assert len(rows) == recorded["summary"]["reference"]["detections"] and {row["class"] for row in rows} <= {
        "red",
        "green",
    }
    assert Image.open(out / "pictures.png").size[0] > 100


def test_raw_maps_keep_their_signs(make_run, tiny_index, classifier):
    out = explain(make_run, tiny_index, classifier, explainer="minmax-cam", policy="gt")
    store = MapStore(out)
    both = [id for id in store.ids if len(store[id].classes) == 2]
    assert store.attributes["signed"] == 1 and both
    for id in both:  # over the present classes of an image the maps add up to zero
        (maps,) = store[id].maps
        assert maps.min() < 0
        np.testing.assert_allclose(maps.sum(0), 0, atol=1e-4 * np.abs(maps).max())


def test_killed_and_shared_explanations_are_those_of_one_run(make_run, tiny_index, classifier, monkeypatch):
    how = {"explainer": "grad-cam", "policy": "gt_or_pred"}
    whole = explain(make_run, tiny_index, classifier, "whole", **how)
    for number in range(3):
        explain(make_run, tiny_index, classifier, "shared", Shard(number, 3), **how)
    shared = explain(make_run, tiny_index, classifier, "shared", **how)

    monkeypatch.setattr(wsss.parts.maps, "IMAGES_A_PART", 1)
    add, stops = wsss.parts.maps.MapWriter.add, []
    settings = ExplanationSettings.read({"classifier": "x", "calibration_images": 4, "pictures": 2} | how)
    run = make_run(settings, {"index": tiny_index, "classifier": classifier}, "killed")

    def stop_after_one(self, *args, **kwargs):
        add(self, *args, **kwargs)
        run.stop = "a test"

    monkeypatch.setattr(wsss.parts.maps.MapWriter, "add", stop_after_one)
    while True:
        run.stop = None
        try:
            write_explanations(run)
            break
        except Interrupted:
            stops.append(1)
            if len(stops) >= 8:
                monkeypatch.setattr(wsss.parts.maps.MapWriter, "add", add)
    assert len(stops) == 8

    for name in ("metrics.json", "classes.csv", "detections.csv", "pictures.png"):
        assert (whole / name).read_bytes() == (shared / name).read_bytes() == (run.out / name).read_bytes()


def test_correlations_of_the_weights_of_classes(make_run, tiny_index, classifier):
    out = explain(make_run, tiny_index, classifier, policy="gt", weights=True)
    weight = load_classifier(classifier)[0].head.weight.detach().flatten(1).numpy()
    told = json.loads((out / "metrics.json").read_text())["weight_correlation"]
    assert told == pytest.approx(abs(np.corrcoef(weight)[0, 1]), abs=1e-6)
    run = make_run(None, {"index": tiny_index, "explanations.0": out}, "table")
    run.args.dataset = "tiny"
    write_comparison(run)
    assert "| weights |" in (run.out / "explanations.md").read_text()


def test_the_mean_over_pairs_of_classes():
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    pairs = [abs(np.corrcoef(weight[a], weight[b])[0, 1]) for a in range(4) for b in range(a)]
    assert weight_correlation(weight) == pytest.approx(np.mean(pairs))
    weight[2] = 0.5  # constant: it correlates with nothing
    left = [abs(np.corrcoef(weight[a], weight[b])[0, 1]) for a, b in ((0, 1), (0, 3), (1, 3))]
    assert weight_correlation(weight) == pytest.approx(np.mean(left))
    assert weight_correlation(weight[:1]) is None and weight_correlation(torch.ones(3, 2)) is None


def test_a_few_images_evenly_spaced():
    assert evenly(list("abcdefgh"), 3) == ["a", "c", "f"]
    assert evenly(list("ab"), 3) == evenly(list("ab"), None) == ["a", "b"]


def test_the_table_repeats_the_figures_and_judges_the_published_order(make_run, tiny_index, classifier):
    names = {"cam": {}, "minmax": {"explainer": "minmax-cam"}, "gpp": {"explainer": "grad-cam-plus-plus"}}
    folders = [
        explain(make_run, tiny_index, classifier, name, policy="gt", **settings) for name, settings in names.items()
    ]
    found = [read_explained(folder) for folder in folders]
    run = make_run(None, {"index": tiny_index} | {f"explanations.{n}": f for n, f in enumerate(folders)}, "table")
    run.args.dataset = "tiny"
    write_comparison(run)
    text = (run.out / "explanations.md").read_text()
    for one in found:
        row = next(line for line in text.splitlines() if line.startswith(f"| {one.recipe} "))
        recorded = one.metrics["summary"]
        assert f"| {recorded['reference']['weighted']['ad']:.1f} |" in row
        assert f"| {recorded['multi_only']['weighted']['ado']:.1f} |" in row
        assert f"{100 * one.metrics['seeds']['seed_miou']:.1f} (" in row
    assert "The published order" in text and (run.out / "pictures" / "s0.png").is_file()
    rows = list(csv.DictReader((run.out / "explanations.csv").open()))
    ad = [r for r in rows if (r["metric"], r["mean"], r["others"], r["recipe"]) == ("ad", "macro", "reference", "cam")]
    assert [float(r["value"]) for r in ad] == [found[0].metrics["summary"]["reference"]["macro"]["ad"]]


def test_an_order_that_holds_and_one_that_does_not(make_run, tiny_index, classifier):
    one = read_explained(explain(make_run, tiny_index, classifier, policy="gt"))

    def with_values(explainer, ado, aro, ad):
        recorded = json.loads(json.dumps(one.metrics)) | {"explainer": explainer}
        for summary in recorded["summary"].values():
            summary["weighted"] |= {"ado": ado, "aro": aro, "ad": ad}
        return [type(one)(one.folder, explainer, 0, "x", recorded, one.settings, one.seconds)]

    recipes = {
        "d-minmax-cam": with_values("d-minmax-cam", 79, 3, 43),
        "minmax-cam": with_values("minmax-cam", 74, 4, 36),
        "cam": with_values("cam", 54, 6, 37),
    }
    (text,) = ordering(recipes)
    assert "ADO: 3 of 3 pairs" in text and "ARO: 3 of 3 pairs" in text
    assert "AD: 2 of 3 pairs in the published order; not: minmax-cam and cam." in text
    assert ordering(dict(list(recipes.items())[:2])) == []
