"""Change X, and exactly these jobs run again; ``wsss plan`` lists the same."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.checkout import Checkout, changed
from wsss.store.kept import set_aside

CONFIG: dict[str, Any] = {
    "dataset": "scenes",
    "seeds": [0],
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8}},
    "classifiers": {
        "vanilla": {"objective": "vanilla", "momentum": 0.5, "warmup": 0.25},
        "p-noc": {"objective": "p-noc", "ordinary": "vanilla"},
    },
    "cams": {"vanilla": {"classifier": "vanilla"}, "p-noc": {"classifier": "p-noc"}},
    "masks": {"p-noc": {"cams": "p-noc"}, "best": {"cams": "vanilla", "threshold": {"policy": "oracle"}}},
    "segmenters": {"p-noc": {"masks": "p-noc"}, "supervised": {"supervision": "masks"}},
    "defaults": {"classifiers": {"epochs": 2}},
}

TOLD = {"summary scenes", "report scenes"}
AFTER_SEGMENTER = {"predictions p-noc", "scores segmenters p-noc", *TOLD}
AFTER_MASKS = {"scores masks p-noc", "segmenter p-noc", *AFTER_SEGMENTER}
AFTER_CAMS = {"scores cams p-noc", "masks p-noc", *AFTER_MASKS}
AFTER_P_NOC = {"scores classifiers p-noc", "cams p-noc", *AFTER_CAMS}
AFTER_BEST = {"masks best", "scores masks best"}
BEST = {"scores cams vanilla", "masks best", "scores masks best"}
AFTER_VANILLA = {"scores classifiers vanilla", "cams vanilla", *BEST, "classifier p-noc", *AFTER_P_NOC}
SUPERVISED = {"segmenter supervised", "predictions supervised", "scores segmenters supervised"}
ALL = {"index scenes", "classifier vanilla", *AFTER_VANILLA, *SUPERVISED}
RUN = "results/scenes/s0"
SCORES = {job for job in ALL if job.startswith("scores ")}
SCORE_CAMS = {"scores cams vanilla", "scores cams p-noc", "masks best", "scores masks best", *TOLD}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A run that is done."""
    checkout = Checkout.build(tmp_path_factory.mktemp("plans") / "checkout", CONFIG)
    assert checkout.plan() == ALL
    checkout.finish()
    assert checkout.plan() == set()
    return checkout


def setting(*path: str, value: Any) -> Callable[[Checkout], None]:
    """Set one value of the configuration."""
    return lambda checkout: checkout.configure(changed(CONFIG, *path, value=value))


APPLIED = setting("segmenters", "p-noc", "predict", value={"crf": "deeplab"})
"""Other predictions."""


def swapped(checkout: Checkout) -> None:
    config = copy.deepcopy(CONFIG)
    vanilla = config["classifiers"]["vanilla"]
    vanilla["momentum"], vanilla["warmup"] = vanilla["warmup"], vanilla["momentum"]
    checkout.configure(config)


def reordered(checkout: Checkout) -> None:
    config = {key: CONFIG[key] for key in reversed(CONFIG)}
    config["classifiers"] = {name: dict(reversed(recipe.items())) for name, recipe in CONFIG["classifiers"].items()}
    checkout.configure(config)


def spelled_out(checkout: Checkout) -> None:
    """Defaults written down are the same settings."""
    config = copy.deepcopy(CONFIG)
    config["masks"]["p-noc"]["crf"] = {"preset": "labels", "iterations": 10}
    config["cams"]["p-noc"]["splits"] = ["train", "val"]
    config["classifiers"]["vanilla"]["lr"] = "1e-1"
    checkout.configure(config)


def code(path: str, old: str, new: str) -> Callable[[Checkout], None]:
    return lambda checkout: checkout.edit(path, old, new)


def add_line(path: str, line: str) -> Callable[[Checkout], None]:
    def change(checkout: Checkout) -> None:
        (checkout.folder / path).write_text((checkout.folder / path).read_text() + line)

    return change


