"""The attack on functions that are known by formula, its steps by hand, and its controls."""

from __future__ import annotations

import pytest
import torch

from tests.explain.nets import Deep, images, seeded
from wsss.beyond.aims import Look, Terms, aim_of
from wsss.beyond.attack import Attack, eight_bits, noise_of, perturb, projected, shuffled, signed_step
from wsss.beyond.compared import cosine, unit_maps
from wsss.beyond.softening import softened
from wsss.explain import Classes, Subject, find

UNIT = 1 / 255


def test_a_linear_function_cannot_be_steered_and_the_noise_term_brings_it_back():
    weight = torch.tensor([0.5, 0.25]).view(1, 1, 1, 2)
    clean = torch.full((1, 1, 1, 2), 0.5)

    def looks(x, step):
        return Look((weight + 0 * x)[0, 0], (weight * x).sum().view(1, 1))

    aim = aim_of("box", weight[0, 0])
    how = Attack(0.1, 40, 0.005, terms=Terms(noise=1.0, output=0.0))
    start = torch.full_like(clean, 0.1)
    made = perturb(looks, clean, aim, how, lambda step: looks(clean, step).output, start)
    assert not made.steerable
    assert float(made.change.abs().max()) <= 0.005 + 1e-7  # within a step of nothing
    assert torch.equal(perturb(looks, clean, aim, how, lambda step: looks(clean, step).output).change, clean * 0)


def test_a_quadratic_function_is_steered_all_the_way():
    """The gradient of |x|^2 / 2 is x, so the map is |x + d|."""
    clean, target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.tensor([[0.0, 1.0]])

    def looks(x, step):
        (gradient,) = torch.autograd.grad((x.square() / 2).sum(), x, create_graph=True)
        return Look(gradient.abs()[0, 0], x.square().sum().view(1, 1) / 2)

    aim = aim_of("other-image", clean[0, 0], target)
    for optimizer in ("sign", "adam"):
        how = Attack(2.0, 50, optimizer=optimizer, terms=Terms(output=0.0), bounds=None)
        # at no change the distance is flat in both directions, so it has to begin beside it
        made = perturb(looks, clean, aim, how, lambda step: torch.zeros(1, 1), torch.full_like(clean, 0.01))
        assert made.steerable and float(cosine((clean + made.change).abs()[0, 0], target)) > 0.99
        assert float(made.change.abs().max()) <= 2 + 1e-6


def test_eps_0_changes_nothing():
    clean = eight_bits(torch.rand(1, 3, 4, 4))
    made = perturb(
        lambda x, step: pytest.fail("looked"), clean, aim_of("box", torch.ones(4, 4)), Attack(0.0, 5), lambda _: 0
    )
    assert torch.equal(eight_bits(clean + made.change), clean)


def test_steps_by_hand():
    clean, gradient = torch.tensor([0.5, 0.5]), torch.tensor([3.0, -0.01])
    change = torch.zeros(2)
    for _ in range(3):
        change = signed_step(clean, change, gradient, UNIT, 2 * UNIT)
    assert torch.allclose(change, torch.tensor([-2.0, 2.0]) * UNIT, atol=1e-7)
    high = torch.tensor([0.999])
    change = torch.zeros(1)
    for _ in range(3):
        change = signed_step(high, change, torch.tensor([-1.0]), UNIT, 2 * UNIT)
        assert float(high + change) <= 1
    assert float(projected(torch.tensor([0.5]), torch.tensor([9.0]), 2.0, None)) == 2


def by_hand(network, clean, question, target, eps, steps):
    """The same attack without anything of this package but the softplus: one loop, formulas written out."""
    change = torch.zeros_like(clean)
    for _ in range(steps):
        moved = change.clone().requires_grad_()
        with softened(network, 20.0):
            network.eval()
            x = clean + moved
            logits = network(x)
            (gradient,) = torch.autograd.grad(logits[0, question], x, create_graph=True)
            with torch.no_grad():
                p = network(clean).sigmoid()
        q = logits.sigmoid()
        kl = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
        map = gradient.abs().sum(1)[0]
        near = (map * target).sum() / (map.norm() * target.norm())
        loss = 0.1 * (moved**2).sum() / (moved.numel() * eps**2) + 10 * kl + 1 - near
        (slope,) = torch.autograd.grad(loss, moved)
        change = (change - 2.5 * eps / steps * slope.sign()).clamp(-eps, eps)
        change = (clean + change).clamp(0, 1) - clean
    return change


