"""The program that makes regions: what it writes is what the stage reads; the network itself is not run here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from wsss.refine.regions import read_regions

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "sam_regions.py"


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("sam_regions", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_it_writes_can_be_read_and_is_written_once(tool, tmp_path, pictures):
    index, seen = pictures(tmp_path / "index"), {}

    def generate(image, points_per_batch):
        assert points_per_batch == 8
        masks = np.random.default_rng(len(seen)).random((3, image.height, image.width)) > 0.5
        seen[len(seen)] = masks
        return {"masks": list(masks), "scores": np.array([0.5, 0.75, 1.0])}

    assert tool.cut(index, tmp_path / "sam", generate, ("train",), 8) == 6
    for number, item in enumerate(index.split("train")):
        found = read_regions(tmp_path / "sam" / f"{item.id}.json", (item.height, item.width))
        assert [one.iou for one in found] == [0.5, 0.75, 1.0]
        for one, mask in zip(found, seen[number], strict=True):
            np.testing.assert_array_equal(one.pixels, np.flatnonzero(mask))
    assert tool.cut(index, tmp_path / "sam", generate, ("train", "val"), 8) == 3 and len(seen) == 9
