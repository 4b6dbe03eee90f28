"""ReLUs as softplus: values known by formula, and that nothing stays behind."""

from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from torch import nn

from tests.explain.nets import Deep, Pooled, images, seeded
from wsss.beyond.softening import annealed, check_activations, soft_leaky, soft_relu, soft_relu6, softened
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find


def test_values_known_by_formula():
    zero, three = torch.tensor([0.0], dtype=torch.float64), torch.tensor([3.0], dtype=torch.float64)
    assert float(soft_relu(zero, 10)) == pytest.approx(0.0693147, abs=1e-7)
    assert float(soft_relu6(three, 10)) == pytest.approx(3, abs=1e-9)
    assert float(soft_leaky(-three, 100, 0.2)) == pytest.approx(-0.6, abs=1e-9)


@pytest.mark.parametrize("beta", [0.5, 5.0, 60.0])
def test_the_definition_of_each_at_many_points(beta):
    points = torch.linspace(-2, 8, 41, dtype=torch.float64)
    soft = [math.log1p(math.exp(beta * z)) / beta for z in points.tolist()]
    six = [s - math.log1p(math.exp(beta * (z - 6))) / beta for s, z in zip(soft, points.tolist(), strict=True)]
    # torch takes the line itself beyond beta z = 20, where the two differ by less than 1e-8
    assert torch.allclose(soft_relu(points, beta), torch.tensor(soft, dtype=torch.float64), atol=1e-8)
    assert torch.allclose(soft_relu6(points, beta), torch.tensor(six, dtype=torch.float64), atol=1e-8)


def same_bits(a: nn.Module, b: nn.Module, x: torch.Tensor) -> bool:
    return torch.equal(a(x), b(x)) and [*vars(a.body[2])] == [*vars(b.body[2])]


def test_after_the_block_the_network_is_what_it_was():
    network, x = seeded(Deep), images(2)
    before = copy.deepcopy(network)
    with softened(network, 3.0):
        assert not torch.equal(network(x), before(x))
    assert same_bits(network, before, x)
    with pytest.raises(RuntimeError, match="in between"), softened(network, 3.0):
        raise RuntimeError("in between")
    assert same_bits(network, before, x)
    with softened(network, None):
        assert torch.equal(network(x), before(x))


def test_a_harder_softplus_is_nearer_to_the_network():
    network, x = seeded(Deep), images(2)
    far = []
    for beta in (1.0, 10.0, 1000.0):
        with softened(network, beta):
            far.append(float((network(x).detach()).abs().sum()))
    true = float(network(x).abs().sum())
    assert abs(far[0] - true) > abs(far[1] - true) > abs(far[2] - true) < 1e-2


def test_gradient_maps_have_derivatives_only_when_softened():
    subject, x = Subject(seeded(Pooled, act=nn.ReLU())), images(1)
    norms = []
    for beta in (None, 5.0):
        moved = x.clone().requires_grad_()
        with softened(subject.network, beta):
            made = find("gradient")()(subject, moved, Classes("pred", only=[0]), differentiable=True)
        (found,) = torch.autograd.grad(made.maps.abs().sum(), moved, allow_unused=True)
        norms.append(0.0 if found is None else float(found.abs().sum()))
    assert norms[0] == 0 and norms[1] > 0


def test_annealing():
    betas = [annealed(step, 8, 10, 100, 0.5) for step in range(8)]
    assert betas[0] == 10 and betas[2] == pytest.approx(10 * 10**0.5) and betas[4:] == [pytest.approx(100)] * 4


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).relu()


def test_functional_activations_are_refused():
    with pytest.raises(WsssError, match="Functional has no activation module"):
        check_activations(Functional())
    for name in ("mobilenetv2_050", "tf_efficientnet_lite0", "efficientnet_b0", "mobilenetv3_small_050"):
        check_activations(timm.create_model(name))
