"""P-NOC whole: who gets a gradient in which phase, and the losses against a plain second writing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.loading import Batch
from wsss.losses.base import TrainingStep
from wsss.models.backbone import Trainable
from wsss.objectives.p_noc import PNoc
from wsss.settings import PNocSettings, Ramp
from wsss.training.optimisers import build_optimiser, set_rate


class Small(Trainable):
    """A network of stride 2 with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, 4, 1, bias=False)

    def forward(self, images):
        return self.head(self.body(images))

    def is_new(self, name):
        return name.startswith("head.")


def objective(**settings) -> PNoc:
    torch.manual_seed(0)
    goal = PNoc.__new__(PNoc)
    settings = PNocSettings(ordinary="x", crop=64, output_stride=8, **settings)
    goal.compose(settings, 4, Small(), Small())
    if goal.batch_norm("ordinary", "normal") == "fixed":
        goal.networks["ordinary"].fix_batch_norm()
    return goal


@pytest.fixture
def batch():
    torch.manual_seed(1)
    labels = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]]).float()
    return Batch(torch.randn(3, 3, 16, 16), labels, torch.tensor([0.6, 0.1, 0.99]))


def gradients(network):
    return {name for name, p in network.named_parameters() if p.grad is not None}


def trained(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_generator_phase_leaves_the_ordinary_classifier_alone_and_the_other_way_round(batch):
    goal = objective()
    generator, ordinary = goal.networks.values()
    losses = goal.losses(batch, TrainingStep(7, 0.5))
    first = next(losses)
    assert first.network == "generator"
    first.value.backward()
    assert gradients(generator) == {name for name, _ in generator.named_parameters()}
    assert gradients(ordinary) == set()
    for parameter in generator.parameters():
        parameter.grad = None
    second = next(losses)
    assert second.network == "ordinary"
    second.value.backward()
    assert gradients(generator) == set()
    assert gradients(ordinary) == trained(ordinary) == {"body.0.weight", "body.0.bias", "head.weight"}
    assert next(losses, None) is None


def test_the_leak_of_the_published_code_can_be_had(batch):
    goal = objective(gradient_leak=True)
    next(goal.losses(batch, TrainingStep(0, 0.5))).value.backward()
    assert gradients(goal.networks["ordinary"]) == trained(goal.networks["ordinary"])


def plain_losses(goal, batch, progress, threshold=0.2, over="image"):
    """The text of the method, image by image."""
    f, oc = goal.networks["generator"], goal.networks["ordinary"]
    x, y = batch.images, batch.labels
    soft = 0.9 * y + 0.05

    def bce(scores, targets):
        return F.multilabel_soft_margin_loss(scores, targets)

    maps = f(x)
    n = goal.settings.tiles
    bands = [slice(k * 16 // n, (k + 1) * 16 // n) for k in range(n)]
    # one pass: batch statistics over all tiles
    pieces = list(f(torch.cat([x[:, :, rows, columns] for rows in bands for columns in bands])).split(len(x)))
    merged = torch.cat([torch.cat([pieces.pop(0) for _ in bands], 3) for _ in bands], 2)
    chosen = []
    for row, draw in zip(y, batch.draws.tolist(), strict=True):
        present = row.nonzero().flatten().tolist()
        chosen.append(present[int(draw * len(present))])
    rest = y.clone()
    for i, r in enumerate(chosen):
        rest[i, r] = 0
    up = torch.stack(
        [F.interpolate(F.relu(maps[i, r])[None, None], size=(16, 16), mode="bilinear")[0] for i, r in enumerate(chosen)]
    )
    psi = up / (up.max() + 1e-5)
    present = [(maps[i, k] - merged[i, k]).abs().mean() for i in range(3) for k in range(4) if y[i, k]]
    rebuilt = sum(present) / len(present)
    oc.eval()
    erased = bce(oc(x * (1 - psi)).mean((2, 3)), 0.9 * rest + 0.05)
    first = bce(maps.mean((2, 3)), soft) + bce(merged.mean((2, 3)), soft)
    first = first + 0.3 * min(1, progress / 0.5) * rebuilt + (0.3 + 0.7 * progress) * erased
    largest = [up.max() if over == "batch" else u.max() for u in up]
    kept = torch.stack([(u / (m + 1e-5) <= threshold).float() for u, m in zip(up, largest, strict=True)]).detach()
    second = progress * bce(oc(x * kept).mean((2, 3)), soft)
    return first, second


@pytest.mark.parametrize("progress, tiles", [(0.0, 2), (0.25, 2), (0.9, 2), (0.9, 4)])
def test_losses_against_a_plain_second_writing(batch, progress, tiles):
    goal = objective(tiles=tiles)
    first, second = plain_losses(goal, batch, progress)
    losses = goal.losses(batch, TrainingStep(0, progress))
    torch.testing.assert_close(next(losses).value, first)
    torch.testing.assert_close(next(losses).value, second)


@pytest.mark.parametrize("threshold, over", [(0.6, "image"), (0.2, "batch"), (0.6, "batch")])
def test_what_the_ordinary_classifier_sees_is_set(batch, threshold, over):
    """Threshold and divisor of the hard mask; the generator's phase does not know them."""
    goal = objective(adversary_threshold=threshold, adversary_max=over)
    first, second = plain_losses(goal, batch, 0.5, threshold, over)
    losses = goal.losses(batch, TrainingStep(0, 0.5))
    torch.testing.assert_close(next(losses).value, first)
    torch.testing.assert_close(next(losses).value, second)
    _, published = plain_losses(goal, batch, 0.5)
    assert abs(second.item() - published.item()) > 1e-4


def test_published_reconstruction_and_interval(batch):
    published = objective(reconstruction_over="all", reconstruction=Ramp(start=0.0, end=4.0, ramp_fraction=0.5))
    ours = objective()
    a, b = (next(g.losses(batch, TrainingStep(0, 0.9))).parts["reconstruction"] for g in (published, ours))
    present, classes = batch.labels.sum(), batch.labels.numel()
    torch.testing.assert_close(a, b * present / classes)
    seldom = objective(adversary_interval=3)
    for step, expected in ((0, 2), (1, 1), (2, 1), (3, 2)):
        assert len(list(seldom.losses(batch, TrainingStep(step, 0.5)))) == expected


def test_fixed_batch_norm_of_the_ordinary_classifier_stays_fixed(batch):
    goal = objective()
    before = goal.networks["ordinary"].body[1].running_mean.clone()
    list(goal.losses(batch, TrainingStep(0, 0.5)))
    assert torch.equal(goal.networks["ordinary"].body[1].running_mean, before)
    assert not torch.equal(goal.networks["generator"].body[1].running_mean, before)


def test_normal_batch_norm_of_the_ordinary_classifier_learns_in_its_own_phase(batch):
    goal = objective(adversary_batch_norm="normal")
    ordinary = goal.networks["ordinary"]
    before = ordinary.body[1].running_mean.clone()
    losses = goal.losses(batch, TrainingStep(0, 0.5))
    next(losses)
    assert torch.equal(ordinary.body[1].running_mean, before), "it judges with what it knows"
    next(losses).value.backward()
    assert not torch.equal(ordinary.body[1].running_mean, before)
    assert gradients(ordinary) == {name for name, _ in ordinary.named_parameters()}


def test_the_ordinary_classifier_has_a_rate_of_its_own(batch):
    """One step of plain SGD moves it half as far at half the rate, and the generator as far as before."""

    def moved(mult):
        goal = objective(adversary_lr_mult=mult, lr=0.1, clip_norm=None, warmup=0.0, optimizer="sgd")
        before = {n: [p.detach().clone() for p in m.parameters()] for n, m in goal.networks.items()}
        optimisers = {n: build_optimiser(m, goal.settings) for n, m in goal.networks.items()}
        for loss in goal.losses(batch, TrainingStep(7, 0.5)):
            loss.value.backward()
        for name, optimiser in optimisers.items():
            set_rate(optimiser, goal.lr_mult(name), goal.settings)
            optimiser.step()
        pairs = {n: zip(m.parameters(), before[n], strict=True) for n, m in goal.networks.items()}
        return {n: sum((p - q).abs().sum() for p, q in both).item() for n, both in pairs.items()}

    whole, half = moved(1.0), moved(0.5)
    assert half["ordinary"] == pytest.approx(whole["ordinary"] / 2, rel=1e-4) and whole["ordinary"] > 0
    assert half["generator"] == pytest.approx(whole["generator"], rel=1e-6)
