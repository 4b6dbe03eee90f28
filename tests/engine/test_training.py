"""The training loop: learning, accumulation, precision, resume after death, several processes."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import wsss.engine
from wsss.data.index import Index
from wsss.data.loading import Order, TrainingViews
from wsss.engine import Trainer
from wsss.errors import WsssError
from wsss.models.backbone import Trainable
from wsss.objectives.base import Loss, Objective
from wsss.objectives.classification import classification_loss
from wsss.settings import PNocSettings, SegmenterSettings, VanillaSettings
from wsss.stage import Interrupted
from wsss.store.manifest import write_manifest
from wsss.store.weights import load_weights
from wsss.train import train_classifier, train_segmenter

SMALL = {
    "backbone": "test_resnet",
    "pretrained": False,
    "crop": 64,
    "long_side": (56, 72),
    "batch_size": 4,
    "epochs": 2,
    "lr": 0.01,
    "precision": "fp32",
}
STAGES = Path(__file__).parents[2] / "stages"


class Line(Trainable):
    """One linear map of the mean colour: small enough to compute by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(3, 2)

    def forward(self, images):
        return self.layer(images.mean((2, 3)))

    def is_new(self, name):
        return True


class Goal(Objective):
    product = "line"

    def __init__(self) -> None:
        self.networks = {"line": Line()}

    def losses(self, batch, moment):
        loss = classification_loss(self.networks["line"](batch.images), batch.labels)
        yield Loss("line", loss, {"loss": loss.detach()})


def trainer(index_folder, run, objective=None, **settings):
    settings = VanillaSettings(**{**SMALL, "augment": (), **settings})
    index = Index.load(index_folder)
    views = TrainingViews(index.labelled("train"), 2, settings, 0)
    run.settings = settings
    return Trainer(objective or Goal(), views, settings, run, torch.device("cpu"), {})


def test_a_step_of_sgd_by_hand(tiny_index, make_run):
    run = make_run(None, {})
    it = trainer(tiny_index, run, epochs=1, batch_size=12, lr=0.1, weight_decay=0.01)
    before = {k: v.clone() for k, v in it.networks["line"].state_dict().items()}
    views = [it.views[(0, p)] for _, p in next(iter(Order(12, 12, 1, 0)))]
    x = torch.stack([v.images for v in views]).mean((2, 3))
    y = torch.stack([v.labels for v in views])
    residual = (torch.sigmoid(x @ before["layer.weight"].T + before["layer.bias"]) - y) / y.numel()
    network = it.train()
    # new weights: rate x 10 and weight decay; new biases: rate x 20 and none
    weight = before["layer.weight"] - 1.0 * (residual.T @ x + 0.01 * before["layer.weight"])
    torch.testing.assert_close(network.layer.weight.detach(), weight)
    torch.testing.assert_close(network.layer.bias.detach(), before["layer.bias"] - 2.0 * residual.sum(0))


def test_accumulated_mean_equals_the_large_batch_and_sum_is_twice_that_step(tiny_index, make_run):
    start = Line().state_dict()
    moved = {}
    for name, extra in {
        "large": {"batch_size": 12},
        "mean": {"batch_size": 6, "accumulate": 2, "accumulate_mode": "mean"},
        "sum": {"batch_size": 6, "accumulate": 2, "accumulate_mode": "sum"},
    }.items():
        network = trainer(tiny_index, make_run(None, {}, name), epochs=1, weight_decay=0.0, **extra).train()
        moved[name] = network.layer.weight.detach() - start["layer.weight"]
    torch.testing.assert_close(moved["mean"], moved["large"])
    torch.testing.assert_close(moved["sum"], 2 * moved["large"])


def test_a_training_without_an_optimiser_step_is_refused(tiny_index, make_run):
    trainer(tiny_index, make_run(None, {}), epochs=2, batch_size=6, accumulate=4)
    with pytest.raises(WsssError, match="'epochs', lower 'batch_size' .6, for 12 images., or lower 'accumulate'"):
        trainer(tiny_index, make_run(None, {}), epochs=2, batch_size=6, accumulate=5)
    with pytest.raises(WsssError, match="only 12 training images for a batch of 13"):
        trainer(tiny_index, make_run(None, {}), batch_size=13, accumulate=2).train()