def made_with(**versions: str) -> Callable[[Checkout], None]:
    """As if other libraries had been there."""

    def change(checkout: Checkout) -> None:
        for run in checkout.folder.glob("results/**/run.json"):
            run.write_text(json.dumps({**json.loads(run.read_text()), "versions": versions}))

    return change


def raised(path: str) -> Callable[[Checkout], None]:
    return code(path, "\nVERSION = ", "\nVERSION = 9")


def moved(checkout: Checkout) -> None:
    """A module goes into another folder, and its importers say so."""
    package = checkout.folder / "wsss"
    (package / "system" / "progress.py").rename(package / "compute" / "progress.py")
    for path in package.rglob("*.py"):
        path.write_text(path.read_text().replace("wsss.system.progress", "wsss.compute.progress"))


def forgotten(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / ".snakemake", ignore_errors=True)


def copied(copy_function: Callable[[str, str], object]) -> Callable[[Checkout], None]:
    """A colleague's results, copied, in a folder that Snakemake has never seen."""

    def change(checkout: Checkout) -> None:
        forgotten(checkout)
        shutil.move(checkout.folder / "results", checkout.folder / "theirs")
        shutil.copytree(checkout.folder / "theirs", checkout.folder / "results", copy_function=copy_function)

    return change


def packed(checkout: Checkout) -> None:
    forgotten(checkout)
    archive = shutil.make_archive(str(checkout.folder / "all"), "tar", checkout.folder, "results")
    shutil.rmtree(checkout.folder / "results")
    shutil.unpack_archive(archive, checkout.folder, filter="data")


def removed(path: str) -> Callable[[Checkout], None]:
    def change(checkout: Checkout) -> None:
        found = checkout.folder / RUN / path
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return change


def damaged(path: str) -> Callable[[Checkout], None]:
    """Seen by ``wsss show --verify``; a plan reads no weights."""
    return lambda checkout: (checkout.folder / RUN / path).write_text("other")


def touched(checkout: Checkout) -> None:
    for path in checkout.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path)


def fresh_clone(checkout: Checkout) -> None:
    """The results stay, the checkout is replaced by a new one of the same content."""
    for part in ("stages", "wsss", "workflow"):
        shutil.copytree(
            checkout.folder / part, checkout.folder / "clone", copy_function=shutil.copy, dirs_exist_ok=False
        )
        shutil.rmtree(checkout.folder / part)
        (checkout.folder / "clone").rename(checkout.folder / part)


def other_code(checkout: Checkout) -> None:
    """As if the maps had been made with other files, where that counts."""
    setting("code", value="strict")(checkout)
    run = checkout.folder / RUN / "cams/p-noc/run.json"
    run.write_text(json.dumps({**json.loads(run.read_text()), "code": {"wsss/inference/cams.py": "0"}}))


def kept_and_wanted(checkout: Checkout) -> None:
    """Other masks lie in their place; those that are wanted are kept."""
    set_aside(checkout.folder / RUN / "masks/p-noc")
    setting("masks", "p-noc", "crf", value=None)(checkout)
    checkout.finish()
    checkout.configure(CONFIG)


def seed_copied(checkout: Checkout) -> None:
    """The results of one seed do not become those of another by a copy."""
    shutil.copytree(checkout.folder / RUN, (checkout.folder / RUN).with_name("s1"))
    setting("seeds", value=[1])(checkout)


def damaged_and_needed(checkout: Checkout) -> None:
    (checkout.folder / RUN / "cams/p-noc/manifest.json").write_text("no JSON")
    setting("masks", "p-noc", "crf", value=None)(checkout)


def older(checkout: Checkout) -> None:
    """A manifest without an identity."""
    manifest = checkout.folder / RUN / "masks/p-noc/manifest.json"
    about = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({key: about[key] for key in ("stage", "settings", "seed", "inputs")}))


