"""Trainings that are stopped or killed go on from their checkpoint, to the same bits."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.engine.process_group import wait_for, world
from tests.engine.tiny_training import SMALL
from wsss.settings import (
    CoTrainingSettings,
    EarlyLearningSettings,
    EmaTeacherSettings,
    PNocSettings,
    SegmentationSettings,
    VanillaSettings,
)
from wsss.stages.classifier import make as train_classifier
from wsss.stages.segmenter import make as train_segmenter
from wsss.system.exit import Interrupted


def test_stopping_at_every_step_changes_no_bit(tiny_index, make_run, stopped_at_every_step):
    settings = VanillaSettings(**SMALL, label_smoothing=0.1)
    train_classifier(make_run(settings, {"index": tiny_index}, "whole"))
    run = make_run(settings, {"index": tiny_index}, "cut")
    cuts = stopped_at_every_step(train_classifier, run)
    assert cuts == 6
    whole, pieces = (run.out.parent / n / "model.safetensors" for n in ("whole", "cut"))
    assert whole.read_bytes() == pieces.read_bytes()
    assert (whole.parent / "metrics.jsonl").read_text() == (pieces.parent / "metrics.jsonl").read_text()
    assert (whole.parent / "predictions.csv").read_text() == (pieces.parent / "predictions.csv").read_text()


LONG = {**SMALL, "batch_size": 2, "epochs": 4, "supervision": "masks", "architecture": "unet", "accumulate": 5}
"""24 micro-steps, in which no optimiser step ends with an epoch but the last."""


@pytest.mark.parametrize(
    "settings",
    [
        EmaTeacherSettings(**LONG),
        EarlyLearningSettings(**LONG, correction_start=0.0, sure=0.4),
        CoTrainingSettings(**{**LONG, "lr": 0.001}),
    ],
    ids=lambda settings: settings.objective,
)
def test_a_segmenter_goes_on_with_all_that_its_objective_has(tiny_index, make_run, stopped_at_every_step, settings):
    train_segmenter(make_run(settings, {"index": tiny_index}, "whole"))
    run = make_run(settings, {"index": tiny_index}, "cut")
    assert stopped_at_every_step(train_segmenter, run) == 5
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (run.out.parent / "whole" / name).read_bytes() == (run.out / name).read_bytes()


def test_a_checkpoint_of_other_settings_is_not_resumed(tiny_index, make_run, monkeypatch, capsys):
    run = make_run(VanillaSettings(**SMALL), {"index": tiny_index})
    run.stop = "a test"
    with pytest.raises(Interrupted):
        train_classifier(run)
    other = make_run(VanillaSettings(**{**SMALL, "lr": 0.02}), {"index": tiny_index})
    train_classifier(other)
    said = capsys.readouterr().err
    assert f"({run.identity}); this one starts at step 0" in said and "are kept" in said
    assert other.state == run.state and (run.state / run.identity / "checkpoint.pt").is_file()
    again = make_run(run.settings, {"index": tiny_index})
    train_classifier(again)
    assert "resuming at step 1" in capsys.readouterr().err


@pytest.mark.parametrize("precision, goes_on_in", [("auto", "bfloat16"), ("fp32", "float32")])
def test_a_training_goes_on_in_the_type_it_began_in(tiny_index, make_run, monkeypatch, capsys, precision, goes_on_in):
    """A preempted job may come back on another kind of device. ``auto`` stands for what the first one took."""
    settings = VanillaSettings(**{**SMALL, "precision": precision})
    run = make_run(settings, {"index": tiny_index})
    run.stop = "a test"
    monkeypatch.setattr("wsss.training.precision.autocast_type", lambda *_: torch.bfloat16)
    with pytest.raises(Interrupted):
        train_classifier(run)
    run.stop = None
    monkeypatch.setattr("wsss.training.precision.autocast_type", lambda *_: torch.float32)
    train_classifier(run)
    said = capsys.readouterr().err
    assert "resuming at step 1" in said
    assert ("resuming in bfloat16, in which" in said) == (goes_on_in == "bfloat16")
    assert ("began in bfloat16 and resumes in float32" in said) == (goes_on_in == "float32")


def arguments(tiny_index, ordinary, out, stage="classifier"):
    small = {**SMALL, "epochs": 4, "accumulate": 2}
    if stage == "classifier":
        settings, given = PNocSettings(**small, ordinary="vanilla"), ("--ordinary", str(ordinary))
    else:
        settings, given = SegmentationSettings(**small, supervision="masks"), ()
    words = ("--settings", settings.canonical(), "--out", str(out), "--threads", "1", "--device", "cpu")
    return ["--index", str(tiny_index), *given, *words]


def recorded(out):
    """Lines in the metrics of a training under way."""
    return sum(file.read_text().count("\n") for file in out.glob("state/*/metrics.jsonl"))


@pytest.mark.parametrize("stage", ["classifier", "segmenter"])
def test_killed_and_restarted_it_has_the_same_bits(tiny_index, trained_ordinary, tmp_path, stage):
    """SIGTERM saves and asks to be tried again; SIGKILL loses what came after the last checkpoint; neither changes a
    bit. The classifier is P-NOC's, with its two networks."""
    whole, cut = (arguments(tiny_index, trained_ordinary, tmp_path / name, stage) for name in ("whole", "cut"))
    with world(stage, [whole], tmp_path / "logs") as one:
        assert one.codes() == [0], one.said()
    for number, code in ((signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)):
        seen = recorded(tmp_path / "cut")
        with world(stage, [cut], tmp_path / number.name) as one:
            (process,) = one.processes
            wait_for(lambda seen=seen, process=process: recorded(tmp_path / "cut") > seen or not process.is_alive())
            # a cluster signals every process of the job, loaders included
            os.killpg(process.pid, number) if number == signal.SIGTERM else process.kill()
            assert one.codes() == [code], one.said()
        assert not (tmp_path / "cut" / "manifest.json").exists()
    with world(stage, [cut], tmp_path / "last") as one:
        assert one.codes() == [0] and "resuming at step" in one.said()[0], one.said()
    assert not any((tmp_path / "cut" / "state").iterdir())
    products = ["model.safetensors", "metrics.jsonl"] + ["predictions.csv"] * (stage == "classifier")
    for name in products:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_signal_and_its_echo_are_one_order_and_a_later_signal_ends_the_process():
    """A cluster's time limit reaches a stage from the cluster and, a moment later, from the launcher above it."""
    program = """if True:
        import os, signal, time, types
        from wsss.system import exit as ending
        run = types.SimpleNamespace(stop=None)
        ending.ECHO = 0.3
        with ending.signals(run):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR1)
            print(run.stop, flush=True)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGTERM)
            print("still here", flush=True)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("SIGTERM\n", 128 + signal.SIGTERM), done.stderr


def test_a_second_copy_of_a_running_stage_refuses_to_start(tiny_index, trained_ordinary, tmp_path):
    (tmp_path / "busy").mkdir()
    with (tmp_path / "busy" / ".lock").open("w") as held:
        held.write("process 1 on here")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        argv = arguments(tiny_index, trained_ordinary, tmp_path / "busy")
        with world("classifier", [argv], tmp_path / "logs") as second:
            assert second.codes() == [2] and "another copy of this stage" in second.said()[0]
