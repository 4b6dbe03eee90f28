"""Training curves in TensorBoard and MLflow: as metrics.jsonl has them, once each, and with no trace in the result."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.engine.tiny_training import LineObjective, trainer
from wsss.config.loader import load
from wsss.errors import WsssError
from wsss.losses.base import Loss
from wsss.runtime.program import Stage
from wsss.settings import Classifier
from wsss.system.exit import Interrupted
from wsss.workflow.chain import Chain
from wsss.workflow.rules import Rules

ROOT = Path(__file__).resolve().parents[2]


class Twice(LineObjective):
    """With a second value to log."""

    def losses(self, batch, training_step):
        for network, value, parts in super().losses(batch, training_step):
            yield Loss(network, value, parts | {"twice": 2 * parts["loss"]})


def training(index_folder, run, log):
    return trainer(index_folder, run, Twice(), batch_size=2, log=log)


def trained(index_folder, run, log, cuts=()):
    """The trainer at its end; it is killed after each of these steps, beyond its last checkpoint."""
    for cut in cuts:
        it = training(index_folder, run, log)
        step = it._micro_step

        def until(batch, it=it, step=step, cut=cut):
            if it.step == cut:
                raise KeyboardInterrupt  # no checkpoint: what was logged since the last one is void
            step(batch)
            run.stop = "a test" if it.step == cut - 3 else None

        it._micro_step = until
        for _ in range(2):
            try:
                it.train()
            except Interrupted:
                run.stop = None
            except KeyboardInterrupt:
                break
    it = training(index_folder, run, log)
    it.weights = it.train().state_dict()
    return it


def records(it):
    return [json.loads(line) for line in it.records.path.read_text().splitlines()]


def curves(rows):
    """name -> [(step, value)]"""
    return {
        name: [(row["step"], pytest.approx(row[name])) for row in rows] for name in ("epoch", "lr", "loss", "twice")
    }


def events(folder):
    """Every scalar in the event files as they are written, nothing purged: name -> [(step, value)]"""
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = {}
    for file in sorted(folder.iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
                found.setdefault(value.tag, []).append((event.step, number))
    return found


@pytest.mark.parametrize("cuts", [(), (7,), (4, 7, 11)])
def test_event_files_hold_each_step_once(tiny_index, make_run, cuts):
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    run = make_run(None, {})
    it = trained(tiny_index, run, "tensorboard", cuts)
    assert [row["step"] for row in records(it)] == [2, 3, 5, 6, 8, 9, 11, 12]
    assert events(run.out / "tensorboard") == curves(records(it))


def test_a_log_changes_nothing_and_leaves_with_its_training(tiny_index, make_run):
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    run = make_run(None, {})
    logged, plain = trained(tiny_index, run, "tensorboard"), trained(tiny_index, make_run(None, {}, "plain"), None)
    assert logged.run.identity == plain.run.identity, "a checkpoint is good for both"
    assert records(logged) == records(plain)
    assert all(torch.equal(logged.weights[name], plain.weights[name]) for name in plain.weights)
    logged.checkpoint.path.unlink()
    assert (run.out / "tensorboard").is_dir()
    trained(tiny_index, run, None)
    assert not (run.out / "tensorboard").exists(), "its curves are of a training that is no more"


def test_a_log_that_is_asked_for_half_way_has_the_curves_from_the_start(tiny_index, make_run):
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    run = make_run(None, {})
    first = training(tiny_index, run, None)
    step = first._micro_step
    first._micro_step = lambda batch: (step(batch), setattr(run, "stop", "a test" if first.step == 6 else None))
    with pytest.raises(Interrupted):
        first.train()
    run.stop = None
    it = trained(tiny_index, run, "tensorboard")
    assert events(run.out / "tensorboard") == curves(records(it))


def test_mlflow_has_one_run_a_training_and_each_step_once(tiny_index, make_run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install '.[mlflow]'")
    monkeypatch.chdir(tmp_path)
    run = make_run(None, {})
    first = trained(tiny_index, run, "mlflow", (4, 7))
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())

    def runs():
        return client.search_runs([client.get_experiment_by_name("wsss").experiment_id])

    (found,) = runs()
    assert (found.info.run_name, found.info.status) == ("out", "FINISHED")
    assert found.data.params["objective"] == "vanilla" and found.data.params["long_side"] == "[56, 72]"
    for name, values in curves(records(first)).items():
        assert [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)] == values, name
    assert [path.name for path in run.leftovers].count("mlflow-run"), "the next training is another run"
    for path in run.leftovers:  # as a stage does once its manifest stands
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    trained(tiny_index, run, "mlflow")
    assert len(runs()) == 2 and {one.info.status for one in runs()} == {"FINISHED"}


def test_a_training_that_fails_is_marked_so(tiny_index, make_run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install '.[mlflow]'")
    monkeypatch.chdir(tmp_path)
    it = training(tiny_index, make_run(None, {}), "mlflow")
    with torch.no_grad():
        it.networks["line"].layer.weight.fill_(float("nan"))
    with pytest.raises(WsssError, match="not finite"):
        it.train()
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("wsss").experiment_id])
    assert found.info.status == "FAILED"


@pytest.mark.parametrize("log, module", [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")])
def test_a_package_that_is_missing_is_named_before_anything_is_trained(tiny_index, make_run, monkeypatch, log, module):
    monkeypatch.setitem(sys.modules, module, None)
    run = make_run(None, {})
    with pytest.raises(WsssError, match=rf"log: {log} needs a package that is not here .*; install wsss\[{log}\]"):
        training(tiny_index, run, log)
    assert not (run.out / "state").exists()


def test_the_workflow_hands_settings_on_by_flags_that_no_parameter_holds(tiny_index, tmp_path):
    recipe = {"objective": "vanilla", "log": "tensorboard", "stage_to": "$TMPDIR"}
    config = {"dataset": "scenes", "datasets": {"scenes": {"kind": "scenes"}}, "classifiers": {"a": recipe}}
    wildcards = SimpleNamespace(name="a", dataset="scenes", seed="0", folder="classifiers")
    given = SimpleNamespace(index=["results/scenes/index/manifest.json"], get=lambda key, default: default)
    said = Rules(Chain(load(config)), ROOT).command(wildcards, given, ["out/manifest.json"], 1)
    assert "/classifier.py --log tensorboard --stage-to '$TMPDIR' --index " in said
    assert '"log"' not in said and '"stage_to"' not in said
    stage = Stage("", settings=Classifier, inputs={"index": ""}, distributed=True)
    given = ["--out", str(tmp_path), "--index", str(tiny_index), "--settings", '{"objective": "vanilla"}']
    for flags, log in (([], None), (["--log", "mlflow"], "mlflow")):
        assert stage._read_settings(stage.parser.parse_args(given + flags)).log == log
    read = stage._read_settings(stage.parser.parse_args([*given, "--stage-to", "$TMPDIR"]))
    assert (read.stage_to, read.log) == ("$TMPDIR", None)
