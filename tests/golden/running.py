"""Runs cases in one process, one after the other, as their programs would, and keeps the portrait of each."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden import fixtures
from tests.golden.cases import DIRECT, INDEX, Case, folder_of
from tests.golden.figures import Values, lean
from tests.golden.portraits import groups, portrait
from tests.golden.programs import about, program
from wsss.data.index import Index
from wsss.explain import Regions, find, subject_of
from wsss.inference.batches import views_of
from wsss.models.segmenter import load_segmenter
from wsss.runtime.run import Run
from wsss.settings import InferenceSettings
from wsss.training.engine import Trainer

Found = dict[str, Any]
"""What came of a case: ``versions``, ``files`` and ``values``; or ``skipped`` or ``error``, and why."""


@contextlib.contextmanager
def watched() -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """How the networks of a training change within the block: network -> group -> changes."""
    found: dict[str, dict[str, np.ndarray]] = {}
    train = Trainer.train

    def watching(self: Trainer) -> Any:
        before = {name: _copy(network) for name, network in self.networks.items()}
        product = train(self)
        for name, network in self.networks.items():
            found[name] = groups(before[name], network.state_dict())
        return product

    Trainer.train = watching  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Trainer.train = train  # type: ignore[method-assign]


def _copy(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def values_of(case: Case) -> Values:
    """Run a case in the working folder. Raises ``RuntimeError`` with what the stage said where it ends early."""
    if case.stage == DIRECT:
        return explained(case)
    line, work = program(case.stage)
    argv = case.argv() + ([] if case.settings is None else ["--settings", json.dumps(case.settings)])
    runs: list[Run] = []

    def noted(run: Run) -> None:
        runs.append(run)
        work(run)

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), watched() as changes:
            line.main(argv, noted)
    except SystemExit as end:
        raise RuntimeError(f"stages/{case.stage}.py ended with code {end.code}:\n{said.getvalue()}") from None
    if not runs:
        raise RuntimeError(f"stages/{case.stage}.py had nothing to do: {said.getvalue()}")
    return portrait(case, runs[0], changes)


def explained(case: Case) -> Values:
    """Maps by an explainer of segmentation networks, of a box in an image."""
    network, classes = load_segmenter(Path(folder_of(dict(case.given())["segmenter"][0])))
    items = Index.load(folder_of(INDEX)).split("val")[:1]
    ((batch, (images,)),) = views_of(items, InferenceSettings(scales=(1.0,), flip=False), torch.device("cpu"), 1)
    target = Regions(range(len(classes) + 1), "box", at=(20, 24, 24, 28))
    made = find(case.name)(**dict(case.settings or {}))(subject_of(network.eval()), images, target)
    rows = zip(made.image_idx.tolist(), made.class_idx.tolist(), made.maps, strict=True)
    return {f"map {batch[image].id} {label}": lean(one.numpy()) for image, label, one in rows}


def run_in(cases: Sequence[Case], folder: Path) -> dict[str, Found]:
    """Run cases, each after those that it reads, in an empty folder; by key, what came of each."""
    found: dict[str, Found] = {}
    with contextlib.chdir(folder):
        for case in cases:
            found[case.key] = result(case, found)
            if case.key == INDEX and "error" not in found[INDEX]:
                fixtures.furnish(Index.load(case.out))
    return found


def result(case: Case, before: Mapping[str, Found]) -> Found:
    """Run a case in the working folder, where what it reads lies already; ``before``: what came of that."""
    if case.needs is not None and importlib.util.find_spec(case.needs) is None:
        return {"skipped": f"needs {case.needs}"}
    lacking = [key for key in case.reads() if "values" not in before[key]]
    if lacking:
        why = "skipped" if all("skipped" in before[key] for key in lacking) else "error"
        return {why: f"is made from {', '.join(lacking)}, which failed"}
    try:
        numbers, files = about(case)
        return {"versions": numbers, "files": files, "values": values_of(case)}
    except Exception:
        return {"error": traceback.format_exc()}
