"""A little finished run with everything that a report shows: two seeds, ground-truth masks, a class with markup in its
name."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.report.browser import Browser, program
from wsss.data.index import Index, write_index
from wsss.store.manifest import write_manifest
from wsss.system.files import write_rows

HERE = Path(__file__).resolve().parent
LITTLE = SimpleNamespace(**runpy.run_path(str(HERE.parent / "evaluate" / "conftest.py")))
TIMES = {"wall_seconds": 60.0, "peak_memory_mib": 900, "device": "a <i>machine</i>", "threads": 1}
CAT = "<b>cat"


def index_of(folder: Path, masks: bool = True, cat: str = CAT, suffix: str = "") -> Index:
    """The little index of the scores' tests, with another name in place of ``cat`` and ``suffix`` behind every id."""
    given = LITTLE.make_index(folder, masks=masks)
    classes = [name.replace("cat", cat) for name in given.classes]
    write_index(folder, classes, [replace(item, id=item.id + suffix) for item in given.items])
    return Index.load(folder)


def made(folder: Path, stage: str, seed: int, settings: dict, **inputs: str) -> Path:
    """Write a manifest, with inputs as ``kind/name`` of the same run."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: {"path": f"../../{path}", "digest": "0" * 16} for name, path in inputs.items()}
    write_manifest(folder, {"stage": stage, "settings": settings, "seed": seed, "inputs": given, "code": "c", **TIMES})
    return folder


def build(
    base: Path, masks: bool = True, seeds: tuple[int, ...] = (0, 3), end: str = "", **names: str
) -> SimpleNamespace:
    """Artefacts and their scores below ``base``; masks are the truth, shifted further with each seed. ``end``: of the
    names of all recipes; ``names``: as of ``index_of``."""
    index = index_of(base / "index", masks, **names)
    plain, net, bound = f"plain{end}", f"net{end}", f"bound{end}"
    for seed in seeds:
        run = base / f"s{seed}"
        learnt = {"objective": "vanilla", "pretrained": True}
        classifier = made(run / "classifiers" / plain, "classifier", seed, learnt)
        rows = [["id", "split", *index.classes]]
        rng = np.random.default_rng(seed)
        rows += [[i.id, "val", *(f"{p:.4f}" for p in rng.random(3))] for i in index.split("val")]
        write_rows(classifier / "predictions.csv", rows[0], rows[1:])
        steps = [{"step": k, "epoch": k / 4, "lr": 0.1, "loss": 2 / k + seed, "whole": 1 / k} for k in range(1, 9)]
        (classifier / "metrics.jsonl").write_text("\n".join(map(json.dumps, steps)))
        LITTLE.make_cams(run / "cams" / plain, index)
        both = ["train", "val"]
        made(run / "cams" / plain, "cams", seed, {"splits": both, "scales": [1.0]}, classifier=f"classifiers/{plain}")
        LITTLE.make_masks(run / "masks" / plain, index, lambda mask, s=seed: np.roll(mask, 3 + s, 0))
        made(run / "masks" / plain, "masks", seed, {"source": "cams", "cams": plain, "splits": both},
             cams=f"cams/{plain}")  # fmt: skip
        for name, shift, pseudo in ((net, 4 + seed, True), (bound, 1, False)):
            LITTLE.make_masks(run / "predictions" / name, index, lambda mask, s=shift: np.roll(mask, s, 1), ("val",))
            made(run / "predictions" / name, "predictions", seed, {"splits": ["val"]}, segmenter=f"segmenters/{name}")
            learnt = {"architecture": "unet", "supervision": "pseudo" if pseudo else "masks", "masks": plain}
            given = {"masks": f"masks/{plain}"} if pseudo else {}
            made(run / "segmenters" / name, "segmenter", seed, learnt, **given)
        for kind, place in (
            ("classifiers", f"classifiers/{plain}"), ("cams", f"cams/{plain}"), ("masks", f"masks/{plain}"),
            ("segmenters", f"predictions/{net}"), ("segmenters", f"predictions/{bound}"),
        ):  # fmt: skip
            if masks or not place.endswith(bound):
                LITTLE.run_stage(
                    "scores", "--index", index.folder, "--kind", kind, "--artefact", run / place, "--threads", 1,
                    "--seed", seed, "--out", run / "scores" / kind / Path(place).name,
                )  # fmt: skip
    scores = sorted(path.parent for path in base.glob("s*/scores/*/*/manifest.json"))
    return SimpleNamespace(base=base, index=index, scores=scores, page=base / "report.html", seeds=seeds)


def report(found: SimpleNamespace, out: Path | None = None, code: int = 0, name: str = "little & large") -> str:
    """Run the stage; what it said. ``name``: of the dataset."""
    out = out or found.base / "report"
    scores = ["--scores", *found.scores] if found.scores else []
    return LITTLE.run_stage(
        "report", "--index", found.index.folder, "--dataset", name, *scores, "--out", out, "--threads", 1,
        code=code,
    )  # fmt: skip


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with ground-truth masks, and its report."""
    found = build(tmp_path_factory.mktemp("report") / "results")
    report(found)
    return found


@pytest.fixture(scope="session")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of a user's photos, without any ground-truth mask, and its report."""
    found = build(tmp_path_factory.mktemp("photos") / "results", masks=False, seeds=(0,))
    report(found)
    return found


@pytest.fixture(scope="session")
def stage() -> SimpleNamespace:
    """The helpers of this file, for tests (which cannot import it)."""
    return SimpleNamespace(report=report, cat=CAT, index=index_of, build=build)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium. It is installed only where WSSS_TEST_BROWSER=install says so."""
    if program() is None and os.environ.get("WSSS_TEST_BROWSER") != "install":
        pytest.skip("no Chromium here; WSSS_TEST_BROWSER=install installs it with apt-get")
    if program() is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            pytest.skip("no Chromium here, and no apt-get (as root) to install it")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core"
        done = subprocess.run(["timeout", "400", "bash", "-c", install], env=quiet, capture_output=True, text=True)
        if program() is None:
            pytest.skip(f"Chromium could not be installed: {done.stderr.strip()[-300:]}")
    found = Browser(tmp_path_factory.mktemp("browser") / "profile")
    yield found
    found.close()
