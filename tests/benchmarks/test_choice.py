"""The table of choices of a finished run: its figures are those of choosing again and again."""

from __future__ import annotations

import runpy
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.choice import main
from wsss.evaluate.choice import AgreementCounter, TruthCounter, best, by_agreement, by_masks
from wsss.evaluate.counting import merged
from wsss.evaluate.scoring import calibration_ids
from wsss.store.manifest import read_manifest, write_manifest
from wsss.store.masks import MaskFolder

LITTLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "evaluate" / "conftest.py")))
CHANGES = {"a": 9, "b": 3, "c": 1, "d": 6}


def test_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    index = LITTLE.make_index(tmp_path / "index")
    folders = {}
    for name, shift in CHANGES.items():
        folders[name] = tmp_path / "s4" / "masks" / name
        LITTLE.make_masks(folders[name], index, lambda mask, shift=shift: np.roll(mask, shift, 1))
    LITTLE.make_masks(tmp_path / "s4/masks/few", index, splits=("val",))
    passed_on = LITTLE.make_masks(tmp_path / "s4/masks/passed-on", index)
    write_manifest(passed_on, read_manifest(passed_on) | {"settings": {"source": "choice"}})
    flags = ["--masks", "2", "--draws", "3", "--each"]
    monkeypatch.setattr(sys, "argv", ["choice", str(tmp_path), *flags])
    main()
    said = capsys.readouterr().out
    assert "few: lacks masks of training images, left out" in said and "passed-on" not in said
    lines = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("|")]
    assert [line[:3] for line in lines[2:5]] == [["2", "2 masks", "6"], ["3", "agreement", "4"], ["3", "2 masks", "4"]]

    def figures(names, items):
        return by_masks(merged(TruthCounter(tuple(MaskFolder(folders[n] / "masks") for n in names), 3), items, 1, "x"))

    scored = index.scored("train")
    true = {name: 100 * one.score for name, one in zip(CHANGES, figures(CHANGES, scored), strict=True)}
    assert max(true, key=true.get) == "c" and len({*true.values()}) == 4
    triples, lost, chosen = list(combinations(CHANGES, 3)), [], []
    for names in triples:
        counter = AgreementCounter(names, tuple(MaskFolder(folders[n] / "masks") for n in names), 3)
        chosen.append(names[best(by_agreement(merged(counter, index.labelled("train"), 1, "x")))])
        lost.append(max(true[n] for n in names) - true[chosen[-1]])
    anybody = [np.mean([max(true[n] for n in names) - true[m] for m in names]) for names in triples]
    right = np.mean([value == 0 for value in lost])
    assert lines[3][3:] == [
        f"{100 * right:.0f} %", "33 %", f"{np.mean(lost):.2f}", f"{np.mean(anybody):.2f}", f"{max(lost):.2f}"
    ]  # fmt: skip
    assert [(line[0], line[3]) for line in lines[7:]] == [
        (", ".join(names), taken) for names, taken in zip(triples, chosen, strict=True)
    ]
    drawn = [[item for item in scored if item.id in set(calibration_ids(scored, 2, seed))] for seed in range(3)]
    pairs = list(combinations(CHANGES, 2))
    lost = [max(map(true.get, p)) - true[p[best(figures(p, few))]] for p in pairs for few in drawn]
    assert lines[2][5] == f"{np.mean(lost):.2f}" and lines[2][7] == f"{max(lost):.2f}"
