"""The simulated GPU itself: what would fail on a GPU fails, what waits is counted, and what a kernel gives is right.
The same is asked of a real one, where there is one."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.gpu.simulated.build import ROOT, environment, why_not
from tests.gpu.simulated.device import metered
from wsss.compute.devices import download, upload

GPU = torch.device("cuda", 0)
on_a_gpu = pytest.mark.gpu_sim


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def in_half(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cuda", torch.float16):
        return F.binary_cross_entropy(x.sigmoid(), x.sigmoid())


ERRORS = {
    "an addition of both": lambda x: x.to(GPU) + x,
    "a mask of the CPU": lambda x: torch.where(x > 0, x.to(GPU), 0.0),
    "a list of both": lambda x: torch.cat([x, x.to(GPU)]),
    "weights of the CPU": lambda x: nn.Conv2d(3, 2, 1)(x.to(GPU)),
    "weights of classes": lambda x: F.cross_entropy(x.to(GPU), x.argmax(1).to(GPU), weight=torch.ones(3)),
    "an index of the GPU": lambda x: x[torch.zeros(1, dtype=torch.int64, device=GPU)],
    "an array": lambda x: x.to(GPU).numpy(),
    "a loss that is not for float16": lambda x: in_half(x.to(GPU)),
    "no such GPU": lambda x: x.to(torch.device("cuda", 63)),
}


@on_a_gpu
@pytest.mark.parametrize("error", ERRORS)
def test_what_fails_on_a_gpu_fails(error, values):
    with pytest.raises((RuntimeError, TypeError)):
        ERRORS[error](values)


WAITS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.any()),
    "cpu": lambda x: x.cpu(),
    "nonzero": lambda x: x.nonzero(),
    "a mask as an index": lambda x: x[x > 0],
    "bincount": lambda x: x.abs().long().flatten().bincount(),
    "unique": lambda x: x.unique(),
    "a number of the host": lambda x: torch.tensor([1.0], device=x.device),
    "an index of the host": lambda x: x[torch.zeros(1, dtype=torch.int64)],
}


@on_a_gpu
@pytest.mark.parametrize("wait", WAITS)
def test_what_waits_is_counted_where_it_stands(wait, values):
    x = values.to(GPU)
    with metered() as meter:
        WAITS[wait](x)
    assert sum(meter.waits.values()) == 1 and all("tests/gpu/test_device.py:" in place for place in meter.waits), meter
    assert bool(meter.unpinned) == wait.endswith("of the host")
    with metered() as meter:
        (x.relu().mean() * 2 + torch.tensor(3.0)).masked_fill(x > 0, 1.0).argmax(1)
    assert not meter.waits and not meter.unpinned and sum(meter.kernels.values()) >= 6


@on_a_gpu
def test_both_ways_between_host_and_gpu(values):
    """Up without a wait; down with one for all tensors of a type, whatever their shapes."""
    with metered() as meter:
        there = upload(values, GPU)
        assert upload(there, GPU) is there
    assert not meter.waits and not meter.unpinned
    several = [there, there[0, :, 1:], there.new_zeros(0, 3), there.argmax(1), there.argmin(1)[0]]
    with metered() as meter:
        found = download(several)
    assert sum(meter.waits.values()) == 2, "floats and integers"
    for array, tensor in zip(found, several, strict=True):
        assert array.shape == tuple(tensor.shape) and np.array_equal(array, tensor.cpu().numpy())
    for array, tensor in zip(download([values, values[0]]), [values, values[0]], strict=True):
        assert np.shares_memory(array, tensor.numpy()), "nothing is copied on the CPU"


@on_a_gpu
def test_kernels_without_a_fixed_order_are_refused_on_demand(values):
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            F.adaptive_avg_pool2d(values.to(GPU).requires_grad_(), 3).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def _in_a_fork(pipe) -> None:
    try:
        torch.zeros(1, device=GPU)
        pipe.send("no error")
    except RuntimeError as error:
        pipe.send(str(error))


@on_a_gpu
def test_a_fork_cannot_use_the_gpu(values):
    values.to(GPU)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(theirs,))
    process.start()
    assert ours.poll(60) and "re-initialize CUDA in forked subprocess" in ours.recv()
    process.join()


@on_a_gpu
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_has_the_types_and_values_of_torch(kind, values):
    """Autocast keeps losses in fp32 and products in the narrow type; the scaler skips a step that overflows."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    there = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).to(GPU)
    there.load_state_dict(layer.state_dict())
    optimiser = torch.optim.SGD(there.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=kind == torch.float16)
    with torch.autocast("cuda", kind, enabled=kind != torch.float32):
        scores = there(values.to(GPU))
        loss = F.cross_entropy(scores.mean((2, 3)), torch.tensor([0, 1], device=GPU))
    assert scores.dtype == kind and loss.dtype == torch.float32
    expected = F.cross_entropy(layer(values).mean((2, 3)), torch.tensor([0, 1]))
    assert abs(loss.item() - expected.item()) < {torch.float32: 1e-6}.get(kind, 2e-2)
    scaler.scale(loss).backward()
    assert all(p.grad.dtype == torch.float32 for p in there.parameters())
    there[0].weight.grad[0, 0, 0, 0] = torch.inf
    before = there[3].weight.detach().clone()
    scaler.step(optimiser)
    scaler.update()
    assert torch.equal(before, there[3].weight) == (kind == torch.float16)
    assert scaler.get_scale() == (32768.0 if kind == torch.float16 else 1.0)


ON_A_V100 = """
from wsss.compute.devices import choose_device
from wsss.errors import WsssError
try:
    choose_device("auto")
except WsssError as error:
    print(error)
"""


@pytest.mark.skipif(why_not() is not None, reason=f"no GPU can be simulated: {why_not()}")
def test_the_pinned_torch_says_which_set_a_v100_needs(tmp_path):
    """torch's own list of kernels is asked, and its own properties of the GPU."""
    given = environment(SIM_GPU_CAPABILITY="7.0", TMPDIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", ON_A_V100], env=given, cwd=ROOT, capture_output=True, text=True)
    assert "has compute capability 7.0, and torch" in done.stdout, done.stderr
    assert "requirements-cu126.txt): make clean-env, then make env TORCH=cu126" in done.stdout
