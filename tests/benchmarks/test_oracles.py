"""The table of oracles on pictures whose answers are known by hand."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.oracles import THRESHOLDS, main, of_masks
from wsss.data.images import read_mask
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

LITTLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "evaluate" / "conftest.py")))


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    index = LITTLE.make_index(tmp_path / "index")
    run = tmp_path / "s0"
    LITTLE.make_cams(run / "cams" / "a", index)
    LITTLE.make_masks(run / "masks" / "true", index)
    LITTLE.make_masks(run / "predictions" / "moved", index, lambda mask: np.roll(mask, 5, 1))
    flags = ["--cams", "a", "--masks", "true", "--predictions", "moved"]
    monkeypatch.setattr(sys, "argv", ["oracles", str(run), *flags])
    main()
    lines = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cams, true, moved = ([float(v) if v.strip() else None for v in line[1:]] for line in lines[2:])
    store, classes = MapStore(run / "cams" / "a"), len(index.classes)
    found = []
    for threshold in THRESHOLDS:
        hits, union = np.zeros(classes + 1), np.zeros(classes + 1)
        for item in index.scored("val"):
            truth, maps = read_mask(item.mask), store.full(item.id)
            known = [c + 1 for c in store[item.id].classes]
            for y, x in np.ndindex(truth.shape):
                if truth[y, x] != 255:
                    k = int(maps[:, y, x].argmax())
                    said = known[k] if maps[k, y, x] > threshold else 0
                    hits[said] += said == truth[y, x]
                    union[list({said, int(truth[y, x])})] += 1
        found.append(np.mean((hits / np.maximum(union, 1))[union > 0]))
    assert cams[1] == pytest.approx(100 * max(found), abs=0.051)
    assert cams[1] <= cams[2] <= cams[4] and cams[3] is None
    assert true == [100, None, None, None, 100]
    assert moved[0] <= moved[3] <= moved[4] and moved[0] < 100


def test_tags_and_saliency_by_hand(tmp_path: Path) -> None:
    index = LITTLE.make_index(tmp_path / "index")
    item = next(item for item in index.scored("val") if len(item.labels) == 1)
    truth, own = read_mask(item.mask), item.labels[0] + 1
    other = next(c for c in range(1, len(index.classes) + 1) if c != own)
    said = np.where(truth == own, own, other).astype(np.uint8)  # all that is no object is another class
    folder = MaskFolder(tmp_path / "masks")
    folder.write(item.id, said)
    plain, _, _, tagged, salient = of_masks(folder, [item], len(index.classes), tags=True)
    assert tagged == salient == 1 > plain, "without the untagged class, the mask is the truth"
    folder.write(item.id, np.zeros_like(truth))
    assert of_masks(folder, [item], len(index.classes), tags=False)[3:] == [None, 1.0], "the tag stands in"
