"""A setting that comes new declares its neutral value, or a version is raised."""

from __future__ import annotations

from typing import Annotated

import pytest

from tests.golden import counted
from tests.golden.counted import complaint, current, entry, keys_of, minimal, on_record, record_settings
from tests.golden.records import write_record
from wsss.settings import C2amSettings, CrfSettings, MasksSettings, SegmentationSettings, VanillaSettings
from wsss.settings.base import Neutral

NOW = current()
WAS = on_record()["entries"]


@pytest.mark.parametrize("name", sorted(NOW.keys() | WAS.keys()))
def test_what_counts_in_identities_changes_with_versions_only(name: str) -> None:
    said = complaint(name, WAS.get(name), NOW.get(name))
    if said is not None:
        pytest.fail(said, pytrace=False)


class Harmless(VanillaSettings):
    """A setting that came later, and says with what nothing changes."""

    sharpness: Annotated[float, Neutral(0.0)] = 0.0


class Careless(VanillaSettings):
    sharpness: float = 0.0


class Deaf(VanillaSettings):
    """Its neutral value is not its default, so that defaults do change."""

    sharpness: Annotated[float, Neutral(0.0)] = 0.5


class FinerCrf(CrfSettings):
    kernels: int = 2


class Finer(MasksSettings):
    """The new setting stands in another, which by default is null."""

    second: FinerCrf | None = None


def test_a_new_setting_without_a_neutral_value_is_refused() -> None:
    was = WAS["classifier vanilla"]
    assert complaint("classifier vanilla", was, entry("classifier", minimal(Harmless))) is None
    for cls in (Careless, Deaf):
        said = complaint("classifier vanilla", was, entry("classifier", minimal(cls)))
        assert said is not None and said.startswith("sharpness of classifier vanilla came new without a neutral value")
        assert "Neutral(value)" in said and "raise VERSION of one of classifier, training, objective vanilla" in said
    said = complaint("masks", WAS["masks"], entry("masks", minimal(Finer)))
    assert said is not None and said.startswith("second, second.bilateral, ")
    assert "second.kernels" in keys_of(minimal(Finer))


def test_with_a_version_it_is_recorded() -> None:
    now = entry("classifier", minimal(Careless))
    raised = {**now, "versions": {**now["versions"], "classifier": 2}}
    said = complaint("classifier vanilla", WAS["classifier vanilla"], raised)
    assert said is not None and said.endswith("record it (`python -m tests.golden --record settings`)")
    assert complaint("classifier vanilla", raised, raised) is None


def test_what_went_is_seen_too() -> None:
    was = {**WAS["masks"], "keys": [*WAS["masks"]["keys"], "vigour"]}
    said = complaint("masks", was, WAS["masks"])
    assert said is not None and said.startswith("vigour of masks no longer count")
    assert "are new" in str(complaint("masks", None, WAS["masks"]))
    assert "are gone" in str(complaint("masks", WAS["masks"], None))


def test_fields_of_other_steps_do_not_count() -> None:
    keys = NOW["segmenter segmentation"]["keys"]
    assert "masks" in keys and "predict" not in keys and "log" not in keys
    assert "maps.flip" in keys_of(minimal(C2amSettings)) and "maps" not in NOW["saliency c2am"]["keys"]
    assert NOW["predictions"]["keys"] == sorted(
        key.removeprefix("predict.") for key in keys_of(minimal(SegmentationSettings)) if key.startswith("predict.")
    )
    assert "reconstruction.end" in NOW["classifier puzzle"]["keys"]
    assert "ignore.foreground" in NOW["masks"]["keys"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A record in which a setting is missing that there is, and another has an old version."""
    path = tmp_path / "settings.json"
    monkeypatch.setattr(counted, "FILE", path)
    entries = {name: dict(one) for name, one in NOW.items()}
    entries["walk"]["keys"] = [key for key in NOW["walk"]["keys"] if key != "beta"]
    entries["vote"]["versions"] = {"vote": 0}
    write_record(path, {"entries": entries, "notes": []})
    return path


def test_recording_refuses_what_has_no_reason(file) -> None:
    written, refused = record_settings(file)
    assert written == ["vote"] and len(refused) == 1 and refused[0].startswith("beta of walk came new")
    assert record_settings(file) == ([], refused)
    assert record_settings(file, explain="the walk is nobody's yet") == (["walk"], [])
    record = on_record()
    assert record["entries"] == NOW and record["notes"][0]["why"] == "the walk is nobody's yet"
    assert "torch" in record["notes"][0]["libraries"]


def test_recording_cases_brings_their_versions_along(file) -> None:
    assert record_settings(file, only_versions=True) == (["vote"], [])
    assert "beta" not in on_record()["entries"]["walk"]["keys"]
