"""The table of thresholds of a finished run: its figures are those of thresholding, counting and averaging."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.thresholds import main
from wsss.data.images import read_mask
from wsss.evaluate.confusion import confusion, mean_iou
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.refine.thresholds import otsu
from wsss.store.maps import MapStore

LITTLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "evaluate" / "conftest.py")))


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    index = LITTLE.make_index(tmp_path / "index")
    cams = LITTLE.make_cams(tmp_path / "s4" / "cams" / "plain", index)
    LITTLE.make_cams(tmp_path / "s4" / "cams" / "some", index, splits=("val",))
    monkeypatch.setattr(sys, "argv", ["thresholds", str(tmp_path)])
    main()
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [line[:4] for line in lines[2:]] == [
        ["plain", "4", "train", str(len(index.scored("train")))],
        ["plain", "4", "val", str(len(index.scored("val")))],
        ["some", "4", "val", str(len(index.scored("val")))],
    ]
    store, items = MapStore(cams), index.scored("train")
    limits = {item.id: [float(otsu(map_)) for map_ in store.full(item.id)] for item in items}

    def miou(constant: float | None) -> float:
        matrix = np.zeros((4, 4), np.int64)
        for item in items:
            threshold = np.array(limits[item.id]) if constant is None else constant
            mask = pseudo_mask(store.full(item.id), store[item.id].classes, threshold)
            matrix += confusion(read_mask(item.mask), mask, 3)
        return 100 * float(mean_iou(matrix))

    curve = {t: miou(t) for t in np.arange(100) / 100}
    best = max(curve, key=lambda t: (curve[t], -t))
    flat = [t for each in limits.values() for t in each]
    assert lines[2][4:] == [
        *(f"{curve[best]:.1f} at {best:g}", f"{miou(0.3):.1f}", f"{miou(0.4):.1f}", f"{miou(None):.1f}"),
        f"{np.mean(flat):.2f} ± {np.std(flat):.2f}",
    ]
    assert len({*lines[2][5:8]}) == 3  # the columns differ here
