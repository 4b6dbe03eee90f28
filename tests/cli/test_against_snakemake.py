"""What ``wsss plan`` finds to do is what Snakemake would run."""

from __future__ import annotations

import io
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

from tests.cli.finished_run import CONFIG, ROOT, changed, fresh
from tests.workflow.checkout import Checkout
from tests.workflow.finished import inside
from wsss.cli import main
from wsss.store.kept import set_aside

MASKS, MAPS = "results/scenes/s0/masks/p-noc", "results/scenes/s0/cams/p-noc"
RULES = {"segmenters": "segmenter", "classifiers": "classifier"}


def planned(checkout: Checkout) -> set[str]:
    """The jobs that ``wsss plan --jobs`` lists, as ``Checkout.plan`` names them."""
    said = io.StringIO()
    with inside(checkout.folder), redirect_stdout(said):
        fresh()
        assert main(["plan", "--jobs"]) == 0
    jobs = set()
    for folder in re.findall(r"^  results/(\S+): ", said.getvalue(), re.M):
        parts = folder.split("/")
        if len(parts) < 3:
            jobs.add(f"{(parts[1:] or ['summary'])[0]} {parts[0]}")
        else:
            words = [RULES.get(parts[2], parts[2]), *parts[3:], parts[1].removeprefix("s")]
            jobs.add(" ".join(words).removesuffix(" 0"))
    return jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout.build(tmp_path_factory.mktemp("cli") / "checkout", CONFIG)
    assert len(planned(checkout)) == 16
    checkout.finish()
    return checkout


def setting(*path: str, value: object) -> Callable[[Checkout], None]:
    return lambda checkout: checkout.configure(changed(*path, value=value))


def edited(path: str, old: str, new: str) -> Callable[[Checkout], None]:
    return lambda checkout: checkout.edit(path, old, new)


def other_code(checkout: Checkout) -> None:
    """As if the maps had been made with other files, where that counts."""
    setting("code", value="strict")(checkout)
    run = checkout.folder / MAPS / "run.json"
    run.write_text(json.dumps({**json.loads(run.read_text()), "code": {"wsss/inference/cams.py": "0"}}))


def kept_and_wanted(checkout: Checkout) -> None:
    """Other masks lie in their place; those that are wanted are kept."""
    set_aside(checkout.folder / MASKS)
    setting("masks", "p-noc", "crf", value=None)(checkout)
    checkout.finish()
    checkout.configure(CONFIG)


def seed_copied(checkout: Checkout) -> None:
    """The results of one seed do not become those of another by a copy."""
    shutil.copytree(checkout.folder / "results/scenes/s0", checkout.folder / "results/scenes/s1")
    setting("seeds", value=[1])(checkout)


def damaged_and_needed(checkout: Checkout) -> None:
    (checkout.folder / MAPS / "manifest.json").write_text("no JSON")
    setting("masks", "p-noc", "crf", value=None)(checkout)


def older(checkout: Checkout) -> None:
    """A manifest without an identity."""
    manifest = checkout.folder / MASKS / "manifest.json"
    about = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({key: about[key] for key in ("stage", "settings", "seed", "inputs")}))


def deleted(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / MASKS)


def deleted_and_needed(checkout: Checkout) -> None:
    deleted(checkout)
    setting("segmenters", "p-noc", "predict", value={"flip": False})(checkout)
    (checkout.folder / "results/scenes/s0/segmenters/p-noc/model.safetensors").unlink()


CASES: dict[str, tuple[Callable[[Checkout], None], int]] = {
    "nothing": (lambda checkout: None, 0),
    "a setting": (setting("classifiers", "p-noc", "tiles", value=4), 11),
    "over how many jobs work is spread": (setting("cams", "p-noc", "shards", value=3), 0),
    "a setting that changes what comes before": (setting("evaluation", "calibration_images", value=4), 9),
    "code of an objective": (edited("wsss/objectives/p_noc.py", "from __future__", "\nfrom __future__"), 0),
    "version of an objective": (edited("wsss/objectives/p_noc.py", "\nVERSION = 1", "\nVERSION = 2"), 11),
    "other code, and it counts": (other_code, 9),
    "kept masks that are wanted again": (kept_and_wanted, 7),
    "masks from before there were identities": (older, 1),
    "a seed that was copied": (seed_copied, 15),
    "an artefact deleted": (deleted, 0),
    "an artefact damaged that is needed": (damaged_and_needed, 8),
    "an artefact deleted that is needed": (deleted_and_needed, 6),
}
IDLE = {"an artefact deleted that is needed": {"scores masks p-noc"}}
"""What Snakemake starts although there is nothing to do: it waits for a manifest that is gone, and sees then that it is
the same."""


@pytest.mark.parametrize("case", CASES)
def test_plans_agree(case: str, finished: Checkout, tmp_path: Path) -> None:
    change, count = CASES[case]
    checkout = finished.copy(tmp_path / "copy")
    change(checkout)
    jobs = planned(checkout)
    assert jobs | IDLE.get(case, set()) == checkout.plan()
    assert len(jobs) == count


def test_installed_as_a_program() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["wsss"].partition(":")
    assert callable(getattr(import_module(module), name))