def in_turn(*changes: Callable[[Checkout], None]) -> Callable[[Checkout], None]:
    return lambda checkout: [change(checkout) for change in changes] and None


CASES: dict[str, tuple[Callable[[Checkout], None], set[str]]] = {
    "nothing": (lambda checkout: None, set()),
    "touch everything": (touched, set()),
    "fresh clone": (fresh_clone, set()),
    "order of keys": (reordered, set()),
    "defaults spelled out": (spelled_out, set()),
    "two values swapped": (swapped, {"classifier vanilla", *AFTER_VANILLA}),
    "a default of the kind": (
        setting("defaults", "classifiers", "epochs", value=3),
        {"classifier vanilla", *AFTER_VANILLA},
    ),
    "one number of p-noc": (setting("classifiers", "p-noc", "tiles", value=4), {"classifier p-noc", *AFTER_P_NOC}),
    "one number of the masks": (
        setting("masks", "p-noc", "threshold", value={"value": 0.4}),
        {"masks p-noc", *AFTER_MASKS},
    ),
    "one number of the segmenter": (
        setting("segmenters", "p-noc", "lr", value="1e-2"),
        {"segmenter p-noc", *AFTER_SEGMENTER},
    ),
    "how a segmenter is applied": (
        APPLIED,
        AFTER_SEGMENTER,
    ),
    "how maps are scored": (setting("evaluation", "calibration_images", value=5), SCORE_CAMS),
    "this machine": (setting("workstation", "gpus", value=4), set()),
    "the dataset": (setting("datasets", "scenes", "difficulty", value=0.75), ALL),
    "another classifier for the maps": (
        setting("cams", "p-noc", "classifier", value="vanilla"),
        {"cams p-noc", *AFTER_CAMS},
    ),
    "a new recipe": (
        setting("masks", "raw", value={"cams": "p-noc", "crf": None}),
        {"masks raw", "scores masks raw", *TOLD},
    ),
    "a comment": (add_line("wsss/objectives/p_noc.py", "\n# said differently\n"), set()),
    "a docstring": (code("wsss/objectives/p_noc.py", '"""', '"""Said differently. '), set()),
    "an annotation": (code("wsss/training/engine.py", "self.step = 0", "self.step: int = 0"), set()),
    "the wording of a message": (code("wsss/system/failures.py", "the disk is full", "no room on the disk"), set()),
    "the wording of progress": (add_line("wsss/system/progress.py", "\nprint()\n"), set()),
    "one more library recorded": (code("wsss/runtime/record.py", '"h5py")', '"h5py", "scipy")'), set()),
    "files open at a time": (code("wsss/parts/maps.py", "OPEN = 32", "OPEN = 64"), set()),
    "workers of a loader": (add_line("wsss/compute/devices.py", "\nprint()\n"), set()),
    "a module moved": (moved, set()),
    "flags of a shell line": (code("workflow/Snakefile", "2>&1 |", "|"), set()),
    "what a rule asks for": (code("wsss/workflow/resources.py", "480", "481"), set()),
    "the number of the release": (code("wsss/__init__.py", '"0.1.0"', '"0.2.0"'), set()),
    "the conda environment": (add_line("envs/environment.yml", "\n# newer\n"), set()),
    "how the report looks": (code("wsss/report/html/static/report.css", "margin: 0;", "margin: 1px;"), set()),
    "an upgrade of torch": (made_with(torch="0.1"), set()),
    "version of p-noc": (raised("wsss/objectives/p_noc.py"), {"classifier p-noc", *AFTER_P_NOC}),
    "version of vanilla": (raised("wsss/objectives/vanilla.py"), {"classifier vanilla", *AFTER_VANILLA}),
    "version of the training": (raised("wsss/training/engine.py"), ALL - {"index scenes"}),
    "version of the dense CRF": (
        raised("wsss/refine/crf.py"),
        {"masks p-noc", *AFTER_MASKS, "masks best", "scores masks best"},
    ),
    "version of the scores": (raised("stages/scores.py"), SCORES | {*SCORE_CAMS, *AFTER_BEST}),
    "version of the report": (raised("stages/report.py"), {"report scenes"}),
    "version of another dataset": (raised("wsss/data/kinds/voc.py"), set()),
    "version of an explainer": (raised("wsss/explain/methods/grad_cam.py"), set()),
    ".snakemake is gone": (forgotten, set()),
    ".snakemake is gone, and a setting changed": (
        in_turn(forgotten, setting("segmenters", "p-noc", "lr", value=0.02)),
        {"segmenter p-noc", *AFTER_SEGMENTER},
    ),
    "copied with new times": (copied(shutil.copyfile), set()),
    "copied with its times": (copied(shutil.copy2), set()),
    "packed and unpacked": (packed, set()),
    "weights swapped for others": (damaged("segmenters/p-noc/model.safetensors"), set()),
    "weights gone, needed by nothing": (removed("segmenters/p-noc/model.safetensors"), set()),
    "an artefact gone, needed by nothing": (removed("segmenters/p-noc"), set()),
    "weights gone, and needed": (
        in_turn(removed("segmenters/p-noc/model.safetensors"), APPLIED),
        {"segmenter p-noc", *AFTER_SEGMENTER},
    ),
    "an artefact gone, and needed": (
        in_turn(removed("masks/p-noc"), removed("segmenters/p-noc/model.safetensors"), APPLIED),
        {"masks p-noc", "segmenter p-noc", *AFTER_SEGMENTER},
    ),
    "an artefact damaged, and needed": (damaged_and_needed, {"cams p-noc", "masks p-noc", *AFTER_MASKS}),
    "a seed that was copied": (seed_copied, {f"{job} 1" for job in ALL - TOLD - {"index scenes"}} | TOLD),
    "over how many jobs work is spread": (setting("cams", "p-noc", "shards", value=3), set()),
    "other code, and it counts": (other_code, {"cams p-noc", *AFTER_CAMS}),
    "kept masks that are wanted again": (kept_and_wanted, {"masks p-noc", *AFTER_MASKS}),
    "masks from before there were identities": (older, {"masks p-noc"}),
}
IDLE = {"an artefact gone, and needed": {"scores masks p-noc"}}
"""What Snakemake starts although there is nothing to do: it waits for a manifest that is gone, and sees then that it is
the same."""


