"""Options of the training loop against a plain second writing of it: clipping, momentum, schedule, factors, fp16."""

from __future__ import annotations

import time

import pytest
import torch

from tests.engine.tiny_training import Line, LineObjective, trainer
from wsss.data.loading import TrainingViews
from wsss.data.sampling import Order
from wsss.losses.base import Loss
from wsss.system.exit import Interrupted

USUAL = {"batch_size": 6, "lr": 0.1, "weight_decay": 0.01}


class HalfNew(Line):
    """Its weight is new, its bias is pretrained."""

    def is_new(self, name):
        return name == "layer.weight"


class Scaled(LineObjective):
    """The classification loss, many times over where wanted; in step ``overflow`` its gradient is infinite."""

    def __init__(self, scale=1.0, overflow=None) -> None:
        self.networks = {"line": HalfNew()}
        self.scale, self.overflow = scale, overflow

    def losses(self, batch, training_step):
        for network, value, _ in super().losses(batch, training_step):
            loss = self.scale * value
            if training_step.step == self.overflow:
                loss.register_hook(lambda gradient: gradient * torch.inf)
            yield Loss(network, loss, {"loss": loss.detach()})


def training(index_folder, run, goal=None, **settings):
    return trainer(index_folder, run, goal or Scaled(), **{**USUAL, **settings})


def by_hand(it, rates, scale=1.0, clip=None, momentum=0.0, head_lr_mult=10.0, bias_factor=2.0):
    """Weight and bias after one step a rate."""
    state = it.networks["line"].state_dict()
    weight, bias = state["layer.weight"].clone(), state["layer.bias"].clone()
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    norms = []
    for rate, visits in zip(rates, Order(12, 6, 2, 0), strict=True):
        views = [it.views[visit] for visit in visits]
        x = torch.stack([v.images for v in views]).mean((2, 3))
        y = torch.stack([v.labels for v in views])
        residual = scale * (torch.sigmoid(x @ weight.T + bias) - y) / y.numel()
        slopes = [residual.T @ x, residual.sum(0)]
        norm = sum((s**2).sum() for s in slopes).sqrt()
        norms.append(norm.item())
        if clip is not None and norm > clip:
            slopes = [s * clip / norm for s in slopes]
        slopes[0] = slopes[0] + 0.01 * weight
        speed = [momentum * v + s for v, s in zip(speed, slopes, strict=True)]
        moves = [s + momentum * v for v, s in zip(speed, slopes, strict=True)]  # Nesterov: one step ahead
        weight = weight - rate * 0.1 * head_lr_mult * moves[0]
        bias = bias - rate * 0.1 * bias_factor * moves[1]
    return weight, bias, norms


LINEAR = [1, 0.75, 0.5, 0.25]
OPTIONS = {
    "clip": ({"clip_norm": 0.05, "poly_power": 1.0}, LINEAR, {"clip": 0.05, "scale": 30.0}),
    "momentum": ({"momentum": 0.9, "poly_power": 1.0}, LINEAR, {"momentum": 0.9}),
    "power": ({"poly_power": 2.0}, [1, 0.5625, 0.25, 0.0625], {}),
    "constant": ({"poly_power": 0.0}, [1, 1, 1, 1], {}),
    "warmup": ({"warmup": 0.5, "poly_power": 1.0}, [0.5, 1, 1, 0.5], {}),
    "factors": (
        {"head_lr_mult": 3.0, "bias_factor": 0.5, "poly_power": 1.0},
        LINEAR,
        {"head_lr_mult": 3.0, "bias_factor": 0.5},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_by_hand(tiny_index, make_run, name):
    settings, rates, written = OPTIONS[name]
    it = training(tiny_index, make_run(None, {}), Scaled(written.get("scale", 1.0)), **settings)
    weight, bias, norms = by_hand(it, rates, **written)
    other, _, _ = by_hand(it, LINEAR, scale=written.get("scale", 1.0))
    network = it.train()
    torch.testing.assert_close(network.layer.weight.detach(), weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.layer.bias.detach(), bias, atol=1e-5, rtol=1e-4)
    assert (weight - other).abs().max() > 1e-3, "the option makes a difference"
    if name == "clip":
        assert min(norms) > 10 * 0.05


def test_fp16_skips_a_step_that_overflows_and_goes_on(tiny_index, make_run):
    """The CPU's scaler stands for the GPU's; gradients are scaled by 65,536 and unscaled before clipping and step."""
    full = training(tiny_index, make_run(None, {}, "fp32"), clip_norm=0.02).train()
    half = training(tiny_index, make_run(None, {}, "fp16"), clip_norm=0.02, precision="fp16")
    assert half.precision.type == torch.float16
    torch.testing.assert_close(half.train().layer.weight, full.layer.weight, atol=5e-3, rtol=1e-2)
    products = []
    for cut in (False, True):
        run = make_run(None, {}, f"cut{cut}")
        seen = []
        while True:
            it = training(tiny_index, run, Scaled(overflow=1), precision="fp16")
            run.stop = "a test" if cut else None
            try:
                products.append(it.train().layer.weight.detach())
                break
            except Interrupted:
                scale = it.precision.scalers["line"].get_scale()
                seen.append((it.networks["line"].layer.weight.detach().clone(), scale))
        assert it.precision.scalers["line"].get_scale() == 32768
    assert torch.equal(*products) and products[0].isfinite().all()
    (first, before), (second, after), (third, _) = seen[:3]
    assert torch.equal(first, second) and not torch.equal(second, third)
    assert (before, after) == (65536, 32768)


@pytest.mark.slow
def test_a_compiled_training_is_the_same_but_for_rounding(tiny_index, make_run):
    """Also when it is stopped and goes on; what comes out is an ordinary network."""
    plain = training(tiny_index, make_run(None, {}, "plain")).train()
    run = make_run(None, {}, "compiled")
    first = training(tiny_index, run, compile=True)
    step = first._micro_step
    first._micro_step = lambda batch: (step(batch), setattr(run, "stop", "a test"))
    with pytest.raises(Interrupted):
        first.train()
    assert first.step == 1 and "forward" in vars(first.networks["line"])
    run.stop = None
    second = training(tiny_index, run, compile=True)
    compiled = second.train()
    assert second.step == 4 and "forward" not in vars(compiled)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_time_that_images_are_waited_for_is_noted(tiny_index, make_run, monkeypatch):
    read = TrainingViews.__getitem__
    monkeypatch.setattr(TrainingViews, "__getitem__", lambda self, visit: (time.sleep(0.05), read(self, visit))[1])
    run = make_run(None, {})
    training(tiny_index, run).train()
    assert 0.05 < run.recorded["waiting_seconds"] <= run.recorded["training_seconds"]
