"""The benchmark of the veto on masks whose figures can be told by hand."""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.veto import main
from wsss.data.palette import write_mask


def test_one_painted_photo_of_ten(tmp_path, monkeypatch, capsys):
    """Of ten photos, half cat, half background, the first has a block of 2 x 3 of 6 x 9 pixels as dog. Wherever it is,
    IoU of dog is 0, and undefined once the veto took it out."""
    mask = np.zeros((6, 9), np.uint8)
    mask[:3] = 1
    (tmp_path / "masks").mkdir()
    ids = [f"p{number}" for number in range(10)]
    for id in ids:
        write_mask(tmp_path / "masks" / f"{id}.png", mask)
    (tmp_path / "classes.txt").write_text("cat dog\n")
    (tmp_path / "labels.csv").write_text("".join(["id,labels\n", *(f"{id},cat\n" for id in ids)]))
    (tmp_path / "val.txt").write_text("\n".join(ids))
    monkeypatch.setattr(sys, "argv", ["veto", str(tmp_path)])
    main()
    said = capsys.readouterr().out
    assert "1 of 1 painted photos caught, 0 others of 10 named, 0 tagged pixels lost" in said
    rows = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("|")][2:]
    figures = {name: float(value) for name, value in rows}
    # 540 pixels, 270 of either; of the block's 6, k lay on cat: (270 - k) / 270, and the rest on the background
    before = {round(100 * ((270 - k) / 270 + (270 - (6 - k)) / 270) / 3, 1) for k in range(0, 7, 3)}
    after = {round(100 * ((270 - k) / 270 + 270 / (270 + k)) / 2, 1) for k in range(0, 7, 3)}
    assert figures["corrupted"] in before and figures["after the veto"] in after