@pytest.mark.parametrize("case", CASES)
def test_change_runs_again_exactly(case: str, finished: Checkout, tmp_path: Path) -> None:
    change, expected = CASES[case]
    checkout = finished.copy(tmp_path / "copy")  # also says: a copied checkout runs nothing again
    change(checkout)
    assert checkout.plan() == expected | IDLE.get(case, set())
    assert checkout.listed() == expected


def test_a_correction_runs_again_what_learns_from_it(finished: Checkout, tmp_path: Path) -> None:
    """Its bytes count, as the file's size may stay; notes beside it do not, nor do times."""
    checkout = finished.copy(tmp_path / "copy")
    correction = checkout.folder / "corrections" / "farm" / "sheep 7.png"
    correction.parent.mkdir(parents=True)
    correction.write_bytes(b"a mask")
    assert checkout.plan() == set()
    checkout.configure(changed(CONFIG, "masks", "p-noc", "corrected", value="corrections"))
    expected = {"masks p-noc", *AFTER_MASKS}
    assert checkout.plan() == expected
    checkout.finish()
    assert checkout.plan() == set()
    (checkout.folder / "corrections" / "review.json").write_text("{}")
    os.utime(correction, (1, 1))
    assert checkout.plan() == set()
    correction.write_bytes(b"a task")
    assert checkout.plan() == expected == checkout.listed()
    correction.write_bytes(b"a mask")
    assert checkout.plan() == set()
    correction.unlink()
    assert checkout.plan() == expected


