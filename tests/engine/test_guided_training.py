"""Guided classifiers and segmentation networks on the same few masks: which they read, bits, what is said of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tests.engine.tiny_training import SMALL
from wsss.data.few_masks import few_masks
from wsss.data.index import Index, write_index
from wsss.data.loading import Batch
from wsss.errors import WsssError
from wsss.losses.base import TrainingStep
from wsss.models.classifier import build_classifier, load_classifier, load_judge
from wsss.models.segmenter import load_segmenter
from wsss.objectives.tagged_segmentation import TaggedSegmentation
from wsss.report.provenance import supervision
from wsss.settings import GuidedSettings, SegmentationSettings, VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.manifest import write_manifest

SHORT = SMALL | {"epochs": 1}


def finished(run, stage):
    write_manifest(run.out, {"stage": stage, "settings": json.loads(run.settings.canonical()), **run.facts})
    return run.out


@pytest.fixture
def few_index(tiny_index, tmp_path):
    """The tiny index, where only the four masks that seed 3 chooses can be read; and their ids."""
    whole = Index.load(tiny_index)
    chosen = [item.id for item in few_masks(whole, 4, 3)]
    gone = tmp_path / "gone.png"
    items = [item if item.id in chosen else replace(item, mask=gone) for item in whole.items]
    shutil.copytree(tiny_index, tmp_path / "index")
    write_index(tmp_path / "index", whole.classes, items)
    return tmp_path / "index", chosen


def test_both_look_at_the_same_few_masks_and_at_no_other(few_index, make_run):
    index, chosen = few_index
    run = make_run(GuidedSettings(**{**SHORT, "epochs": 2}, gt_masks=4), {"index": index}, "guided", seed=3)
    train_classifier(run)
    assert (run.facts["masks_looked_at"], run.facts["gt_masks"], run.facts["images"]) == (4, chosen, 12)
    assert supervision(finished(run, "classifier")) == ["image tags", "4 ground-truth masks (heatmaps)"]
    assert "pixels" in (run.out / "metrics.jsonl").read_text()

    few = SegmentationSettings(**SHORT, supervision="masks", gt_masks=4)
    run = make_run(few, {"index": index}, "few", seed=3)
    train_segmenter(run)
    assert (run.facts["masks_looked_at"], run.facts["gt_masks"], run.facts["images"]) == (4, chosen, 4)
    assert supervision(finished(run, "segmenter")) == ["4 ground-truth masks, chosen by tags"]
    others = few_masks(Index.load(index), 4, 4)
    assert any(not item.mask.exists() for item in others), "another seed has other masks"


def test_a_segmenter_learns_tags_of_all_beside_the_same_few_masks(few_index, make_run, stopped_at_every_step):
    index, chosen = few_index
    settings = SegmentationSettings(**SHORT, supervision="masks", gt_masks=4, tags=0.5, architecture="unet")
    run = make_run(settings, {"index": index}, "tagged", seed=3)
    train_segmenter(run)
    assert (run.facts["masks_looked_at"], run.facts["gt_masks"], run.facts["images"]) == (4, chosen, 12)
    assert supervision(finished(run, "segmenter")) == ["image tags", "4 ground-truth masks, chosen by tags"]
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert any(line["pixels"] > 0 for line in lines) and all(line["tags"] > 0 for line in lines)  # some show no mask
    assert not [name for name in load_segmenter(run.out)[0].state_dict() if "tags" in name]
    cut = make_run(settings, {"index": index}, "cut", seed=3)
    assert stopped_at_every_step(train_segmenter, cut) == 3
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (cut.out / name).read_bytes() == (run.out / name).read_bytes()


def test_pixels_and_tags_against_a_plain_second_writing():
    torch.manual_seed(0)
    settings = SegmentationSettings(**SHORT, supervision="masks", tags=0.25, architecture="unet")
    made = TaggedSegmentation(settings, 2)
    network = made.networks["segmenter"].eval()
    masks = torch.full((3, 64, 64), 255)
    masks[1, :20], masks[1, 20:30, 5:] = 2, 0
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    images = torch.randn(3, 3, 64, 64)
    (loss,) = made.losses(Batch(images, labels, torch.zeros(3), masks), TrainingStep(0, 0.0))
    scores = made.kept(network)(images)
    features = network.segmenter.network.encoder(images)[-1].mean((2, 3))
    guessed = features @ network.tags.weight.T + network.tags.bias
    pixels = []
    for y in range(64):
        for x in range(64):
            if masks[1, y, x] != 255:
                target = torch.full((3,), settings.label_smoothing / 3)
                target[masks[1, y, x]] += 1 - settings.label_smoothing
                pixels.append(-(target * scores[1, :, y, x].log_softmax(0)).sum())
    p = guessed.sigmoid()
    tags = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(loss.value, torch.stack(pixels).mean() + 0.25 * tags, atol=1e-5, rtol=1e-4)
    new = {name for name, _ in network.named_parameters() if network.is_new(name)}
    assert {"tags.weight", "tags.bias"} <= new and not [name for name in new if ".encoder." in name]
    refused = (({"tags": 1.0, "masks": "x"}, "stand beside"), ({"masks": "x", "masked_share": None}, "has no effect"))
    for wrong, said in refused:
        with pytest.raises(ValueError, match=said):
            SegmentationSettings(**wrong)


def test_a_segmenter_on_all_masks_is_as_it_was(tiny_index, make_run):
    settings = SegmentationSettings(**SHORT, supervision="masks")
    run = make_run(settings, {"index": tiny_index})
    train_segmenter(run)
    assert (
        run.facts["images"] == 12
        and "gt_masks" not in run.facts
        and supervision(finished(run, "segmenter")) == ["ground-truth masks"]
    )


def test_without_masks_it_is_plain_classification(tiny_index, make_run):
    found = []
    for name, cls, extra in (("guided", GuidedSettings, {"gt_masks": 0}), ("vanilla", VanillaSettings, {})):
        run = make_run(cls(**SHORT, augment=(), **extra), {"index": tiny_index}, name)
        train_classifier(run)
        found.append(load_classifier(finished(run, "classifier"))[0].state_dict())
        assert supervision(run.out) == ["image tags"]
    assert not found[0].pop("background.weight").any()
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], msg=key)


def test_others_go_on_from_the_product(tiny_index, make_run):
    run = make_run(GuidedSettings(**SHORT, gt_masks="all", ema=0.9), {"index": tiny_index}, "guided")
    train_classifier(run)
    assert run.facts["masks_looked_at"] == 12 and "gt_masks" not in run.facts
    folder = finished(run, "classifier")
    network, classes = load_classifier(folder)
    assert classes == ("red", "green") and network.head.weight.shape[0] == 2
    assert len((folder / "predictions.csv").read_text().splitlines()) == 5
    assert network.background.weight.any() and network.heatmap_scale == 1
    assert load_judge(folder, 2).background is None
    plain = build_classifier(VanillaSettings(**SHORT), 2, folder)
    assert plain.state_dict().keys() == network.state_dict().keys() - {"background.weight"}
    again = build_classifier(GuidedSettings(**SHORT), 2, folder)
    torch.testing.assert_close(again.background.weight, network.background.weight)
    warm = make_run(VanillaSettings(**SHORT, warm_start="guided"), {"index": tiny_index, "warm_start": folder}, "warm")
    train_classifier(warm)
    assert not build_classifier(GuidedSettings(**SHORT), 2, finished(warm, "classifier")).background.weight.any()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"guidance_layer": "backbone.layer3", "batch_norm": "fixed", "gradient": "class-by-class", "absent_classes": 0},
    ],
)
def test_stopping_at_every_step_changes_no_bit(tiny_index, make_run, stopped_at_every_step, settings):
    settings = GuidedSettings(**SHORT, gt_masks=5, **settings)
    train_classifier(make_run(settings, {"index": tiny_index}, "whole"))
    run = make_run(settings, {"index": tiny_index}, "cut")
    assert stopped_at_every_step(train_classifier, run) == 3
    for name in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert (run.out / name).read_bytes() == (run.out.parent / "whole" / name).read_bytes()
    assert "pixels" in (run.out / "metrics.jsonl").read_text()


def test_more_masks_than_there_are(tiny_index, make_run):
    for settings, train in (
        (GuidedSettings(**SHORT), train_classifier),
        (SegmentationSettings(**SHORT, supervision="masks", gt_masks=20), train_segmenter),
    ):
        with pytest.raises(WsssError, match="'gt_masks: 20' needs .* there are 12; lower it"):
            train(make_run(settings, {"index": tiny_index}))
