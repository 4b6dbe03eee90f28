"""The values see what a change of a method does, and nothing else; and what is said and recorded then."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.cases import ROOT, all_cases, case
from tests.golden.comparing import CHANGES, NUMBERS, PIXELS, Judged, difference, differences
from tests.golden.figures import figures, lean
from tests.golden.mutations import MUTATIONS, SAME
from tests.golden.pins import environment
from tests.golden.portraits import moments
from tests.golden.records import judged, read_records, record, write_record

RECORDS = read_records()
KEY = "masks.fixed"


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of cases with changed methods, in a process with few instructions of the processor."""
    out = tmp_path_factory.mktemp("mutations") / "found.json"
    command = [sys.executable, "-m", "tests.golden", "--mutations", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return content


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_method_is_seen(name: str, found: dict[str, Any]) -> None:
    key = MUTATIONS[name].case
    said = judged(found[name]).verdict(key)
    assert said is not None and " moved but VERSION in " in said, said or "nothing moved"
    assert f"--record {key}`" in said and f"--record {key} --explain 'why'`" in said


def test_layout_and_comments_move_nothing(found: dict[str, Any]) -> None:
    verdicts = judged(found["reformatted"])
    assert [verdicts.verdict(key) for key in SAME] == [None] * len(SAME)


# what is said


def one(key: str = KEY, values: Any = None, **raised: int) -> dict[str, Any]:
    """What came of a case, as on record but for what is given."""
    on_record = RECORDS[key]
    stage = key.partition(".")[0]
    files = {stage: f"stages/{stage}.py"}
    versions = {**on_record["versions"], **{name.replace("_", " "): version for name, version in raised.items()}}
    return {"versions": versions, "files": files, "values": on_record["values"] if values is None else values}


def moved(key: str = KEY) -> dict[str, Any]:
    """The values on record of a case, and one more."""
    return {**RECORDS[key]["values"], "another": "value"}


def said(found: dict[str, Any], key: str = KEY) -> str:
    return judged(found).verdict(key) or ""


def test_nothing_moved_and_nothing_raised() -> None:
    assert judged({KEY: one()}).verdict(KEY) is None


def test_values_moved_under_the_old_version() -> None:
    sentence = said({KEY: one(values=moved())})
    assert sentence.startswith(
        "results of masks (fixed) moved but VERSION in stages/masks.py did not:\n  another is new"
    )
    assert "raise" in sentence.lower() and "`python -m tests.golden --record masks.fixed --explain 'why'`" in sentence


def test_a_version_was_raised_and_nothing_moved() -> None:
    sentence = said({KEY: one(masks=2)})
    assert (
        sentence.startswith("VERSION was raised (stages/masks.py), but nothing moved")
        and "made anew for nothing" in sentence
    )


def test_both_moved() -> None:
    assert "record the new values" in said({KEY: one(values=moved(), masks=2)})


def test_a_version_that_several_have_is_raised_for_one_of_them() -> None:
    other = "masks.ignore"
    found = {KEY: one(masks=2), other: one(other, moved(other), masks=2)}
    record = "`python -m tests.golden --record masks.ignore masks.fixed`"
    assert said(found) == f"VERSION of masks was raised: record it ({record})"
    recorded = {KEY: RECORDS[KEY], other: {**RECORDS[other], "versions": found[other]["versions"]}}
    assert not judged({KEY: found[KEY]}, recorded).needs_words(KEY)


def test_values_that_move_with_what_they_are_made_from() -> None:
    """A training with a new version moves the maps that are made of it, whose own version stays."""
    trained, read = "saliency.c2am-h", "saliency_maps.c2am-h"
    found = {trained: one(trained, moved(trained), saliency=2), read: one(read, moved(read))}
    assert said(found, read).startswith("results of saliency_maps (c2am-h) moved, and so did saliency.c2am-h: record")
    found[trained] = one(trained, moved(trained))
    assert "moved but VERSION in stages/saliency_maps.py did not" in said(found, read)


def test_a_case_that_fails_or_is_not_on_record() -> None:
    assert said({KEY: {"error": "Traceback"}}) == "masks.fixed could not be run:\nTraceback"
    verdict = Judged({}, {KEY: one()}, {}, {}).verdict(KEY)
    assert verdict is not None and "--record masks.fixed`, and commit tests/golden/values/masks.fixed.json" in verdict


# what is recorded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_record(tmp_path / f"{KEY}.json", RECORDS[KEY])
    return tmp_path


def test_recording_refuses_what_has_no_reason(folder: Path) -> None:
    for found in ({KEY: one(values=moved())}, {KEY: one(masks=2)}):
        before = read_records(folder)
        written, refused = record([KEY], found, folder=folder)
        assert not written and len(refused) == 1 and read_records(folder) == before
        assert record([KEY], found, explain="numpy 3 sums otherwise", folder=folder) == ([KEY], [])
        after = read_records(folder)[KEY]
        assert after["values"] == found[KEY]["values"] and after["versions"] == found[KEY]["versions"]
        assert after["notes"][-1]["why"] == "numpy 3 sums otherwise" and "torch" in after["notes"][-1]["libraries"]
        write_record(folder / f"{KEY}.json", RECORDS[KEY])


def test_recording_takes_what_has_a_version_and_what_is_new(folder: Path) -> None:
    assert record([KEY], {KEY: one(values=moved(), masks=2)}, folder=folder) == ([KEY], [])
    assert read_records(folder)[KEY]["values"]["another"] == "value"
    other = "vote.majority"
    assert record([other], {other: one(other)}, folder=folder) == ([other], [])
    assert read_records(folder)[other] == {**RECORDS[other], "notes": []}
    assert record([other], {other: one(other)}, folder=folder) == ([], [])


def test_recording_leaves_values_that_only_drifted(folder: Path) -> None:
    values = deepcopy(RECORDS[KEY]["values"])
    values["manifest"]["foreground_share"] += 1e-6
    assert record([KEY], {KEY: one(values=values)}, folder=folder) == ([], [])


# what counts as a difference


def test_numbers_are_seen_by_the_size_of_their_list() -> None:
    was = [100.0, 0.001, None]
    assert difference("map", was, [100.0 * (1 + NUMBERS / 2), 0.02, None]) is None
    assert difference("map", was, [100.0 * (1 + NUMBERS * 2), 0.001, None]) is not None
    assert difference("change of net head", was, [100.0 * (1 + CHANGES / 2), 0.001, None]) is None
    assert difference("map", was, [100.0, 0.001, 1.0]) is not None
    assert difference("map", was, was[:2]) is not None
    assert difference("map", [0.0], [1e-3]) is not None


def test_whole_numbers_are_equal_and_named_ones_seen_each() -> None:
    assert difference("images", [12, 0.5], [13, 0.5]) is not None
    assert difference("scores", {"ic": 100.0, "ad": 2.0}, {"ic": 100.0, "ad": 2.01}) is not None
    assert difference("scores", {"ic": 100.0, "ad": 2.0}, {"ic": 100.0}) is not None
    assert difference("name", "a", "b") is not None
    assert differences({"a": "x", "b": "y"}, {"a": "x", "c": "y"}) == ["c is new", "b is gone"]


def test_pixels_that_change_their_label_or_place_are_counted() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:40, 20:40] = 1
    shifted = np.roll(mask, 1, 1)
    few = mask.copy()
    few[40, 20:21] = 1

    def value(array: Any) -> dict[str, Any]:
        return {"of": array.size, "images": {"a": moments(array)}}

    assert difference("masks", value(mask), value(shifted)) is not None
    assert difference("masks", value(mask), value(few)) is None
    few[41, 20 : 20 + 2 + int(PIXELS * mask.size)] = 1
    assert difference("masks", value(mask), value(few)) is not None


def test_an_array_is_seen_whatever_changes_in_it() -> None:
    array = np.linspace(0, 1, 600).reshape(20, 30)
    for other in (array[::-1], array[:, ::-1], np.roll(array, 1), array * 1.001, array + 0.001):
        assert difference("map", lean(array), lean(other)) is not None
    assert figures("54.9 % of 6 images in 2.3 s, −1.5 points, p2am 12 MiB") == [54.9, 6, -1.5]


def test_every_mutation_is_of_a_case() -> None:
    assert {one.case for one in MUTATIONS.values()} | set(SAME) <= all_cases().keys()
    assert case(KEY).key == KEY
