"""Two processes that train together agree on where to stop, what to save and when to fail. That they train like one:
``test_processes``."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from tests.engine.process_group import together
from tests.engine.tiny_training import SMALL, Failing, trainer
from wsss.data.index import Index
from wsss.data.loading import TrainingViews
from wsss.errors import WsssError
from wsss.objectives.p_noc import PNoc
from wsss.runtime.run import Run
from wsss.settings import PNocSettings
from wsss.system.exit import Interrupted
from wsss.training.engine import Trainer


def train_whole_cut_and_failing(rank, index, ordinary, folder):
    """Weights and records of a training, and of one that is stopped; and how one fails."""
    settings = PNocSettings(**SMALL, ordinary="vanilla", adversary_batch_norm="normal")
    found = {}

    def run_of(name):
        (folder / name).mkdir(exist_ok=True)
        return Run(SimpleNamespace(out=folder / name, state=None, seed=0, threads=1, device="cpu"), settings, {})

    for name, stops in (("whole", ()), ("cut", (1,))):
        for attempt in range(2):
            torch.manual_seed(0)
            run = run_of(name)
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
        found[name] = state, it.records.path.read_text()
    with pytest.raises(WsssError) as failed:
        trainer(index, run_of("failing"), Failing("loss" if rank == 1 else "nothing"), batch_size=2).train()
    return found | {"failing": str(failed.value)}


def test_two_processes_agree_resume_and_fail_together(tiny_index, trained_ordinary, tmp_path):
    """Batch normalisation is not fixed: each process sees statistics of its own, of which one set is saved."""
    first, second = together(2, train_whole_cut_and_failing, tiny_index, trained_ordinary, tmp_path)
    assert first == second and first["whole"] == first["cut"]
    assert "loss is not finite" in first["failing"]
