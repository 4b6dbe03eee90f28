"""Votes of pseudo-labels."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.refine.votes import agreement, majority
from wsss.settings import VoteSettings
from wsss.stages.vote import make as write_votes
from wsss.store.manifest import write_manifest
from wsss.store.masks import MaskFolder
from wsss.system.exit import Interrupted


def slowly(votes, rule):
    """One pixel."""
    votes = [int(v) for v in votes if v != 255]
    counts = {v: votes.count(v) for v in votes}
    if not counts:
        return 255
    leaders = [v for v in counts if counts[v] == max(counts.values())]
    if rule == "majority":
        return leaders[0] if len(leaders) == 1 else 255
    return votes[0] if len(counts) == 1 else 255


def test_by_hand():
    masks = np.array([
        [[0, 1, 1, 255, 255, 0, 5, 255, 0]],
        [[0, 1, 2, 3, 255, 1, 5, 2, 255]],
        [[0, 2, 3, 255, 255, 0, 5, 1, 255]],
        [[0, 2, 2, 255, 255, 1, 5, 2, 0]],
    ], np.uint8)  # fmt: skip
    # all; a tie of 1 and 2; two 2; one vote; none; a tie with the background; all; 2 over 1; background over none
    assert majority(masks).tolist() == [[0, 255, 2, 3, 255, 255, 5, 2, 0]]
    assert agreement(masks).tolist() == [[0, 255, 255, 3, 255, 255, 5, 255, 0]]
    nothing = np.full((2, 1, 3), 255, np.uint8)
    assert majority(nothing).tolist() == agreement(nothing).tolist() == [[255] * 3]


@pytest.mark.parametrize("members", [2, 3, 5])
def test_slow_twins(members):
    rng = np.random.default_rng(members)
    masks = rng.choice([0, 1, 2, 20, 255], (members, 9, 11)).astype(np.uint8)
    for name, rule in (("majority", majority), ("agreement", agreement)):
        found = rule(masks)
        assert found.dtype == np.uint8
        for y, x in np.ndindex(9, 11):
            assert found[y, x] == slowly(masks[:, y, x], name)


@pytest.fixture
def chain(tmp_path, pictures):
    index = pictures(tmp_path / "index")
    folders = []
    for number in range(3):
        rng = np.random.default_rng(number)
        for item in index.items:
            mask = rng.choice([0, 0, 1, 3, 255], (item.height, item.width)).astype(np.uint8)
            MaskFolder(tmp_path / f"m{number}" / "masks").write(item.id, mask)
        write_manifest(tmp_path / f"m{number}", {})
        folders.append(tmp_path / f"m{number}")
    inputs = {"index": index.folder} | {f"members.{n}": folder for n, folder in enumerate(folders)}
    return index, folders, inputs


@pytest.mark.parametrize("rule", ["majority", "agreement"])
def test_stage(chain, make_run, rule, caplog):
    index, folders, inputs = chain
    settings = VoteSettings(members=("m0", "m1", "m2"), rule=rule)
    runs = [make_run("vote", settings, inputs, f"v{threads}", threads=threads) for threads in (1, 2)]
    for run in runs:
        write_votes(run)
        left_out = total = 0
        pixels: dict[str, np.ndarray] = {}
        for item in index.items:
            votes = np.stack([MaskFolder(folder / "masks").read(item.id) for folder in folders])
            mask = MaskFolder(run.out / "masks").read(item.id)
            np.testing.assert_array_equal(mask, {"majority": majority, "agreement": agreement}[rule](votes))
            left_out, total = left_out + (mask == 255).sum(), total + mask.size
            for c, name in enumerate(index.classes, 1):
                pixels[name] = pixels.get(name, 0) + np.array([(mask == c).sum(), (votes == c).sum() / 3])
        assert run.facts["kept"] == {n: round(a / b, 4) if b else 0.0 for n, (a, b) in pixels.items()}
        said = "keeps less than a quarter of the pixels" in caplog.text
        assert said == (min(run.facts["kept"].values()) < 0.25)
        assert run.facts["images"] == 9 and run.facts["ignored_share"] == round(left_out / total, 4) > 0
    with (runs[0].out / "agreement.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["a"], row["b"]) for row in table] == [("m0", "m1"), ("m0", "m2"), ("m1", "m2")]
    same = both = 0
    for item in index.items:
        a, b = (MaskFolder(folder / "masks").read(item.id) for folder in folders[:2])
        votes = (a != 255) & (b != 255)
        same, both = same + (a == b)[votes].sum(), both + votes.sum()
    assert float(table[0]["agreement"]) == pytest.approx(same / both, abs=1e-6) and int(table[0]["pixels"]) == both
    assert runs[0].facts["agreement"] == runs[1].facts["agreement"]


def test_members_that_do_not_fit_are_named_at_once(chain, make_run):
    index, folders, inputs = chain
    settings = VoteSettings(members=("a", "b", "c"))
    lost, small, strange = index.items[:3]
    MaskFolder(folders[0] / "masks").file(lost.id).unlink()
    MaskFolder(folders[1] / "masks").write(small.id, np.zeros((4, 5), np.uint8))
    MaskFolder(folders[2] / "masks").write(strange.id, np.full((strange.height, strange.width), 4, np.uint8))
    run = make_run("vote", settings, inputs)
    with pytest.raises(WsssError) as error:
        write_votes(run)
    for said in (
        "3 of 9 failed",
        f"{lost.id}: a has no mask of it",
        f"{small.id}: b has a mask of 4 x 5 pixels, it is {small.height} x {small.width}",
        f"{strange.id}: c has the values [4] in it; allowed are 0 to 3 and 255",
    ):
        assert said in str(error.value)
    assert not (run.out / "masks").exists()
    inputs.pop("members.1")
    with pytest.raises(WsssError, match="--members gives 2 folders"):
        write_votes(make_run("vote", settings, inputs, "n"))


def test_a_signal_leaves_no_masks(chain, make_run):
    run = make_run("vote", VoteSettings(members=("a", "b", "c")), chain[2])
    run.stop = "a test"
    with pytest.raises(Interrupted):
        write_votes(run)
    assert not (run.out / "masks").exists()
