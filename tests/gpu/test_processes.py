"""Trainings by two processes on GPUs, simulated where there is none, against the same by one, and what the two tell
each other in each step. Messages go by gloo: NCCL takes no two processes on one GPU, and no simulated one.

In float64, as in ``test_trainings``, and to ``CLOSE``: losses that ask for float32 round sums that are taken in another
order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.engine import process_group
from tests.gpu.test_trainings import classify, doubled, farthest, trainer, weights
from wsss.data.loading import ByteBatch
from wsss.settings import PNocSettings
from wsss.training.engine import Trainer

pytestmark = pytest.mark.gpu_sim

CLOSE = 1e-6
"""Largest difference of a weight or running statistic, relative to the largest value of its tensor."""
UNEVEN = {"accumulate": 2, "deterministic": True}
"""Of twelve images a micro-batch of 8 leaves four over in each epoch, which neither one process nor two train on."""
CASES = {
    "p-noc": (
        classify(PNocSettings, erase_class="least-chosen", adversary_batch_norm="normal"),
        {"batch_size": 8, "epochs": 2, "erasing_max": "batch", "adversary_max": "batch", **UNEVEN},
    ),
}


def train(rank: int, name: str, index: Path, ordinary: Path, folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """What one of the processes ends with: how far all weights moved, the weights themselves by network (as lists), and
    for each micro-step how many numbers it told the others."""
    gpu = torch.device("cuda", rank % torch.cuda.device_count())
    torch.cuda.set_device(gpu)
    moved, step, told = ByteBatch.to, Trainer._micro_step, []
    originals = {kind: getattr(dist, kind) for kind in ("all_reduce", "all_gather", "broadcast")}

    def counted(kind: str) -> Callable[..., Any]:
        def send(*given: Any, **options: Any) -> Any:
            tensor = given[1] if kind == "all_gather" else given[0]
            if told:
                told[-1] += tensor.numel()
            return originals[kind](*given, **options)

        return send

    def counting(self: Trainer, batch: Any) -> None:
        told.append(0)
        step(self, batch)

    case, usual = CASES[name]
    settings = {**usual, **changes}
    try:
        ByteBatch.to = lambda self, device: doubled(moved(self, device))
        Trainer._micro_step = counting
        for kind in originals:
            setattr(dist, kind, counted(kind))
        it = trainer(case, index, ordinary, folder, gpu, double=True, **settings)
        before = {n: weights(network) for n, network in it.networks.items()}
        it.train()
        after = {n: weights(network) for n, network in it.networks.items()}
    finally:
        ByteBatch.to, Trainer._micro_step = moved, step
        for kind, original in originals.items():
            setattr(dist, kind, original)
    sizes = [sum(p.numel() for p in network.parameters() if p.requires_grad) for network in it.networks.values()]
    return {
        "weights": {n: {key: value.numpy() for key, value in one.items()} for n, one in after.items()},
        "moved": min(farthest(after[n], before[n]) for n in after),
        "told": told,
        "trained": sum(sizes),
        "steps": it.steps,
    }


def apart(found: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest relative difference of any weight or statistic of any network."""
    pairs = ((found["weights"][n], other["weights"][n]) for n in other["weights"])
    return max(farthest(*({k: torch.from_numpy(v) for k, v in one.items()} for one in pair)) for pair in pairs)


@pytest.fixture
def by_two(tiny_index, ordinary, tmp_path, monkeypatch) -> Callable[..., list[dict[str, Any]]]:
    monkeypatch.setattr(process_group, "SECONDS", 500)

    def run(name: str, **changes: Any) -> list[dict[str, Any]]:
        folder = tmp_path / "".join(map(str, ("two", *changes.values())))
        return process_group.together(2, train, name, tiny_index, ordinary, folder, changes)

    return run


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_like_one(name, by_two, tiny_index, ordinary, tmp_path):
    """Batch normalisation sees both halves by torch's kernels for that; gradients, losses over all labelled pixels and
    maxima of the batch are those of the whole. Images that are left over count for neither."""
    alone = train(0, name, tiny_index, ordinary, tmp_path / "one", {})
    first, second = by_two(name)
    assert first["steps"] == alone["steps"] == 1 and alone["moved"] > 100 * CLOSE
    assert apart(first, second) == 0 and apart(first, alone) < CLOSE
    assert set(alone["told"]) == {0} and len(alone["told"]) == len(first["told"])
