"""Options of segmentation networks' trainings: harder views and another schedule, after a stop at every step."""

from __future__ import annotations

import json

import pytest

from tests.engine.tiny_training import SMALL
from wsss.settings import SegmenterSettings
from wsss.stages.segmenter import make as train_segmenter

STRONG = ("strong-jitter", "grey", "blur", "cutout")


def test_stopping_at_every_step_changes_no_bit(tiny_index, make_run, stopped_at_every_step):
    settings = SegmenterSettings(**SMALL, supervision="masks", augment=STRONG, lr_schedule="cosine", warmup=0.34)
    whole = make_run(settings, {"index": tiny_index}, "whole")
    train_segmenter(whole)
    run = make_run(settings, {"index": tiny_index}, "cut")
    assert stopped_at_every_step(train_segmenter, run) == 6
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (whole.out / file).read_bytes() == (run.out / file).read_bytes(), file
    rates = [json.loads(line)["lr"] for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([0.01 * x for x in (0.5, 1, 1, 0.8535533905932737, 0.5, 0.1464466094067262)])
