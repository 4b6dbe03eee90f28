"""The affinity loss: by hand, against loops over pairs, and who gets a gradient."""

from __future__ import annotations

import math

import pytest
import torch

from wsss.data.loading import Batch
from wsss.losses.base import TrainingStep
from wsss.objectives import find
from wsss.objectives.affinity import PairAffinity, affinity_loss, small_labels
from wsss.refine.affinities import Pairs, affinities, directions, pairs
from wsss.settings import AffinitySettings
from wsss.training.optimisers import parameter_groups

EPSILON = 1e-5


def test_loss_by_hand():
    weights = torch.tensor([0.5, 0.25, 1.0, 0.0, 0.75])
    kinds = Pairs(*(torch.tensor(k, dtype=torch.bool) for k in ([1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0])))
    total, parts = affinity_loss(weights, kinds)
    background = (math.log(2) + math.log(4)) / 2
    assert parts["loss_background"].item() == pytest.approx(background, rel=1e-4)
    assert abs(parts["loss_foreground"].item()) < 2e-5 and abs(parts["loss_different"].item()) < 2e-5
    assert total.item() == pytest.approx(background / 4, rel=1e-3)
    # the worst of all: 0 where 1 is wanted costs log(1e5)
    worst, _ = affinity_loss(torch.tensor([0.0, 0.0, 1.0]), Pairs(*torch.eye(3, dtype=torch.bool)))
    assert worst.item() == pytest.approx(math.log(1e5), rel=1e-3)


def test_loss_against_loops_over_the_batch():
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(2, 6, 11, generator=generator)
    labels = torch.tensor([0, 0, 1, 2, 255])[torch.randint(0, 5, (2, 6, 11), generator=generator)]
    sums, counts = {"bg": 0.0, "fg": 0.0, "neg": 0.0}, {"bg": 0, "fg": 0, "neg": 0}
    for b in range(2):
        for d in directions(4):
            for y in range(6 - 3):
                for x in range(3, 11 - 3):
                    i, j = labels[b, y, x].item(), labels[b, y + d.dy, x + d.dx].item()
                    if 255 in (i, j):
                        continue
                    w = 1 - max(edges[b, y + v, x + u].item() for v, u in d.path)
                    kind = "neg" if i != j else "fg" if i else "bg"
                    sums[kind] -= math.log(1 + EPSILON - w if kind == "neg" else w + EPSILON)
                    counts[kind] += 1
    expected = {k: sums[k] / (counts[k] + EPSILON) for k in sums}
    total, parts = affinity_loss(affinities(edges, 4), pairs(labels, 4, 2))
    assert parts["loss_background"].item() == pytest.approx(expected["bg"], rel=1e-4)
    assert parts["loss_foreground"].item() == pytest.approx(expected["fg"], rel=1e-4)
    assert parts["loss_different"].item() == pytest.approx(expected["neg"], rel=1e-4)
    assert total.item() == pytest.approx((expected["bg"] + expected["fg"] + 2 * expected["neg"]) / 4, rel=1e-4)


def test_kinds_without_pairs_add_nothing():
    weights = torch.rand(1, 3, 2, 2, requires_grad=True)
    none = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    total, _ = affinity_loss(weights, Pairs(none, none, none))
    total.backward()
    assert total.item() == 0 and not weights.grad.any()


def test_gradient_is_finite_at_both_ends():
    weights = torch.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    kinds = Pairs(*(torch.tensor(k, dtype=torch.bool) for k in ([1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1])))
    affinity_loss(weights, kinds)[0].backward()
    assert torch.isfinite(weights.grad).all() and (weights.grad * torch.tensor([-1, -1, 1, 1]) > 0).all()


def test_labels_are_taken_at_the_centre_of_each_cell():
    masks = torch.arange(64).reshape(1, 8, 8)
    assert small_labels(masks).tolist() == [[[18, 22], [50, 54]]]


@pytest.fixture
def goal():
    torch.manual_seed(0)
    settings = AffinitySettings(
        cams="x", backbone="test_resnet", pretrained=False, width=8, radius=4, crop=64, batch_size=2
    )
    goal = find("affinity")(settings, 2)
    goal.networks["edges"].train()
    return goal


def one_batch():
    masks = torch.zeros(2, 64, 64, dtype=torch.long)
    masks[:, 16:48, 20:44] = 1
    masks[1, 30:, 30:] = 255
    return Batch(torch.randn(2, 3, 64, 64), torch.ones(2, 2), torch.zeros(2), masks)


def test_who_gets_a_gradient(goal):
    assert isinstance(goal, PairAffinity)
    (loss,) = goal.losses(one_batch(), TrainingStep(0, 0.0))
    assert loss.network == goal.product == "edges"
    parts = [loss.parts[f"loss_{kind}"].item() for kind in ("background", "foreground", "different")]
    assert loss.parts["loss"].item() == pytest.approx((parts[0] + parts[1] + 2 * parts[2]) / 4)
    network = goal.networks["edges"]
    frozen = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    loss.value.backward()
    for name, parameter in network.named_parameters():
        if name.startswith("encoder."):
            assert parameter.grad is None and not parameter.requires_grad
        else:
            assert parameter.grad.abs().sum() > 0, name
    assert all(torch.equal(v, frozen[k]) for k, v in network.encoder.state_dict().items())
    assert goal.batch_norm("edges", "normal") == "fixed"


def test_one_learning_rate(goal):
    groups = parameter_groups(goal.networks["edges"], goal.settings)
    assert {group["lr"] for group in groups} == {0.1}
    assert sum(len(group["params"]) for group in groups) == 17


def test_a_few_steps_find_the_border(goal):
    batch = one_batch()
    batch.images = batch.masks[:, None].clamp(max=1).repeat(1, 3, 1, 1) * 2.0 - 1
    network = goal.networks["edges"]
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    seen = []
    for _ in range(25):
        (loss,) = goal.losses(batch, TrainingStep(0, 0.0))
        optimiser.zero_grad()
        loss.value.backward()
        optimiser.step()
        seen.append(loss.value.item())
    assert seen[-1] < 0.8 * seen[0]


def test_the_mean_over_devices_is_the_loss_of_the_whole_batch(monkeypatch):
    import wsss.compute.collectives as module

    generator = torch.Generator().manual_seed(5)
    weights = torch.rand(4, 3, 5, generator=generator)
    labels = torch.randint(0, 4, (4, 3, 5), generator=generator)
    labels[:2][labels[:2] == 1] = 3  # the first device has none of one kind
    kinds = Pairs(labels == 0, labels == 1, labels == 2)
    whole, _ = affinity_loss(weights, kinds)
    everywhere = torch.stack([kind.sum() for kind in kinds]).float()
    monkeypatch.setattr(module.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(module, "ranks", lambda: (0, 2))
    monkeypatch.setattr(module.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(module.dist, "all_reduce", lambda counts: counts.copy_(everywhere))
    halves = [affinity_loss(weights[part], Pairs(*(k[part] for k in kinds)))[0] for part in (slice(2), slice(2, 4))]
    assert (sum(halves) / 2).item() == pytest.approx(whole.item(), rel=1e-5)
