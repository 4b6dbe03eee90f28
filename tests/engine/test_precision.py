"""Gradient scalers of several networks, and how a GPU chooses its kernels during a training."""

from __future__ import annotations

import errno
import threading
import time

import pytest
import torch
from torch import nn

from tests.engine.tiny_training import trainer
from wsss.compute.devices import autocast_type, cpu_flags
from wsss.system.failures import DiskFull
from wsss.training.engine import CHECKPOINT_SECONDS, kernels_for_training
from wsss.training.precision import Precision

CPU = torch.device("cpu")

PROCESSORS = {
    "AMX": ("fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", torch.bfloat16),
    "AVX512_BF16 alone": ("fpu avx2 avx512f avx512_bf16 avx512_vnni", torch.bfloat16),
    "AVX-512": ("fpu avx2 avx512f avx512_vnni", torch.float32),
    "AVX2": ("fpu avx2 fma", torch.float32),
    "a flag of another name": ("fpu avx2 not_avx512_bf16_here", torch.float32),
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_auto_on_a_cpu_goes_by_its_instructions(processor, monkeypatch):
    flags, expected = PROCESSORS[processor]
    monkeypatch.setattr("wsss.compute.devices.cpu_flags", lambda: frozenset(flags.split()))
    assert autocast_type("auto", CPU) == expected
    assert autocast_type("fp32", CPU) == torch.float32 and autocast_type("bf16", CPU) == torch.bfloat16


def test_instructions_are_read_from_linux(tmp_path):
    file = tmp_path / "cpuinfo"
    about = "processor\t: 0\nmodel name\t: amx_bf16 in a name\nflags\t\t: fpu sse avx512_bf16\n"
    file.write_text(f"{about}\nprocessor\t: 1\n")
    assert cpu_flags(file) == {"fpu", "sse", "avx512_bf16"}
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(file) == cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize("wanted, goes_on_in", [("auto", "float32"), ("bf16", "bfloat16")])
def test_a_checkpoint_in_float32_stays_in_it(wanted, goes_on_in, monkeypatch):
    """It may have been made before ``auto`` took bf16 on this processor."""
    monkeypatch.setattr("wsss.compute.devices.cpu_flags", lambda: frozenset(("avx512_bf16",)))
    precision = Precision(wanted, CPU, ["a"])
    assert precision.type == torch.bfloat16
    said = precision.resume_in("torch.float32")
    assert precision.name == goes_on_in and said and goes_on_in in said


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_that_meet_have_one_scale(shared):
    """The loss of ``b`` overflows once, and its scale is halved; the loss of ``a`` leaves gradients in both. With a
    scale for each, the step of ``b`` is then a mixture of two."""
    precision = Precision("fp16", CPU, ["a", "b"], shared)
    a, b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    optimisers = {name: torch.optim.SGD([p], lr=1.0) for name, p in (("a", a), ("b", b))}

    def step(factor: float) -> None:
        for name, loss in (("a", a * b), ("b", factor * b)):
            precision.scalers[name].scale(loss).backward()
        for name, optimiser in optimisers.items():
            precision.scalers[name].step(optimiser)
            optimiser.zero_grad()
        precision.update(optimisers)

    step(torch.inf)
    assert b.item() == 3.0, "skipped"
    at, bt = a.item(), b.item()
    step(1.0)
    assert a.item() == at - bt
    assert (b.item() == bt - (at + 1)) == shared
    assert (precision.scalers["a"] is precision.scalers["b"]) == shared
    assert precision.scalers["b"].get_scale() == 32768 and precision.scalers["b"]._get_growth_tracker() == 1


@pytest.mark.parametrize("deterministic", [True, False])
def test_kernels_are_chosen_for_a_training_alone(deterministic, monkeypatch):
    """Afterwards photos of many sizes follow; to try all kernels on each size would take minutes."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.benchmark
    with pytest.raises(ZeroDivisionError), kernels_for_training(deterministic):
        assert torch.backends.cudnn.benchmark is not deterministic
        assert torch.are_deterministic_algorithms_enabled() is torch.backends.cudnn.deterministic is deterministic
        raise ZeroDivisionError
    assert torch.backends.cudnn.benchmark is before and not torch.are_deterministic_algorithms_enabled()


def test_large_checkpoints_come_less_often(tiny_index, make_run):
    it = trainer(tiny_index, make_run(None, {}))
    it.saved = time.monotonic() - 1.5 * CHECKPOINT_SECONDS
    for seconds, due in ((0.0, True), (2.0, True), (4.0, False)):
        it.checkpoint.cost = seconds
        assert it._must() == (False, due)


def test_a_checkpoint_is_written_beside_the_training(tiny_index, make_run, monkeypatch):
    """What it holds is what there was when it was begun; what goes wrong in the thread is raised where it is waited
    for, and leaves the one before."""
    checkpoint = trainer(tiny_index, make_run(None, {})).checkpoint
    go, plain, weights = threading.Event(), torch.save, torch.zeros(3)
    monkeypatch.setattr(torch, "save", lambda *given: (go.wait(60), plain(*given)))
    checkpoint.begin_save({"step": 1, "networks": {"a": {"w": weights}}})
    weights += 1
    assert not checkpoint.path.exists(), "nobody waits for the disk"
    go.set()
    checkpoint.settle()
    state = checkpoint.load(CPU)
    assert state["step"] == 1 and not state["networks"]["a"]["w"].any() and checkpoint.cost > 0

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    checkpoint.begin_save({"step": 2})
    with pytest.raises(DiskFull):
        checkpoint.settle()
    checkpoint.settle()
    assert checkpoint.load(CPU)["step"] == 1