def test_a_loss_that_is_not_finite_stops_the_training(tiny_index, make_run):
    it = trainer(tiny_index, make_run(None, {}))
    with torch.no_grad():
        it.networks["line"].layer.weight.fill_(float("nan"))
    with pytest.raises(WsssError, match="not finite; lower 'lr'"):
        it.train()


class Failing(Goal):
    """From step 4 on (from 0) the loss is no number; or it is one, and its gradient is not."""

    def __init__(self, where) -> None:
        super().__init__()
        self.where = where

    def losses(self, batch, moment):
        for network, value, parts in super().losses(batch, moment):
            if moment.step >= 4 and self.where == "loss":
                value, parts = value * math.nan, {"loss": parts["loss"] * math.nan}
            if moment.step >= 4 and self.where == "gradient":
                value.register_hook(lambda gradient: gradient * math.inf)
            yield Loss(network, value, parts)


@pytest.mark.parametrize("where, wrong", [("loss", "loss"), ("gradient", "a weight")])
def test_no_checkpoint_holds_what_is_not_finite(tiny_index, make_run, monkeypatch, where, wrong):
    """Records come every third step here: the loss of the fifth stands in none yet when it is saved."""
    monkeypatch.setattr(wsss.engine, "CHECKPOINT_SECONDS", 0.0)
    it = trainer(tiny_index, make_run(None, {}), Failing(where), batch_size=1)
    with pytest.raises(WsssError, match=f"step 5: {wrong} is not finite.*the last sound checkpoint is"):
        it.train()
    state = torch.load(it.checkpoint, weights_only=True)
    assert state["step"] == 4 and all(v.isfinite().all() for v in state["networks"]["line"].values())


class Seldom(Goal):
    """A part of every second step, of value 6."""

    def losses(self, batch, moment):
        for network, value, parts in super().losses(batch, moment):
            yield Loss(network, value, parts | ({} if moment.step % 2 else {"seldom": torch.tensor(6.0)}))


def test_means_are_over_the_steps_that_have_the_part(tiny_index, make_run):
    """Also where the training is cut after every step."""
    texts = []
    for cut in (False, True):
        run = make_run(None, {}, f"cut{cut}")
        while True:
            it = trainer(tiny_index, run, Seldom(), batch_size=1)
            run.stop = "a test" if cut else None
            try:
                it.train()
                break
            except Interrupted:
                pass
        texts.append(it.metrics.read_text())
    assert texts[0] == texts[1]
    assert [json.loads(line)["seldom"] for line in texts[0].splitlines()] == [6.0] * 8


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_classifier_learns_the_colours(tiny_index, make_run, precision):
    settings = VanillaSettings(**{**SMALL, "epochs": 12, "lr": 0.05, "precision": precision, "augment": ()})
    run = make_run(settings, {"index": tiny_index})
    train_classifier(run)
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 36 and records[-1]["loss"] < 0.6 * records[0]["loss"]
    weights, about = load_weights(run.out / "model.safetensors")
    assert about["classes"] == ["red", "green"] and weights["head.weight"].shape[:2] == (2, 96)
    header, *rows = (run.out / "predictions.csv").read_text().splitlines()
    assert header == "id,split,red,green" and len(rows) == 4
    assert run.leftovers == [run.state / "checkpoint.pt", run.state / "metrics.jsonl"]


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


def test_a_checkpoint_of_other_settings_is_not_resumed(tiny_index, make_run, monkeypatch, capsys):
    run = make_run(VanillaSettings(**SMALL), {"index": tiny_index})
    run.stop = "a test"
    with pytest.raises(Interrupted):
        train_classifier(run)
    run.stop, run.settings = None, VanillaSettings(**{**SMALL, "lr": 0.02})
    train_classifier(run)
    assert "starting over" in capsys.readouterr().err


