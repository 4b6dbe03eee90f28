"""Two processes that train together: like one, and agreed on where to stop, what to save and when to fail."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import wsss.training.engine
from tests.engine.process_group import free_port
from tests.engine.tiny_training import SMALL, Failing, trainer
from wsss.data.index import Index
from wsss.data.loading import TrainingViews
from wsss.errors import WsssError
from wsss.objectives.p_noc import PNoc
from wsss.runtime.run import Run
from wsss.settings import PNocSettings
from wsss.store.weights import load_weights
from wsss.system.exit import Interrupted
from wsss.training.engine import Trainer


def _process(rank, port, index, ordinary, out, results):
    torch.set_num_threads(1)
    if port:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    settings = PNocSettings(**{**SMALL, "ordinary": "vanilla", "batch_norm": "fixed", "warm_start": "vanilla"})
    run = Run(
        SimpleNamespace(out=Path(out), state=None, seed=0, threads=1, device="cpu"),
        settings,
        {"index": Path(index), "ordinary": Path(ordinary), "warm_start": Path(ordinary)},
    )
    wsss.training.engine.CHECKPOINT_SECONDS = 1e9
    given = {"ordinary": run.inputs["ordinary"], "warm_start": run.inputs["warm_start"]}
    views = TrainingViews(Index.load(index).labelled("train"), 2, settings, 0)
    network = Trainer(PNoc(settings, 2, given), views, settings, run, torch.device("cpu")).train()
    results[rank] = {k: v.tolist() for k, v in network.state_dict().items() if "head" in k}
    if port:
        dist.destroy_process_group()


def test_two_processes_train_like_one(tiny_index, trained_ordinary, tmp_path):
    """Same global batch, fixed batch norm: weights agree to 1e-4 (sums are taken in another order)."""
    weights = []
    for name, count, at in (("one", 1, 0), ("two", 2, free_port())):
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
            it = Trainer(PNoc(settings, 2, {"ordinary": ordinary}), views, settings, run, torch.device("cpu"))
            run.stop = "a test" if attempt == 0 and rank in stops else None  # the signal reaches one process only
            try:
                it.train()
                break
            except Interrupted:
                assert name == "cut" and it.step == 1
                dist.barrier()  # the first process has saved
        state = {f"{n}.{k}": v.tolist() for n, m in it.networks.items() for k, v in m.state_dict().items()}
        results[rank, name] = state, it.records.path.read_text()
    failing = Failing("loss" if rank == 1 else "nothing")
    try:
        trainer(index, run_of("failing", settings), failing, batch_size=2).train()
    except WsssError as error:
        results[rank, "failing"] = str(error)
    dist.destroy_process_group()


def test_two_processes_agree_resume_and_fail_together(tiny_index, trained_ordinary, tmp_path):
    """Batch normalisation is not fixed: each process sees statistics of its own, of which one set is saved."""
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_cut_process, (free_port(), str(tiny_index), trained_ordinary, str(tmp_path), results), nprocs=2)
        results = dict(results)
    one = results[0, "whole"]
    assert all(results[rank, name] == one for rank in (0, 1) for name in ("whole", "cut"))
    assert results[0, "failing"] == results[1, "failing"] and "loss is not finite" in results[0, "failing"]
