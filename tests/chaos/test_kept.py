"""Nothing is lost in ``wsss.store.kept``, wherever a process ends: each move is cut off before each of its steps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wsss.provenance import outputs
from wsss.store import kept
from wsss.store.manifest import NAME, SECOND, write_manifest

STEPS = ((os, "replace"), (Path, "unlink"), (Path, "rmdir"), (shutil, "rmtree"))
"""What changes folders; each call is a moment at which a process may end."""
Whole = tuple[str, str]
"""Identity and content of an artefact of which every byte is there."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cuts the power here, so nothing has to wait for the disk; and files are tiny."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(outputs, "READERS", 1)


class Killed(BaseException):
    """The process is dead: whatever it would still do, it does not."""


class Kill:
    """Lets a process end before one of its steps. A tree that it was deleting then is half there.

    Args:
        at: Number of the step, from 0.
        half: Which half of a tree is deleted: 0 or 1.
    """

    def __init__(self, at: int, half: int) -> None:
        self.left, self.half = at, half

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                if self.left == 0 and function.__name__ == "rmtree" and Path(args[0]).is_dir():
                    files = sorted(path for path in Path(args[0]).rglob("*") if path.is_file())
                    for path in files[self.half :: 2]:
                        os.remove(path)
                self.left = -1
                raise Killed
            self.left -= 1
            return function(*args, **kwargs)

        return step


def is_killed(at: int, half: int, act: Callable[[], Any]) -> bool:
    """Do something and die at a step of it; False where it ends first."""
    kill = Kill(at, half)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, kill(getattr(owner, name)))
        try:
            act()
        except Killed:
            return True
    return False


def after_kills(
    build: Callable[[Path], Path], act: Callable[[Path], Any], tmp_path: Path, halves: tuple[int, ...] = (0, 1)
) -> Iterator[Path]:
    """The folder after a kill at each step of what is done to it, made anew each time, and at last undisturbed."""
    for half in halves:
        died, at = True, 0
        while died:
            out = build(tmp_path / f"{half}-{at}")
            died = is_killed(at, half, lambda folder=out: act(folder))
            yield out
            at += 1


def make(out: Path, identity: str, text: str, more: bool = False) -> Whole:
    """Put an artefact into a folder as a stage does; one with ``more`` has an output that others have not."""
    (out / "masks").mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        (out / "masks" / f"{name}.png").write_text(f"{name} {text}")
    names = ["masks", "model.bin", "table.csv", *(["more.csv"] if more else [])]
    for name in names[1:]:
        (out / name).write_text(f"{name} {text}")
    digests = {name: outputs.digest(out / name) for name in names}
    about = {"stage": "masks", "identity": identity, "outputs": digests, "content": outputs.content(digests)}
    write_manifest(out, about, {"made": "today"})
    return identity, about["content"]


def whole(folder: Path) -> Whole | None:
    """The artefact that a folder's manifest tells of; a manifest beside anything else fails."""
    if not (folder / NAME).is_file():
        return None
    about = json.loads((folder / NAME).read_text())
    assert {name: outputs.digest(folder / name) for name in about["outputs"]} == about["outputs"], folder
    assert json.loads((folder / outputs.RUN).read_text()) == {"made": "today"}
    return about["identity"], about["content"]


def all_whole(out: Path) -> set[Whole]:
    """What is whole in place or under a plain name in ``.kept``; nothing that has a manifest may be less than that."""
    found = {whole(out)}
    for folder in (out.parent / kept.KEPT).glob("[!.]*"):
        one = whole(folder)
        assert one is not None and folder.name in (one[0], ".".join(one)), folder
        found.add(one)
    return found - {None}


def start(out: Path, wanted: str) -> bool:
    """What a stage does before it begins (``wsss.runtime.run.Run.is_needed``); returns whether it has to be
    made."""
    kept.recover(out)
    there = kept.in_place(out)
    if there is not None and there["identity"] == wanted:
        write_manifest(out, there)
        return False
    kept.set_aside(out)
    return not kept.bring_back(out, wanted)


def hidden(out: Path) -> list[str]:
    """What is left over of moves."""
    return [path.name for path in (out.parent / kept.KEPT).glob(".*")]


def alone(folder: Path) -> Path:
    """One artefact, nothing kept."""
    make(folder / "out", "one", "one")
    return folder / "out"


def half(folder: Path) -> Path:
    """One artefact is kept, and beside it lies what a killed run has left."""
    out = alone(folder)
    kept.set_aside(out)
    make(out, "two", "half", more=True)
    for name in (NAME, SECOND, outputs.RUN):
        (out / name).unlink()
    (out / "masks" / "a.png").unlink()
    return out


def both(folder: Path) -> Path:
    """Two artefacts, the first is kept."""
    out = alone(folder)
    kept.set_aside(out)
    make(out, "two", "two", more=True)
    return out


def unnamed(folder: Path) -> Path:
    """As Snakemake leaves it when a job begins: without the first of the manifest's names."""
    out = both(folder)
    (out / NAME).unlink()
    return out


def twice(folder: Path) -> Path:
    """The same artefact is there and is kept, as after a forced run."""
    out = alone(folder)
    kept.set_aside(out)
    make(out, "one", "one")
    return out


def disputed(folder: Path) -> Path:
    """Two artefacts of one identity, as after ``wsss adopt``."""
    out = alone(folder)
    kept.set_aside(out)
    make(out, "one", "adopted")
    return out


def accepted_in_part(folder: Path) -> Path:
    """``wsss accept`` was killed when only the second name was written."""
    out = both(folder)
    about = json.loads((out / NAME).read_text())
    (out / SECOND).write_text(json.dumps({**about, "identity": "three"}))
    return out