@pytest.fixture
def trained_ordinary(tiny_index, make_run):
    run = make_run(VanillaSettings(**SMALL), {"index": tiny_index}, "ordinary")
    train_classifier(run)
    write_manifest(run.out, {})
    return run.out


def command(tiny_index, ordinary, out, stage="classifier"):
    small = {**SMALL, "epochs": 4, "accumulate": 2}
    if stage == "classifier":
        settings, given = PNocSettings(**small, ordinary="vanilla"), ("--ordinary", str(ordinary))
    else:
        settings, given = SegmenterSettings(**small, supervision="masks"), ()
    return [
        *(sys.executable, str(STAGES / f"{stage}.py"), "--index", str(tiny_index), *given),
        *("--settings", settings.canonical(), "--out", str(out), "--threads", "1", "--device", "cpu"),
    ]


@pytest.mark.parametrize("stage", ["classifier", "segmenter"])
def test_killed_and_restarted_it_has_the_same_bits(tiny_index, trained_ordinary, tmp_path, stage):
    """SIGTERM saves and asks to be tried again; SIGKILL loses what came after the last checkpoint; neither changes a
    bit. The classifier is P-NOC's, with its two networks."""
    whole, cut = (command(tiny_index, trained_ordinary, tmp_path / name, stage) for name in ("whole", "cut"))
    subprocess.run(whole, check=True, capture_output=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(cut, stderr=subprocess.PIPE, text=True, start_new_session=True)
        records = tmp_path / "cut" / "state" / "metrics.jsonl"
        seen = records.read_text().count("\n") if records.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if records.exists() and records.read_text().count("\n") > seen:
                # a cluster signals every process of the job, loaders included
                os.killpg(process.pid, number) if number == signal.SIGTERM else process.kill()
                break
            time.sleep(0.005)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL), errors
        assert not (tmp_path / "cut" / "manifest.json").exists()
    done = subprocess.run(cut, check=True, capture_output=True, text=True)
    assert "going on at step" in done.stderr
    assert not any((tmp_path / "cut" / "state").iterdir())
    products = ["model.safetensors", "metrics.jsonl"] + ["predictions.csv"] * (stage == "classifier")
    for name in products:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_signal_and_its_echo_are_one_order_and_a_later_signal_ends_the_process():
    """A cluster's time limit reaches a stage from the cluster and, a moment later, from the launcher above it."""
    program = """if True:
        import os, signal, time, types
        from wsss import ending
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
    import fcntl

    (tmp_path / "busy").mkdir()
    with (tmp_path / "busy" / ".lock").open("w") as held:
        held.write("process 1 on here")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        second = subprocess.run(
            command(tiny_index, trained_ordinary, tmp_path / "busy"), capture_output=True, text=True
        )
    assert second.returncode == 2 and "another copy of this stage" in second.stderr


def test_segmenter_on_true_masks_and_missing_pseudo_masks(tiny_index, make_run):
    settings = SegmenterSettings(**{**SMALL, "lr": 0.05, "epochs": 3}, supervision="masks")
    run = make_run(settings, {"index": tiny_index})
    train_segmenter(run)
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < records[0]["loss"]
    empty = run.out.parent / "empty"
    empty.mkdir()
    pseudo = make_run(SegmenterSettings(**SMALL, masks="x"), {"index": tiny_index, "masks": empty})
    with pytest.raises(WsssError, match="12 training images have no mask, the first is p0"):
        train_segmenter(pseudo)


def test_missing_ordinary_classifier_is_named(tiny_index, make_run):
    with pytest.raises(WsssError, match="--ordinary: the recipe refers to 'vanilla'"):
        train_classifier(make_run(PNocSettings(**SMALL, ordinary="vanilla"), {"index": tiny_index}))


def _process(rank, port, index, ordinary, out, results):
    from types import SimpleNamespace

    from wsss.stage import Run

    torch.set_num_threads(1)
    if port:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    settings = PNocSettings(**{**SMALL, "ordinary": "vanilla", "batch_norm": "fixed", "warm_start": "vanilla"})
    run = Run(
        SimpleNamespace(out=Path(out), state=None, seed=0, threads=1, device="cpu"),
        settings,
        {"index": Path(index), "ordinary": Path(ordinary), "warm_start": Path(ordinary)},
    )
    from wsss.objectives.p_noc import Goal as PNoc

    wsss.engine.CHECKPOINT_SECONDS = 1e9
    given = {"ordinary": run.inputs["ordinary"], "warm_start": run.inputs["warm_start"]}
    views = TrainingViews(Index.load(index).labelled("train"), 2, settings, 0)
    network = Trainer(PNoc(settings, 2, given), views, settings, run, torch.device("cpu"), {}).train()
    results[rank] = {k: v.tolist() for k, v in network.state_dict().items() if "head" in k}
    if port:
        dist.destroy_process_group()


def test_two_processes_train_like_one(tiny_index, trained_ordinary, tmp_path):
    """Same global batch, fixed batch norm: weights agree to 1e-4 (sums are taken in another order)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    weights = []
    for name, count, at in (("one", 1, 0), ("two", 2, port)):
        (tmp_path / name).mkdir()
        with mp.Manager() as manager:
            results = manager.dict()
            mp.spawn(
                _process, (at, str(tiny_index), str(trained_ordinary), str(tmp_path / name), results), nprocs=count
            )
            weights.append([{k: torch.tensor(v) for k, v in results[r].items()} for r in range(count)])
    (one,), (first, second) = weights
    for key in one:
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], one[key], atol=1e-4, rtol=1e-3)
    start, _ = load_weights(trained_ordinary / "model.safetensors")
    assert (one["head.weight"] - start["head.weight"]).abs().max() > 1e-3


