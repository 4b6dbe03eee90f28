"""The verdict: every rule from scores written by hand, on both sides of its limits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsss.report.provenance import Scored
from wsss.report.verdict import Light, below_linear, verdict
from wsss.store.manifest import write_manifest


class FakeIndex:
    """Photos with tags: two classes, the first on each, the second on every other one."""

    classes = ("cat", "dog")

    def __init__(self, train: int = 40) -> None:
        self.photos = {"train": train, "val": 20}

    def labelled(self, split: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(labels=(0,) if n % 2 else (0, 1)) for n in range(self.photos[split])]


class Folders:
    """Artefacts in a folder, and their scores."""

    def __init__(self, base: Path) -> None:
        self.base, self.scored = base, []

    def add(
        self, kind: str, name: str, val: dict[str, Any], train: dict[str, Any] | None = None, made: str = "",
        seed: int = 0, **settings: Any,
    ) -> list[Scored]:  # fmt: skip
        """One artefact with its scores; ``made``: ``kind/name`` of what it was made from."""
        place = {"segmenters": "predictions"}.get(kind, kind)
        folder = (self.base / f"s{seed}" / place / name).resolve()
        folder.mkdir(parents=True)
        inputs = {"given": {"path": f"../../{made}", "content": "0"}} if made else {}
        write_manifest(folder, {"stage": kind, "settings": settings, "seed": seed, "inputs": inputs})
        splits = {"val": {"policies": {"": val}}, **({"train": {"policies": {"": train}}} if train else {})}
        one = Scored(folder, kind, name, seed, {"splits": splits, "classes": ["cat", "dog"]}, folder)
        self.scored.append(one)
        return [one]

    def lights(self, leading: list[Scored], index: FakeIndex | None = None) -> dict[str, Light]:
        found = verdict(index or FakeIndex(), self.scored, leading)
        assert len({light.about for light in found}) == len(found)
        return {light.about: light for light in found}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


# both classes: chance is (1 + 0.5) / 2 = 0.75; a quarter of the way from there to 1 is 0.8125
@pytest.mark.parametrize(
    "value, level", [(0.76, "bad"), (0.874, "bad"), (0.876, "look"), (0.937, "look"), (0.938, "good")]
)
def test_a_classifier_is_judged_between_chance_and_all(value: float, level: str, folders: Folders) -> None:
    folders.add("classifiers", "a", {"map": value}, objective="vanilla")
    light = folders.lights(folders.add("masks", "a", {"miou": 0.5}, made="classifiers/a"))["Classifier"]
    assert light.level == level and "a guess would have 75.0 %" in light.reason
    assert bool(light.advice) == (level != "good")


def test_a_trained_classifier_below_the_linear_one_is_said(folders: Folders) -> None:
    folders.add("classifiers", "probe", {"map": 0.912}, objective="linear")
    for seed, value in enumerate((0.46, 0.48)):
        folders.add("classifiers", "mine", {"map": value}, seed=seed, objective="vanilla")
    folders.add("classifiers", "near", {"map": 0.903}, objective="vanilla")
    assert below_linear(folders.scored) == {"mine": (pytest.approx(0.47), 0.912, "probe")}
    light = folders.lights(folders.add("masks", "m", {"miou": 0.2}, made="classifiers/mine"))["Training"]
    assert light.level == "bad" and "mine has mAP 47.0 %" in light.reason and "'warm_start: probe'" in light.advice
    light = folders.lights(folders.add("masks", "n", {"miou": 0.2}, made="classifiers/near"))["Training"]
    assert light.level == "look", "it is bad, but nothing rests on it"


def test_nothing_is_below_a_linear_layer_that_is_not_there(folders: Folders) -> None:
    folders.add("classifiers", "mine", {"map": 0.1}, objective="vanilla")
    assert below_linear(folders.scored) == {}


@pytest.mark.parametrize(
    "present, coverage, said",
    [(0.25, 0.1, "75.0 % of the tags have no pixel"), (1.0, 0.85, "takes 85.0 %"), (0.35, 0.79, None)],
)
def test_pseudo_labels_without_ground_truth(
    present: float, coverage: float, said: str | None, folders: Folders
) -> None:
    blind = {"tagged_present": present, "coverage": coverage, "untagged": 0.0}
    found = folders.lights(folders.add("masks", "m", blind, blind))
    assert ("Pseudo-labels" in found) == (said is not None)
    if said:
        assert found["Pseudo-labels"].level == "bad" and said in found["Pseudo-labels"].reason


@pytest.mark.parametrize("value, level", [(0.45, "good"), (0.44, "look"), (0.38, "look"), (0.37, "bad")])
def test_a_network_beside_its_upper_bound(value: float, level: str, folders: Folders) -> None:
    folders.add("segmenters", "bound", {"miou": 0.5, "fn_rate": 0.1}, supervision="masks")
    light = folders.lights(folders.add("segmenters", "net", {"miou": value, "fn_rate": 0.2}))["Network"]
    assert light.level == level and f"mIoU {100 * value:.1f} %" in light.reason and "of the 50.0 %" in light.reason


def test_a_network_that_sees_background_only(folders: Folders) -> None:
    light = folders.lights(folders.add("segmenters", "a", {"miou": 0.11, "fn_rate": 0.93}))["Network"]
    assert light.level == "bad" and "93.0 % of the objects' area is missed" in light.reason
    blind = {"tagged_present": 0.1, "coverage": 0.01, "untagged": 0.0}
    light = folders.lights(folders.add("segmenters", "b", blind))["Network"]
    assert light.level == "bad" and "90.0 % of the tags of validation images" in light.reason


def test_a_shorter_path_that_is_better(folders: Folders) -> None:
    folders.add("cams", "a", {"miou": 0.4})
    folders.add("masks", "short", {"miou": 0.711})
    lead = folders.add("masks", "long", {"miou": 0.605}, made="cams/a")
    light = folders.lights(lead)["Path"]
    assert (
        light.level == "look"
        and "short, which fewer steps led to, have 10.6 points of mIoU more than long" in light.reason
    )


def test_few_photos_and_the_order(folders: Folders) -> None:
    folders.add("classifiers", "a", {"map": 0.76}, objective="vanilla")
    leading = folders.add("masks", "a", {"miou": 0.5}, made="classifiers/a")
    found = verdict(FakeIndex(18), folders.scored, leading)
    assert [light.level for light in found] == ["bad", "look"]
    assert "Few training photos have the tag dog (9)" in found[1].reason
    assert verdict(FakeIndex(), folders.scored, []) == []


def test_a_class_that_a_vote_has_lost(folders: Folders) -> None:
    leading = folders.add("masks", "agree", {"miou": 0.5})
    assert "Vote" not in folders.lights(leading)
    write_manifest(leading[0].artefact, {"stage": "vote", "settings": {}, "kept": {"cat": 0.25, "dog": 0.24}})
    light = folders.lights(leading)["Vote"]
    assert light.level == "look" and "agree hardly agree on dog (24.0 %)" in light.reason and "cat" not in light.reason