BUILDS = (alone, half, both, unnamed, twice, disputed, accepted_in_part)


def treasures(out: Path) -> set[Whole]:
    """What is whole before a move; a manifest under its second name counts as well."""
    about = kept.in_place(out)
    return all_whole(out) | ({(about["identity"], about["content"])} if about else set())


@pytest.mark.parametrize("wanted", ["one", "two", "four"])
@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_a_stage_killed_while_it_moves_artefacts_loses_none(
    build: Callable[[Path], Path], wanted: str, tmp_path: Path
) -> None:
    """The same command, given again, finds all of them; so does one that wants another artefact."""
    before = treasures(build(tmp_path / "before"))
    for then in ("one", "two", "four"):
        for out in after_kills(build, lambda out: start(out, wanted), tmp_path / then):
            all_whole(out)  # right after the kill: no manifest beside half a file
            needed, found = start(out, then), whole(out)
            assert all_whole(out) == before and not hidden(out)
            assert needed == (found is None) and (found is None or found[0] == then)
            assert needed != any(identity == then for identity, _ in before)


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_a_forced_run_killed_while_the_old_one_leaves_loses_nothing(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    before = treasures(build(tmp_path / "before"))
    for out in after_kills(build, kept.set_aside, tmp_path):
        all_whole(out)
        kept.recover(out)
        kept.set_aside(out)
        assert whole(out) is None and all_whole(out) == before and not hidden(out)


@pytest.mark.parametrize("wanted", ["one", "four"])
@pytest.mark.parametrize("build", [both, unnamed, disputed, half], ids=lambda build: build.__name__)
def test_a_recovery_that_is_killed_too_loses_nothing(
    build: Callable[[Path], Path], wanted: str, tmp_path: Path
) -> None:
    before = treasures(build(tmp_path / "before"))

    def killed(folder: Path, at: int) -> Path:
        out = build(folder)
        is_killed(at, at % 2, lambda: start(out, wanted))
        return out

    steps = sum(1 for _ in after_kills(build, lambda out: start(out, wanted), tmp_path / "count", (0,)))
    for at in range(steps):
        for out in after_kills(
            lambda folder, at=at: killed(folder, at), kept.recover, tmp_path / str(at), (at // 2 % 2,)
        ):
            all_whole(out)
            kept.recover(out)
            assert not hidden(out)
            start(out, wanted)
            assert all_whole(out) == before


def test_a_move_has_many_moments(tmp_path: Path) -> None:
    """So the tests above see what they are to see."""
    assert sum(1 for _ in after_kills(both, lambda out: start(out, "one"), tmp_path)) > 40


def test_what_was_accepted_after_a_kill_stays_in_place(tmp_path: Path) -> None:
    """A kill at the very end of ``bring_back`` leaves an empty shell in ``.kept``. If the artefact is then accepted for
    another identity, the shell does not draw it back."""
    for number, out in enumerate(after_kills(both, lambda out: start(out, "one"), tmp_path)):
        if not (out / NAME).is_file() or whole(out)[0] != "one":
            continue
        about = json.loads((out / NAME).read_text())
        write_manifest(out, {**about, "identity": "three"}, {"made": "today"})
        assert not start(out, "three"), number
        assert whole(out) == ("three", about["content"]) and not hidden(out)


def test_of_one_identity_and_two_contents_both_are_kept(tmp_path: Path) -> None:
    out = disputed(tmp_path)
    both_of_them = all_whole(out)
    kept.set_aside(out)
    assert all_whole(out) == both_of_them and len(both_of_them) == 2
    assert kept.bring_back(out, "one") and (out / "model.bin").read_text() == "model.bin adopted"
    kept.set_aside(out)
    assert all_whole(out) == both_of_them and len(list(kept.all_kept(tmp_path))) == 2


def test_an_artefact_of_another_recipe_with_the_same_settings_may_be_quicker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = half(tmp_path)
    found = kept.kept(out, "one")
    shutil.rmtree(tmp_path / kept.KEPT / "one")
    monkeypatch.setattr(kept, "kept", lambda out, identity: found)
    assert not kept.bring_back(out, "one")


def test_deleting_what_is_kept_leaves_no_half_of_it(tmp_path: Path) -> None:
    for out in after_kills(half, lambda out: kept.drop(out.parent / kept.KEPT / "one"), tmp_path):
        assert kept.kept(out, "one") is None or all_whole(out) == {("one", kept.kept(out, "one")["content"])}
        for folder in list(kept.all_kept(out.parent)):
            kept.drop(folder)
        assert list((out.parent / kept.KEPT).iterdir()) == []


def test_a_twin_goes_and_another_content_stays(tmp_path: Path) -> None:
    for build, stays in ((twice, False), (disputed, True)):
        out = build(tmp_path / build.__name__)
        kept.drop_twin(out, json.loads((out / NAME).read_text()))
        assert (kept.kept(out, "one") is not None) == stays and whole(out) is not None


def test_what_lies_outside_the_folder_is_never_moved(tmp_path: Path) -> None:
    """A report's page lies beside its folder: it is made anew and not kept."""
    out = alone(tmp_path)
    about = json.loads((out / NAME).read_text())
    (tmp_path / "out.html").write_text("page")
    write_manifest(out, {**about, "outputs": {**about["outputs"], "../out.html": "x"}}, {"made": "today"})
    kept.set_aside(out)
    assert not (tmp_path / kept.KEPT).exists() and kept.in_place(out) is None and (tmp_path / "out.html").exists()
