"""``wsss report --against``: what changed between two runs, and the scores of both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsss.cli import main
from wsss.report.changes import GONE, NEW, OTHER, SAME, changes, changes_table, read_kept, read_results

LOST = 0.1
"""mIoU that the other run has less."""


def edited(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def identify(base: Path) -> None:
    """Identities, as stages write them: of the kind and name, which stand for what an artefact was made from."""
    for path in base.glob("s*/*/*/manifest.json"):
        name = "/".join(path.parts[-4:-1])
        edited(path, lambda about, name=name: about.update(identity=name, content=name))
    for path in base.glob("s*/**/manifest.json"):  # as they recorded their inputs
        for_inputs = json.loads(path.read_text())
        for given in for_inputs["inputs"].values():
            at = (path.parent / given["path"]).resolve()
            given["content"] = "/".join(at.parts[-3:])
        path.write_text(json.dumps(for_inputs))


def worse(base: Path, seed: int) -> None:
    """The masks of a seed were made with another source of settings, and are worse."""
    edited(base / f"s{seed}/masks/plain/manifest.json", lambda a: a["settings"].update(ignore=0.2))
    edited(base / f"s{seed}/masks/plain/manifest.json", lambda a: a.update(identity="other", content="other"))

    def lower(scores) -> None:
        for split in scores["splits"].values():
            split["policies"][""]["miou"] -= LOST

    for kind, name in (("masks", "plain"), ("segmenters", "net")):
        edited(base / f"s{seed}/scores/{kind}/{name}/scores.json", lower)


@pytest.fixture
def runs(scored: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """Two copies of a run, which may be changed."""
    for name in ("before", "now"):
        shutil.copytree(scored.base, tmp_path / name, symlinks=True)
        identify(tmp_path / name)
    return SimpleNamespace(before=tmp_path / "before", now=tmp_path / "now")


def by_name(found):
    return {(one.kind, one.recipe): one for one in found}


def test_nothing_changed(runs) -> None:
    found = changes(read_results(runs.before), read_results(runs.now))
    assert {one.state for one in found} == {SAME} and all(not one.causes for one in found)
    assert all(one.difference == 0 for one in found) and len(found) == 5


def test_a_setting_is_told_where_it_stands_and_where_it_acts(runs) -> None:
    for seed in (0, 3):
        worse(runs.now, seed)
    found = by_name(changes(read_results(runs.before), read_results(runs.now)))
    assert {key for key, one in found.items() if one.state == OTHER} == {("masks", "plain"), ("segmenters", "net")}
    for key in (("masks", "plain"), ("segmenters", "net")):
        assert found[key].causes == ("pseudo-labels plain: ignore (absent) → 0.2",)
        assert found[key].difference == pytest.approx(-LOST) and found[key].split == "val"
    row = next(row for row in changes_table(list(found.values())).rows if row[0] == "network net")
    before = [one.content["splits"]["val"]["policies"][""]["miou"]
              for one in read_results(runs.before) if one.recipe == "net"]  # fmt: skip
    assert row[1:3] == ["changed", "validation"] and row[5] == "\N{MINUS SIGN}10.0"
    assert row[3].startswith(f"{50 * sum(before):.1f} ± ") and row[6] == "pseudo-labels plain: ignore (absent) → 0.2"


def test_only_seeds_of_both_are_compared(runs) -> None:
    """The mean over all would say that something changed."""
    shutil.rmtree(runs.now / "s3")
    found = by_name(changes(read_results(runs.before), read_results(runs.now)))
    assert found["segmenters", "net"].difference == 0 and found["segmenters", "net"].state == SAME
    assert len(found["segmenters", "net"].before) == 2


def test_new_and_gone(runs) -> None:
    for seed in (0, 3):
        shutil.rmtree(runs.now / f"s{seed}/scores/segmenters/bound")
        shutil.rmtree(runs.before / f"s{seed}/scores/cams/plain")
    found = by_name(changes(read_results(runs.before), read_results(runs.now)))
    assert found["segmenters", "bound"].state == GONE and found["cams", "plain"].state == NEW
    assert found["segmenters", "bound"].difference is None and not found["segmenters", "bound"].now


def keep(folder: Path, name: str) -> None:
    shutil.copytree(folder, folder.parent / ".kept" / name)


def test_what_was_kept_is_found_with_what_it_was_made_from(runs) -> None:
    """As ``wsss run`` leaves it: masks were made anew, and all that follows; their classifier and maps were not."""
    shutil.rmtree(runs.now / "s3")
    for kind, name in (("masks", "plain"), ("segmenters", "net"), ("predictions", "net")):
        keep(runs.now / "s0" / kind / name, "was")
    for kind, name in (("masks", "plain"), ("segmenters", "net")):
        keep(runs.now / "s0/scores" / kind / name, "was")
        edited(runs.now / "s0/scores" / kind / ".kept/was/run.json", lambda a: a.update(made="2026-01-02"))
        shutil.copytree(runs.now / "s0/scores" / kind / ".kept/was", runs.now / "s0/scores" / kind / ".kept/older")
        edited(runs.now / "s0/scores" / kind / ".kept/older/run.json", lambda a: a.update(made="2026-01-01"))
        edited(runs.now / "s0/scores" / kind / ".kept/older/scores.json", lambda a: a.update(splits={}))
    worse(runs.now, 0)
    for kind in ("segmenters", "predictions"):
        edited(runs.now / f"s0/{kind}/net/manifest.json", lambda a: a.update(identity="other", content="other"))
        edited(
            runs.now / f"s0/{kind}/net/manifest.json",
            lambda a: [given.update(content="other") for given in a["inputs"].values()],
        )
    edited(
        runs.now / "s0/scores/segmenters/net/manifest.json",
        lambda a: a["inputs"]["artefact"].update(content="other"),
    )
    before = read_kept(runs.now)
    kept = [one for one in before if ".kept" in one.folder.parts]
    assert [(one.kind, one.artefact.parent.name) for one in kept] == [("masks", ".kept"), ("segmenters", ".kept")]
    assert len(before) == len(read_results(runs.now))
    found = by_name(changes(before, read_results(runs.now)))
    for key in (("masks", "plain"), ("segmenters", "net")):
        assert found[key].causes == ("pseudo-labels plain: ignore (absent) → 0.2",), key
        assert found[key].difference == pytest.approx(-LOST)
    assert found["cams", "plain"].state == SAME and found["cams", "plain"].difference == 0


def test_the_command(runs, capsys) -> None:
    worse(runs.now, 0)
    page = runs.now / "page.html"
    assert main(["report", str(runs.now), "--against", str(runs.before), "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert "network net          changed  validation" in said and "5 results: 2 changed and 3 same" in said
    assert "  network net: pseudo-labels plain: ignore (absent) → 0.2" in said
    assert "pseudo-labels plain: ignore (absent) → 0.2" in page.read_text() and 'class="chain"' in page.read_text()
    assert main(["report", str(runs.now), "--against", str(runs.before.parent)]) == 2
    assert "holds no scores" in (said := capsys.readouterr().err) and f"did you mean {runs.before}?" in said
    assert main(["report", str(runs.now), "--against", "kept"]) == 2
    assert "no earlier scores were kept here" in capsys.readouterr().err
