"""Options of segmentation networks' trainings, after a stop at every step: harder views, a cosine, soft targets."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.engine.tiny_training import SMALL
from wsss.data.images import read_mask
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.refine.soft_targets import on_grid
from wsss.settings import SegmentationSettings
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.masks import MaskFolder

STRONG = ("strong-jitter", "grey", "blur", "cutout")


def test_stopping_at_every_step_changes_no_bit(tiny_index, make_run, stopped_at_every_step):
    settings = SegmentationSettings(**SMALL, supervision="masks", augment=STRONG, lr_schedule="cosine", warmup=0.34)
    whole = make_run(settings, {"index": tiny_index}, "whole")
    train_segmenter(whole)
    run = make_run(settings, {"index": tiny_index}, "cut")
    assert stopped_at_every_step(train_segmenter, run) == 6
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (whole.out / file).read_bytes() == (run.out / file).read_bytes(), file
    rates = [json.loads(line)["lr"] for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([0.01 * x for x in (0.5, 1, 1, 0.8535533905932737, 0.5, 0.1464466094067262)])


# --- soft targets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def taught(tiny_index, tmp_path):
    """Masks of all training images with probabilities beside them: 0.9 for what is true."""
    index = Index.load(tiny_index)
    form = {"scales": (1.0,), "flip": False, "stride": 4, "round_to": 1, "attributes": {"relative": 0, "levels": 255}}
    folder = tmp_path / "taught"
    (folder / "masks").mkdir(parents=True)
    with MapWriter(folder / shard_name(0, 1), **form) as writer:
        for item in index.split("train"):
            mask = read_mask(item.mask)
            MaskFolder(folder / "masks").write(item.id, mask)
            true = np.stack([mask == 0, *(mask == c + 1 for c in item.labels)])
            q = np.where(true, 0.9, 0.1 / len(item.labels)).astype(np.float32)
            writer.add(item.id, item.labels, (item.height, item.width), [on_grid(q)])
    write_manifest(folder, {})
    return folder


def test_soft_targets_reach_the_loss_and_a_stop_at_every_step_changes_no_bit(
    tiny_index, taught, make_run, stopped_at_every_step
):
    settings = SegmentationSettings(**SMALL, masks="taught", soft_weight=0.5, augment=("cutout",))
    inputs = {"index": tiny_index, "masks": taught}
    whole = make_run(settings, inputs, "whole")
    train_segmenter(whole)
    run = make_run(settings, inputs, "cut")
    assert stopped_at_every_step(train_segmenter, run) == 6
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (whole.out / file).read_bytes() == (run.out / file).read_bytes(), file
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["loss"] == pytest.approx(0.5 * line["masks"] + 0.5 * line["soft_targets"], rel=1e-3)
    assert lines[-1]["soft_targets"] < lines[0]["soft_targets"]


def test_masks_without_probabilities_are_refused(tiny_index, taught, make_run):
    settings = SegmentationSettings(**SMALL, masks="taught", soft_weight=0.5)
    inputs = {"index": tiny_index, "masks": taught}
    form = {"scales": (1.0,), "flip": False, "stride": 4, "attributes": {"relative": 0, "levels": 255}}
    (shard,) = taught.glob("shard-*.h5")
    first, *_ = items = Index.load(tiny_index).split("train")
    for classes, size, said in (
        ([7], (40, 48), f"the probabilities of {first.id!r} are of other classes"),
        (first.labels, (40, 49), "are of a 40 x 49 image"),
    ):
        with MapWriter(shard, **form) as writer:
            for item in items:
                given = (classes, size) if item is first else (item.labels, (40, 48))
                writer.add(item.id, *given, [np.zeros((len(given[0]), 10, 12), np.float32)])
        with pytest.raises(WsssError, match=said):
            train_segmenter(make_run(settings, inputs))
    shard.unlink()
    with pytest.raises(WsssError, match="taught: no probabilities lie beside .* 'keep_probabilities: true'"):
        train_segmenter(make_run(settings, inputs))
