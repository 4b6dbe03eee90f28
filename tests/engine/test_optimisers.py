"""Parameter groups, the learning-rate schedule, the order of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.data.sampling import Order
from wsss.errors import WsssError
from wsss.models.classifier import Classifier
from wsss.models.disentangler import Disentangler
from wsss.models.segmenter import Segmenter
from wsss.settings import VanillaSettings
from wsss.training.optimisers import build_optimiser, parameter_groups, rate_at, set_rate


def test_four_groups_cover_every_parameter_once():
    network = Classifier("test_resnet", 3)
    groups = parameter_groups(network, VanillaSettings(lr=0.1, weight_decay=1e-4))
    assert [(g["factor"], g["weight_decay"]) for g in groups] == [(1, 1e-4), (2, 0), (10, 1e-4)]  # the head has no bias
    ids = [id(p) for g in groups for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    names = {id(p): n for n, p in network.named_parameters()}
    assert [names[id(p)] for p in groups[2]["params"]] == ["head.weight"]
    assert all(names[id(p)].endswith("bias") for p in groups[1]["params"])


def test_fixed_batch_norm_is_in_no_group_and_stays_in_eval():
    network = Classifier("test_resnet", 3)
    network.fix_batch_norm()
    network.train()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and network.head.training
    held = {id(p) for m in norms for p in m.parameters()}
    assert not held & {id(p) for g in parameter_groups(network, VanillaSettings()) for p in g["params"]}


@pytest.mark.parametrize(
    "network",
    [Segmenter("deeplabv3plus", "test_resnet", 3), Disentangler("test_resnet", 16)],
    ids=["segmenter", "disentangler"],
)
def test_fixed_batch_norm_leaves_new_layers_alone(network):
    """Statistics that were never estimated cannot be kept: new layers would stay the identity for good."""
    network.fix_batch_norm()
    network.train()
    x = torch.randn(2, 3, 64, 64)
    norms = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    before = {n: m.running_mean.clone() for n, m in norms.items()}
    network(x)
    new = {n for n in norms if network.is_new(f"{n}.weight")}
    assert new and new < set(norms)
    trained = {id(p) for g in parameter_groups(network, VanillaSettings()) for p in g["params"]}
    for name, module in norms.items():
        assert module.training == (name in new) == (id(module.weight) in trained) == (id(module.bias) in trained)
        assert torch.equal(module.running_mean, before[name]) == (name not in new)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_rates_follow_the_polynomial(name):
    settings = VanillaSettings(lr=0.1, optimizer=name)
    optimiser = build_optimiser(Classifier("test_resnet", 3), settings)
    for step, expected in ((0, 1.0), (50, 0.5**0.9), (99, 0.01**0.9)):
        set_rate(optimiser, rate_at(step, 100, settings), settings)
        assert [g["lr"] for g in optimiser.param_groups] == pytest.approx([0.1 * f * expected for f in (1, 2, 10)])
    if name == "sgd":
        assert {g["momentum"] for g in optimiser.param_groups} == {0.0}


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"optimizer": "adamw"}])
def test_steps_are_the_plain_optimisers(settings):
    settings = VanillaSettings(lr=0.1, weight_decay=0.01, **settings)
    found = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = Classifier("test_resnet", 3)
        optimiser = build_optimiser(network, settings)
        if not fused:
            cls, momentum = type(optimiser), settings.momentum
            more = {"momentum": momentum, "nesterov": momentum > 0} if cls is torch.optim.SGD else {}
            optimiser = cls(parameter_groups(network, settings), lr=0.1, foreach=False, **more)
        for step in range(4):
            for p in network.parameters():
                p.grad = torch.randn_like(p) if step != 1 or p.ndim > 1 else None
            set_rate(optimiser, rate_at(step, 4, settings), settings)
            optimiser.step()
        found.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(*found)


def test_warm_up_rises_and_then_decays_to_the_end():
    settings = VanillaSettings(warmup=0.1)
    rates = [rate_at(t, 100, settings) for t in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[10] == 1 and all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))


@pytest.mark.parametrize("warmup", [0, 20])
def test_cosine_is_its_closed_form(warmup):
    settings = VanillaSettings(lr=0.1, lr_schedule="cosine", warmup=warmup / 100, poly_power=7.0)
    rates = [rate_at(t, 100, settings) for t in range(100)]
    assert rates[:warmup] == pytest.approx([(t + 1) / warmup for t in range(warmup)])
    decay = [0.5 + 0.5 * np.cos(np.pi * t / (100 - warmup)) for t in range(100 - warmup)]
    assert rates[warmup:] == pytest.approx(decay)
    assert rates[warmup] == 1 and rates[(100 + warmup) // 2] == pytest.approx(0.5) and 0 < rates[-1] < 1e-3
    assert rate_at(0, 1, settings) == 1


def test_each_epoch_is_a_permutation_without_the_last_incomplete_batch():
    visits = [v for batch in Order(10, 4, 3, seed=5) for v in batch]
    for epoch in range(3):
        seen = [p for e, p in visits if e == epoch]
        assert len(seen) == len(set(seen)) == 8
    assert len({tuple(p for e, p in visits if e == epoch) for epoch in range(3)}) == 3


def test_starting_in_the_middle_gives_the_rest():
    whole = list(Order(11, 3, 4, seed=1))
    for start in range(len(whole) + 1):
        rest = Order(11, 3, 4, seed=1, start=start)
        assert list(rest) == whole[start:] and len(rest) == len(whole) - start


def test_devices_share_the_same_global_batches():
    whole = list(Order(16, 4, 2, seed=1))
    parts = [list(Order(16, 4, 2, seed=1, rank=r, ranks=2)) for r in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_impossible_batches_are_refused():
    with pytest.raises(WsssError, match="only 3 training images for a batch of 4"):
        Order(3, 4, 1, 0)
    with pytest.raises(WsssError, match="shared evenly by 3"):
        Order(30, 4, 1, 0, ranks=3)


def test_permutation_depends_on_the_seed():
    first, second = (np.array(list(Order(32, 32, 1, seed=s)))[0, :, 1] for s in (0, 1))
    assert (first != second).any()
