"""The choice among pseudo-labels: by hand, beside a twin that counts pixel by pixel, in the stage, in the tables."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from wsss.errors import WsssError
from wsss.evaluate.choice import (
    AgreementCounter,
    Figures,
    TruthCounter,
    best,
    by_agreement,
    by_masks,
)
from wsss.evaluate.counting import merged
from wsss.evaluate.scoring import calibration_ids, score_masks
from wsss.report.provenance import Scored, supervision
from wsss.report.tables import choices_table, origin
from wsss.runtime.run import Run
from wsss.settings import ChoiceSettings
from wsss.stages.choice import make as choose
from wsss.store.masks import MaskFolder
from wsss.system.exit import Interrupted


def slow_miou(mask, judge, classes=3):
    """Label by label and pixel by pixel, with ``judge`` as the truth."""
    pairs = [(a, b) for a, b in zip(mask.ravel().tolist(), judge.ravel().tolist(), strict=True) if b != 255]
    each = []
    for label in range(classes + 1):
        common = sum(a == b == label for a, b in pairs)
        either = sum(label in (a, b) for a, b in pairs)
        each += [common / either] if either else []
    return sum(each) / len(each) if each else float("nan")


def counted(masks, labels=(0,), classes=3):
    """The figures of the masks of one image."""
    members = tuple(SimpleNamespace(read=lambda _, mask=mask: mask) for mask in masks)
    counter = AgreementCounter(tuple("abcdef"[: len(masks)]), members, classes)
    count = counter.start()
    counter.add(count, SimpleNamespace(id="x", height=masks[0].shape[0], width=masks[0].shape[1], labels=labels))
    return by_agreement(count)


def test_by_hand():
    a, b, c = np.uint8([[1, 1, 0, 0]]), np.uint8([[1, 1, 1, 0]]), np.uint8([[1, 0, 0, 0]])
    # a and b: object 2/3, background 1/2; a and c: 1/2, 2/3; b and c: 1/3, 1/3
    found = counted([a, b, c])
    near, far = (7 / 12 + 7 / 12) / 2, (7 / 12 + 1 / 3) / 2
    assert [one.score for one in found] == pytest.approx([near, far, far], abs=5e-5) and best(found) == 0
    assert [one.tags_with_a_pixel for one in found] == [1, 1, 1]
    assert [one.tags_with_a_pixel for one in counted([a, b, c], (0, 1))] == [0.5, 0.5, 0.5]


def test_what_a_member_leaves_out_counts_as_missed_and_what_its_judge_leaves_out_does_not_count():
    whole, sure = np.uint8([[1, 1, 0, 0]]), np.uint8([[1, 255, 0, 255]])
    one, other = counted([whole, sure])
    assert one.score == 1.0  # on the two pixels that the other labels
    assert other.score == 0.5  # of two each has one
    nothing = np.full((1, 4), 255, np.uint8)
    assert [f.score for f in counted([whole, nothing, whole])] == [1.0, 0.0, 1.0]  # a judge without a pixel is none
    assert all(np.isnan(f.score) for f in counted([nothing, nothing]))


def test_two_members_have_the_same_figure():
    rng = np.random.default_rng(0)
    one, other = counted([rng.integers(0, 4, (9, 9)).astype(np.uint8) for _ in range(2)])
    assert one.score == other.score < 1


@pytest.mark.parametrize("members", [2, 3, 5])
def test_slow_twin(members):
    rng = np.random.default_rng(members)
    masks = rng.choice([0, 0, 1, 1, 2, 255], (members, 7, 9)).astype(np.uint8)
    found = [figures.score for figures in counted(list(masks))]
    others = [[n for n in range(members) if n != m] for m in range(members)]
    expected = [np.mean([slow_miou(masks[m], masks[n]) for n in others[m]]) for m in range(members)]
    assert found == pytest.approx(expected, abs=5.1e-5)
    assert found[::-1] == [figures.score for figures in counted(list(masks[::-1]))]  # whatever the order


def test_ties():
    assert best([Figures(0.5), Figures(0.7), Figures(0.7)]) == 1
    assert best([Figures(float("nan")), Figures(float("nan"))]) == 0
    assert best([Figures(float("nan")), Figures(0.0)]) == 1
    assert best([Figures(0.7, 0.1), Figures(0.7, 1.0)]) == 0


def grown(mask):
    """Every object four pixels wider to the right: fair masks."""
    wider = mask.copy()
    for _ in range(4):
        wider[:, 1:] = np.where(wider[:, 1:] == 0, wider[:, :-1], wider[:, 1:])
    return wider


def cut(mask):
    """The lower half of the image is background: poor masks."""
    poor = mask.copy()
    poor[mask.shape[0] // 2 :] = 0
    return poor


@pytest.fixture
def chain(tmp_path, index, little):
    """Members that are poor, good and fair."""
    changes = {"cut": cut, "good": lambda mask: mask, "fair": grown}
    folders = {name: little.masks(tmp_path / "s0/masks" / name, index, change) for name, change in changes.items()}
    return index, folders


@pytest.fixture
def run_of(tmp_path, chain):
    """``run_of(name, members, **settings)``: a run of the stage."""
    index, folders = chain

    def make(name, members=("cut", "good", "fair"), **settings):
        out = tmp_path / "s0/masks" / name
        out.mkdir(parents=True, exist_ok=True)
        args = SimpleNamespace(
            out=out, state=None, seed=0, threads=settings.pop("threads", 1), device="cpu", shard=None
        )
        inputs = {"index": index.folder} | {f"members.{n}": folders[member] for n, member in enumerate(members)}
        return Run(args, ChoiceSettings(members=members, **settings), inputs, "choice")

    return make


def slow_scores(index, folders, members):
    """``by: agreement``, all images side by side."""
    rows = {
        name: np.concatenate([MaskFolder(folders[name] / "masks").read(i.id).ravel() for i in index.labelled("train")])
        for name in members
    }
    return [np.mean([slow_miou(rows[name], rows[other]) for other in members if other != name]) for name in members]


@pytest.mark.parametrize("members", [("cut", "good", "fair"), ("fair", "cut", "good")])
def test_the_stage_by_agreement(chain, run_of, members):
    index, folders = chain
    runs = [run_of(f"best{threads}", members, threads=threads) for threads in (1, 2)]
    expected = slow_scores(index, folders, members)
    for run in runs:
        choose(run)
        choice = run.facts["choice"]
        assert [row["member"] for row in choice["members"]] == list(members)
        assert [row["score"] for row in choice["members"]] == pytest.approx(expected, abs=5.1e-5)
        assert choice["by"] == "agreement" and choice["images_compared"] == len(index.labelled("train"))
        assert "masks_looked_at" not in choice and run.facts["images"] == len(index.items)
        assert choice["chosen"] == "good"
        ids = [item.id for item in index.items]
        assert MaskFolder(run.out / "masks").ids() == sorted(ids)
        for id in ids:
            one, other = (MaskFolder(folder / "masks").file(id) for folder in (run.out, folders["good"]))
            assert one.read_bytes() == other.read_bytes()
    assert runs[0].facts == runs[1].facts


def test_a_lost_class_is_told(chain, run_of):
    index, folders = chain
    tags = [label for item in index.labelled("train") for label in item.labels]
    for item in index.items:
        mask = MaskFolder(folders["fair"] / "masks").read(item.id)
        MaskFolder(folders["fair"] / "masks").write(item.id, np.where(mask == 1, 0, mask).astype(np.uint8))
    run = run_of("best")
    choose(run)
    shares = {row["member"]: row["tags_with_a_pixel"] for row in run.facts["choice"]["members"]}
    assert shares["good"] == 1 and shares["fair"] == round(1 - tags.count(0) / len(tags), 4) < 1


@pytest.mark.parametrize("images", [1, 3, 100])
def test_the_stage_by_masks_looks_at_those_that_thresholds_look_at(chain, run_of, images):
    index, folders = chain
    run = run_of("best", by="masks", calibration_images=images, splits=("val",))
    choose(run)
    choice, scored = run.facts["choice"], index.scored("train")
    assert choice["masks_looked_at"] == min(images, len(scored)) and choice["chosen"] == "good"
    few = set(calibration_ids(scored, images, 0))
    only = replace(index, items=tuple(item for item in index.items if item.id in few))
    for row in choice["members"]:
        policies = score_masks(only, MaskFolder(folders[row["member"]] / "masks"), ["train"], 1)["splits"]["train"]
        assert row == {"member": row["member"], "score": round(policies["policies"][""]["miou"], 4)}
    assert MaskFolder(run.out / "masks").ids() == sorted(item.id for item in index.split("val"))


def test_by_masks_every_member_is_counted_as_alone(chain):
    index, folders = chain
    members = tuple(MaskFolder(folder / "masks") for folder in folders.values())
    items = index.scored("train")
    together = merged(TruthCounter(members, 3), items, 2, "test")
    alone = [merged(TruthCounter((member,), 3), items, 1, "test")[0] for member in members]
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert by_masks(together)[1].score > by_masks(together)[2].score > by_masks(together)[0].score


def test_what_is_missing_is_named(chain, run_of, tmp_path, little):
    index, folders = chain
    lost = index.split("train")[2].id
    MaskFolder(folders["fair"] / "masks").file(lost).unlink()
    with pytest.raises(WsssError, match="let the splits of masks.fair include those of the choice") as error:
        choose(run_of("best"))
    assert lost in str(error.value)
    assert not (tmp_path / "s0/masks/best/masks").exists()
    blind = little.index(tmp_path / "blind", masks=False)
    run = run_of("other", ("cut", "good"), by="masks")
    run.inputs["index"] = blind.folder
    with pytest.raises(WsssError, match="no training image has one; use 'by: agreement'"):
        choose(run)
    run = run_of("third")
    del run.inputs["members.1"]
    with pytest.raises(WsssError, match="--members gives 2 folders"):
        choose(run)


def test_masks_that_do_not_fit_are_named(chain):
    index, folders = chain
    small, strange = index.labelled("train")[:2]
    masks = MaskFolder(folders["fair"] / "masks")
    masks.write(small.id, np.zeros((4, 5), np.uint8))
    masks.write(strange.id, np.full((strange.height, strange.width), 9, np.uint8))
    names = tuple(folders)
    counter = AgreementCounter(names, tuple(MaskFolder(folder / "masks") for folder in folders.values()), 3)
    with pytest.raises(WsssError) as error:
        merged(counter, index.labelled("train"), 1, "agreement")
    for said in (
        f"{small.id}: fair has a mask of 4 x 5 pixels, it is {small.height} x {small.width}",
        f"{strange.id}: fair has the values [9] in it; allowed are 0 to 3 and 255",
    ):
        assert said in str(error.value)


def test_a_signal_leaves_no_masks(run_of):
    run = run_of("best")
    run.stop = "a test"
    with pytest.raises(Interrupted):
        choose(run)
    assert not (run.out / "masks").exists()


def test_settings():
    plain = ChoiceSettings(members=("a", "b", "c"))
    assert (plain.by, plain.splits, plain.calibration_images) == ("agreement", ("train", "val"), None)
    assert "keep" not in plain.counted()
    with pytest.raises(ValidationError, match="at least 2"):
        ChoiceSettings.read({"members": ["a"], "by": "masks"})
    assert ChoiceSettings.read({"members": ["a", "b"], "by": "masks"})
    with pytest.raises(ValidationError, match="name a third member, or set by to masks"):
        ChoiceSettings.read({"members": ["a", "b"]})


def test_the_program_and_the_tables(chain, tmp_path, little):
    index, folders = chain
    settings = {"source": "choice", "members": list(folders), "by": "masks", "calibration_images": 3}
    common = ["--index", index.folder, "--threads", 1]
    scores = tmp_path / "s0/scores/masks"
    for by in ("masks", "agreement"):
        out = tmp_path / "s0/masks" / f"by-{by}"
        given = json.dumps({**settings, "by": by})
        said = little.run_stage("choice", *common, "--members", *folders.values(), "--settings", given, "--out", out)
        assert f"good is chosen by {by}" in said
        little.run_stage("scores", *common, "--kind", "masks", "--artefact", out, "--out", scores / out.name)
    made = tmp_path / "s0/masks/by-masks"
    looked = "3 ground-truth masks (choice of pseudo-labels)"
    assert looked in supervision(made) and looked not in supervision(tmp_path / "s0/masks/by-agreement")
    groups = [Scored(scores / n, "masks", n, 0, {}, tmp_path / "s0/masks" / n) for n in ("by-masks", "by-agreement")]
    assert origin([(groups[0], {})], "") == "good, chosen by masks"
    table = choices_table(groups)
    assert [row[:3] for row in table.rows[:3]] == [
        ["by-masks", "mIoU on the masks looked at", name] for name in ("cut", "good", "fair")
    ]
    assert [row[-1] for row in table.rows] == ["0 of 1", "1 of 1", "0 of 1"] * 2
    assert table.rows[0][4] == "–" and table.rows[4][4] == "100.0"
    little.run_stage(
        "summary", *common, "--results", tmp_path, "--scores", *(scores.glob("*")), "--out", tmp_path / "out"
    )
    page = (tmp_path / "out/summary.md").read_text()
    assert "## Choice of pseudo-labels" in page and "| by-agreement | agreement with the others | good |" in page
    with Image.open(MaskFolder(made / "masks").file(index.items[0].id)) as mask:
        assert mask.mode == "P"