def test_new_seed_runs_its_own_jobs_and_what_tells_of_all(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "copy")
    checkout.configure({**CONFIG, "seeds": [0, 1]})
    assert checkout.plan() == {f"{job} 1" for job in ALL - TOLD - {"index scenes"}} | TOLD


def test_another_directory_and_a_read_only_checkout(finished: Checkout, tmp_path: Path) -> None:
    """The same results, run with a checkout that lies elsewhere."""
    checkout = finished.copy(tmp_path / "work")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for part in ("Snakefile", "workflow", "stages", "wsss", "envs"):
        shutil.move(checkout.folder / part, elsewhere / part)
    assert Checkout(checkout.folder, elsewhere).plan() == set()


def test_results_at_an_absolute_path(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "copy")
    checkout.configure({**CONFIG, "results": str(tmp_path / "scratch")})
    assert checkout.plan() == ALL
    shutil.move(checkout.folder / "results", tmp_path / "scratch")
    assert checkout.plan() == set()
    changes = changed(CONFIG, "classifiers", "vanilla", "momentum", value=0.25)
    checkout.configure({**changes, "results": str(tmp_path / "scratch")})
    assert checkout.plan() == ALL - {"index scenes"} - SUPERVISED
    checkout.configure({**CONFIG, "results": str(tmp_path / "scratch")})
    again = str(tmp_path / "scratch/scenes/s0/cams/p-noc/manifest.json")
    assert re.search(r"^cams +1$", checkout.snakemake("-n", "--forcerun", again), re.M)


def test_a_given_file_replaces_the_default_run(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "copy")
    mine = {key: CONFIG[key] for key in ("dataset", "datasets", "defaults")}
    mine["classifiers"] = {"vanilla": CONFIG["classifiers"]["vanilla"]}
    checkout.configure({"dataset": "nowhere"})
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    assert checkout.plan(config="mine.yaml") == TOLD


def test_the_report_of_snakemake_holds_ours(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "copy")
    said = checkout.snakemake("--report", "whole.html")
    assert "Adding report.html" in said and (checkout.folder / "whole.html").stat().st_size


def test_targets_build_one_kind(finished: Checkout, tmp_path: Path) -> None:
    checkout = Checkout.build(tmp_path / "new", CONFIG)
    assert checkout.plan("all_classifiers") == {"index scenes", "classifier vanilla", "classifier p-noc"}
    assert checkout.plan("results/scenes/s0/cams/vanilla/manifest.json") == {
        "index scenes",
        "classifier vanilla",
        "cams vanilla",
    }


def test_problems_of_the_configuration_are_printed_whole(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "copy")
    checkout.configure({**CONFIG, "cams": {"p-noc": {"clasifier": "p-nok"}}, "seeds": 3})
    said = checkout.snakemake("-n", check=False)
    assert "cams.p-noc.clasifier: unknown key; did you mean 'classifier'?" in said
    assert "seeds: expected a list" in said
    assert "Traceback" not in said


def test_a_key_that_stands_twice_is_refused(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "copy")
    checkout.edit("config.yaml", "seeds:", "dataset: other\nseeds:")
    assert "the key 'dataset' stands twice" in checkout.snakemake("-n", check=False)


def test_a_killed_snakemake_hides_no_job(finished: Checkout, tmp_path: Path) -> None:
    """Its stage went on and wrote its manifest; what comes behind it is still made, all in the next run."""
    checkout = finished.copy(tmp_path / "killed")
    for folder in (f"{RUN}/scores/segmenters/supervised", f"{RUN}/predictions/supervised"):
        shutil.rmtree(checkout.folder / folder)
    marker = base64.b64encode(f"{RUN}/segmenters/supervised/manifest.json".encode()).decode()
    (checkout.folder / ".snakemake" / "incomplete").mkdir(parents=True, exist_ok=True)
    (checkout.folder / ".snakemake" / "incomplete" / marker).touch()
    for more in ((), ("--rerun-incomplete",)):
        said = checkout.snakemake("-n", *more)
        assert "Predicting with segmentation network supervised" in said and "Training" not in said
