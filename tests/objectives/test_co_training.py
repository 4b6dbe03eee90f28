"""Co-training against a twin that goes from pixel to pixel."""

from __future__ import annotations

import pytest
import torch

from tests.engine.process_group import together
from wsss.data.loading import Batch
from wsss.losses.base import TrainingStep
from wsss.models.backbone import Trainable
from wsss.objectives.co_training import CoTraining
from wsss.settings import CoTrainingSettings, Ramp

CLASSES, SIDE = 3, 32
NETWORK = {"backbone": "test_resnet", "pretrained": False, "architecture": "unet", "masks": "x", "crop": SIDE}


@pytest.fixture
def batch() -> Batch:
    """Two images of which half is left out, one with a canvas around it."""
    torch.manual_seed(5)
    images, masks = torch.randn(2, 3, SIDE, SIDE), torch.randint(0, 4, (2, SIDE, SIDE))
    masks[:, 5:19] = 255
    images[1, :, 26:], masks[1, 26:] = 0, 255
    return Batch(images, torch.tensor([[1, 0, 1], [0, 1, 0]]).float(), torch.zeros(2), masks)


def objective(**settings) -> CoTraining:
    torch.manual_seed(0)
    goal = CoTraining(CoTrainingSettings(**{**NETWORK, "label_smoothing": 0.2, **settings}), CLASSES)
    for network in goal.networks.values():
        network.train()
    return goal


def slow(scores, other, batch, a, weight):
    """L of one network, a pixel at a time."""
    logs, total, count = scores.double().log_softmax(dim=1), 0.0, 0
    for i, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(SIDE), torch.arange(SIDE)).tolist():
        target, factor = batch.masks[i, y, x].item(), 1.0
        if target == 255:
            if (batch.images[i, :, y, x] == 0).all():
                continue
            tags = [0, *(c + 1 for c in range(CLASSES) if batch.labels[i, c])]
            target, factor = max(tags, key=lambda c: other[i, c, y, x].item()), weight
        total -= factor * ((1 - a) * logs[i, target, y, x] + a * logs[i, :, y, x].mean()).item()
        count += 1
    return total / count


def test_against_its_slow_twin(batch):
    goal, again = (objective(mutual=Ramp(start=0.0, end=1.0)) for _ in range(2))
    with torch.no_grad():
        one, two = (network(batch.images) for network in again.networks.values())
    assert not torch.allclose(one, two), "they begin apart"
    first, second = goal.losses(batch, TrainingStep(3, 0.4))
    assert (first.network, second.network) == ("segmenter", "second")
    assert first.value.item() == pytest.approx(slow(one, two, batch, 0.2, 0.4), rel=1e-5)
    assert second.value.item() == pytest.approx(slow(two, one, batch, 0.2, 0.4), rel=1e-5)
    assert set(first.parts | second.parts) == {
        *("loss", "masks", "mutual", "loss_second", "masks_second", "mutual_second"),
    }


def test_each_loss_reaches_its_own_network(batch):
    goal = objective()
    for loss, (name, network) in zip(goal.losses(batch, TrainingStep(0, 0.0)), goal.networks.items(), strict=True):
        loss.value.backward()
        assert loss.network == name and all(p.grad is not None for p in network.parameters())
        if name == "segmenter":
            assert all(p.grad is None for p in goal.networks["second"].parameters())


def test_with_a_label_everywhere_the_two_do_not_meet(batch):
    batch.masks = batch.masks.clamp(max=CLASSES)
    for loss in objective().losses(batch, TrainingStep(0, 0.0)):
        assert loss.parts[f"mutual{'' if loss.network == 'segmenter' else '_second'}"] == 0


class Pixelwise(Trainable):
    """A network without statistics: what it learns of an image does not depend on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, CLASSES + 1, 1)

    def forward(self, images):
        return self.layer(images)


def gradients(images, labels, masks):
    """Of both networks, and the values of their losses."""
    goal = objective()
    torch.manual_seed(1)
    goal.networks = {name: Pixelwise() for name in goal.networks}
    values = []
    for loss in goal.losses(Batch(images, labels, torch.zeros(len(images)), masks), TrainingStep(0, 0.0)):
        loss.value.backward()
        values.append(loss.value.item())
    return [p.grad.tolist() for network in goal.networks.values() for p in network.parameters()], values


def _device(rank, images, labels, masks):
    return gradients(*(one[rank : rank + 1] for one in (images, labels, masks)))


def test_two_devices_with_uneven_masks_learn_like_one(batch):
    batch.masks[0, :, 3:] = 255
    given = (batch.images, batch.labels, batch.masks)
    (first, own), (second, other) = together(2, _device, *given)
    whole, values = gradients(*given)
    for a, b, expected in zip(first, second, whole, strict=True):
        mean = (torch.tensor(a) + torch.tensor(b)) / 2
        torch.testing.assert_close(mean, torch.tensor(expected), rtol=1e-4, atol=1e-7)
    assert [(a + b) / 2 for a, b in zip(own, other, strict=True)] == pytest.approx(values, rel=1e-5)
