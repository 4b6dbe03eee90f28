"""Trainings by two processes on GPUs, simulated where there is none, against the same by one, and what the two tell
each other in each step. Messages go by gloo: NCCL takes no two processes on one GPU, and no simulated one.

In float64, as in ``test_trainings``, and to ``CLOSE``: losses that ask for float32 round sums that are taken in another
order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist

from tests.engine import process_group
from tests.gpu.test_trainings import classify, doubled, farthest, segment, trainer, weights
from wsss.data.loading import ByteBatch
from wsss.settings import PNocSettings, SegmentationSettings
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
    "segmentation": (segment(SegmentationSettings, loss_cap=0.5), {"batch_size": 8, "epochs": 2, **UNEVEN}),
}


class Runs(NamedTuple):
    """What one process ends with that trains alone, and what each of two that train together."""

    alone: dict[str, Any]
    first: dict[str, Any]
    second: dict[str, Any]


def train(rank: int, name: str, index: Path, ordinary: Path, folder: Path) -> dict[str, Any]:
    """What one of the processes ends with: how far all weights moved, the weights themselves by network, how many of
    them each trains, and for each micro-step how many numbers each message to the others had."""
    gpu = torch.device("cuda", rank % torch.cuda.device_count())
    torch.cuda.set_device(gpu)
    told: list[list[int]] = []
    moved, step = ByteBatch.to, Trainer._micro_step
    originals = {kind: getattr(dist, kind) for kind in ("all_reduce", "all_gather", "broadcast")}

    def counted(kind: str) -> Callable[..., Any]:
        def send(*given: Any, **options: Any) -> Any:
            tensor = given[1] if kind == "all_gather" else given[0]
            if told:
                told[-1].append(tensor.numel())
            return originals[kind](*given, **options)

        return send

    def counting(self: Trainer, batch: Any) -> None:
        told.append([])
        step(self, batch)

    case, settings = CASES[name]
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
        "trained": sizes,
        "steps": it.steps,
    }


def apart(found: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest relative difference of any weight or statistic of any network."""
    pairs = ((found["weights"][n], other["weights"][n]) for n in other["weights"])
    return max(farthest(*({k: torch.from_numpy(v) for k, v in one.items()} for one in pair)) for pair in pairs)


@pytest.fixture(scope="module", params=CASES)
def runs(request, tiny_index, ordinary, tmp_path_factory) -> Runs:
    folder, name = tmp_path_factory.mktemp("processes"), request.param
    alone = train(0, name, tiny_index, ordinary, folder / "one")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process_group, "SECONDS", 500)
        return Runs(alone, *process_group.together(2, train, name, tiny_index, ordinary, folder / "two"))


def test_two_processes_train_like_one(runs):
    """Batch normalisation sees both halves by torch's kernels for that; gradients, losses over all labelled pixels and
    maxima of the batch are those of the whole. Images that are left over count for neither."""
    alone, first, second = runs
    assert first["steps"] == alone["steps"] == 1 and alone["moved"] > 100 * CLOSE
    assert apart(first, second) == 0 and apart(first, alone) < CLOSE


def test_gradients_are_told_once_an_optimiser_step(runs):
    """The first of two micro-batches whose gradients are summed tells none: only losses, maxima and the statistics of
    batch normalisation, in short messages. In the second each network's gradients are one message."""
    gradients = Counter(runs.first["trained"])
    assert runs.alone["told"] == [[], []]
    for process in (runs.first, runs.second):
        gathering, stepping = process["told"]
        assert gathering and max(gathering) < min(gradients) / 100
        assert Counter(size for size in stepping if size >= min(gradients)) == gradients