def _cut_process(rank, port, index, ordinary, folder, results):
    from types import SimpleNamespace

    from wsss.objectives.p_noc import Goal as PNoc
    from wsss.stage import Run

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    settings = PNocSettings(**SMALL, ordinary="vanilla", adversary_batch_norm="normal")

    def run_of(name, settings):
        (Path(folder) / name).mkdir(exist_ok=True)
        return Run(SimpleNamespace(out=Path(folder) / name, state=None, seed=0, threads=1, device="cpu"), settings, {})

    for name, stops in (("whole", ()), ("cut", (1,))):
        for attempt in range(2):
            torch.manual_seed(0)
            run = run_of(name, settings)
            views = TrainingViews(Index.load(index).labelled("train"), 2, settings, 0)
            it = Trainer(PNoc(settings, 2, {"ordinary": ordinary}), views, settings, run, torch.device("cpu"), {})
            run.stop = "a test" if attempt == 0 and rank in stops else None  # the signal reaches one process only
            try:
                it.train()
                break
            except Interrupted:
                assert name == "cut" and it.step == 1
                dist.barrier()  # the first process has saved
        state = {f"{n}.{k}": v.tolist() for n, m in it.networks.items() for k, v in m.state_dict().items()}
        results[rank, name] = state, it.metrics.read_text()
    failing = Failing("loss" if rank == 1 else "nothing")
    try:
        trainer(index, run_of("failing", settings), failing, batch_size=2).train()
    except WsssError as error:
        results[rank, "failing"] = str(error)
    dist.destroy_process_group()


def test_two_processes_agree_resume_and_fail_together(tiny_index, trained_ordinary, tmp_path):
    """Batch normalisation is not fixed: each process sees statistics of its own, of which one set is saved."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_cut_process, (port, str(tiny_index), trained_ordinary, str(tmp_path), results), nprocs=2)
        results = dict(results)
    one = results[0, "whole"]
    assert all(results[rank, name] == one for rank in (0, 1) for name in ("whole", "cut"))
    assert results[0, "failing"] == results[1, "failing"] and "loss is not finite" in results[0, "failing"]
