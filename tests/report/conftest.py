"""A little finished run with everything that a report shows: two seeds, true masks, a class with markup in its name."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.report.browser import Browser, program
from wsss.data.index import Index
from wsss.store.manifest import write_manifest

HERE = Path(__file__).resolve().parent
LITTLE = SimpleNamespace(**runpy.run_path(str(HERE.parent / "evaluate" / "conftest.py")))
TIMES = {"wall_seconds": 60.0, "peak_memory_mib": 900, "device": "a <i>machine</i>", "threads": 1}
CAT = "<b>cat"


def index_of(folder: Path, masks: bool = True) -> Index:
    """The little index of the scores' tests, with ``<b>cat`` in place of ``cat``."""
    LITTLE.make_index(folder, masks=masks)
    for name in ("classes.txt", "index.csv"):
        text = (folder / name).read_text(encoding="utf-8").replace("cat", CAT)
        (folder / name).write_text(text, encoding="utf-8")
    return Index.load(folder)


def made(folder: Path, stage: str, seed: int, settings: dict, **inputs: str) -> Path:
    """Write a manifest, with inputs as ``kind/name`` of the same run."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: {"path": f"../../{path}", "digest": "0" * 16} for name, path in inputs.items()}
    write_manifest(folder, {"stage": stage, "settings": settings, "seed": seed, "inputs": given, "code": "c", **TIMES})
    return folder


def build(base: Path, masks: bool = True, seeds: tuple[int, ...] = (0, 3)) -> SimpleNamespace:
    """Artefacts and their scores below ``base``; masks are the truth, shifted further with each seed."""
    index = index_of(base / "index", masks)
    for seed in seeds:
        run = base / f"s{seed}"
        plain = made(run / "classifiers/plain", "classifier", seed, {"objective": "vanilla", "pretrained": True})
        rows = [["id", "split", *index.classes]]
        rng = np.random.default_rng(seed)
        rows += [[i.id, "val", *(f"{p:.4f}" for p in rng.random(3))] for i in index.split("val")]
        (plain / "predictions.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")
        steps = [{"step": k, "epoch": k / 4, "lr": 0.1, "loss": 2 / k + seed, "whole": 1 / k} for k in range(1, 9)]
        (plain / "metrics.jsonl").write_text("\n".join(map(json.dumps, steps)))
        LITTLE.make_cams(run / "cams/plain", index)
        made(
            run / "cams/plain",
            "cams",
            seed,
            {"splits": ["train", "val"], "scales": [1.0]},
            classifier="classifiers/plain",
        )
        LITTLE.make_masks(run / "masks/plain", index, lambda mask, s=seed: np.roll(mask, 3 + s, 0))
        made(run / "masks/plain", "masks", seed, {"source": "cams", "cams": "plain", "splits": ["train", "val"]},
             cams="cams/plain")  # fmt: skip
        for name, shift, pseudo in (("net", 4 + seed, True), ("bound", 1, False)):
            LITTLE.make_masks(run / "predictions" / name, index, lambda mask, s=shift: np.roll(mask, s, 1), ("val",))
            made(run / "predictions" / name, "predictions", seed, {"splits": ["val"]}, segmenter=f"segmenters/{name}")
            learnt = {"architecture": "unet", "supervision": "pseudo" if pseudo else "masks", "masks": "plain"}
            made(run / "segmenters" / name, "segmenter", seed, learnt, **({"masks": "masks/plain"} if pseudo else {}))
        for kind, place in (
            ("classifiers", "classifiers/plain"), ("cams", "cams/plain"), ("masks", "masks/plain"),
            ("segmenters", "predictions/net"), ("segmenters", "predictions/bound"),
        ):  # fmt: skip
            if masks or not place.endswith("bound"):
                LITTLE.run_stage(
                    "scores", "--index", index.folder, "--kind", kind, "--artefact", run / place, "--threads", 1,
                    "--seed", seed, "--out", run / "scores" / kind / Path(place).name,
                )  # fmt: skip
    scores = sorted(path.parent for path in base.glob("s*/scores/*/*/manifest.json"))
    return SimpleNamespace(base=base, index=index, scores=scores, page=base / "report.html", seeds=seeds)


def report(found: SimpleNamespace, out: Path | None = None, code: int = 0) -> str:
    """Run the stage; what it said."""
    out = out or found.base / "report"
    scores = ["--scores", *found.scores] if found.scores else []
    return LITTLE.run_stage(
        "report", "--index", found.index.folder, "--dataset", "little & large", *scores, "--out", out, "--threads", 1,
        code=code,
    )  # fmt: skip


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with true masks, and its report."""
    found = build(tmp_path_factory.mktemp("report") / "results")
    report(found)
    return found


@pytest.fixture(scope="session")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of a user's photos, without any true mask, and its report."""
    found = build(tmp_path_factory.mktemp("photos") / "results", masks=False, seeds=(0,))
    report(found)
    return found


@pytest.fixture(scope="session")
def stage() -> SimpleNamespace:
    """The helpers of this file, for tests (which cannot import it)."""
    return SimpleNamespace(report=report, cat=CAT, index=index_of)


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