def attacked(network, clean, target, eps=8 * UNIT, steps=6, terms=None):
    subject = Subject(network, mean=(0.0,) * 3, std=(1.0,) * 3)

    def looks(x, step):
        with softened(network, 20.0):
            made = find("gradient")()(subject, x, Classes("pred", only=[1]), differentiable=True)
        return Look(unit_maps(made.maps, "max_abs", 16)[0], made.output)

    def reference(step):
        with torch.no_grad(), softened(network, 20.0):
            return network.eval()(clean)

    aim = aim_of("other-image", target, target)
    return perturb(looks, clean, aim, Attack(eps, steps, terms=terms or Terms()), reference).change


def test_a_network_against_a_loop_written_out():
    network = seeded(Deep)
    clean = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    target = torch.zeros(16, 16)
    target[10:, 10:] = 1
    ours = attacked(network, clean, target)
    plain = by_hand(network, clean, 1, target, 8 * UNIT, 6)
    assert float((ours - plain).abs().mean()) < 1e-4 and float(ours.abs().max()) <= 8 * UNIT + 1e-6


def test_each_weight_has_its_effect():
    network = seeded(Deep).eval()
    clean = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with (
        torch.no_grad(),
        softened(network, 20.0),
    ):  # scores around 0 that move with the image, as a trained network's do
        network.fc.weight *= 6000
        network.fc.bias -= network(clean)[0]
        before = network(clean)
    target = torch.zeros(16, 16)
    target[10:, 10:] = 1
    subject = Subject(network, mean=(0.0,) * 3, std=(1.0,) * 3)

    def of(**terms):
        change = attacked(network, clean, target, 32 * UNIT, 20, Terms(**terms))
        with softened(network, 20.0):
            made = find("gradient")()(subject, clean + change, Classes("pred", only=[1]))
        near = float(cosine(unit_maps(made.maps, "max_abs", 16)[0], target))
        return near, float((made.output - before).abs().mean()), float(change.square().mean())

    kept, free = of(noise=0.0, output=10.0), of(noise=0.0, output=0.0)
    assert free[1] > 2 * kept[1], "without the output's term the prediction moves"
    assert of(noise=0.0, output=0.0, map=0.0)[2] == 0 and of(noise=100.0, output=0.0)[2] < free[2] / 10
    assert free[0] > of(noise=0.0, output=10.0, map=0.0)[0] + 0.05, "without the map's term it stays"


def test_controls_are_of_equal_size():
    clean = torch.full((1, 3, 6, 7), 0.5)
    change = (torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * 8 - 4).round() * UNIT
    noise = noise_of(clean, float(change.abs().max()), torch.Generator().manual_seed(1))
    assert float(noise.abs().max()) == pytest.approx(float(change.abs().max()), abs=1e-7)
    assert float(noise.abs().min()) == pytest.approx(float(change.abs().max()), abs=1e-7)
    moved = shuffled(clean, change, torch.Generator().manual_seed(1))
    assert float(moved.square().mean()) == pytest.approx(float(change.square().mean()), rel=1e-5)
    assert sorted(map(tuple, (moved * 255).round().flatten(2)[0].T.tolist())) == sorted(
        map(tuple, (change * 255).round().flatten(2)[0].T.tolist())
    ), "pixels stay what they are"
    assert not torch.allclose(moved, change)
    white = torch.ones(1, 3, 2, 2)
    assert float((white + noise_of(white, 0.1, torch.Generator().manual_seed(0))).max()) <= 1


def test_images_are_rounded_as_files_are():
    assert eight_bits(torch.tensor([-0.1, 0.5, 1.2])).mul(255).tolist() == [0, 128, 255]
    assert images(1).shape[1] == 3
