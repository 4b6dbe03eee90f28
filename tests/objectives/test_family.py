"""Puzzle-CAM, OC-CSE and P-OC whole: losses against a plain second writing, who gets a gradient, every option."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.loading import Batch
from wsss.losses.base import TrainingStep
from wsss.losses.classification import Classification
from wsss.models.backbone import Trainable
from wsss.objectives import find, oc_cse, p_noc, p_oc, puzzle
from wsss.settings import OcCseSettings, PNocSettings, POcSettings, PuzzleSettings, Ramp, VanillaSettings, variants

SMALL = {"crop": 64, "output_stride": 8}
RECIPES = {
    "puzzle": (puzzle.PuzzleCam, PuzzleSettings),
    "oc-cse": (oc_cse.OcCse, OcCseSettings),
    "p-oc": (p_oc.POc, POcSettings),
    "p-noc": (p_noc.PNoc, PNocSettings),
}
FREQUENCIES = torch.tensor([0.5, 0.2, 0.4, 0.1])


class Small(Trainable):
    """A network of stride 2 with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, 4, 1, bias=False)

    def forward(self, images):
        return self.head(self.body(images))


def objective(name: str, **settings):
    torch.manual_seed(0)
    kind, cls = RECIPES[name]
    goal = kind.__new__(kind)
    if name == "puzzle":
        goal.settings = cls(**SMALL, **settings)
        goal.loss = Classification(goal.settings, 4, FREQUENCIES)
        goal.networks = {"generator": Small()}
    else:
        goal.compose(cls(ordinary="x", **SMALL, **settings), 4, Small(), Small(), FREQUENCIES)
    return goal


@pytest.fixture
def batch():
    torch.manual_seed(1)
    labels = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]]).float()
    return Batch(torch.randn(3, 3, 16, 16), labels, torch.tensor([0.6, 0.1, 0.99]))


def one(goal, batch, progress=0.5):
    (loss,) = goal.losses(batch, TrainingStep(3, progress))
    assert loss.network == "generator"
    return loss


def gradients(network):
    return {name for name, p in network.named_parameters() if p.grad is not None}


def test_names_lead_to_objectives():
    for name, (kind, _) in RECIPES.items():
        assert find(name) is kind and kind.product == "generator"
    assert list(variants("classifiers")) == ["vanilla", "puzzle", "p-oc", "p-noc", "oc-cse", "guided", "linear"]


# --- a plain second writing, image by image ---------------------------------------------------------------------------


def bce(scores, labels):
    return F.multilabel_soft_margin_loss(scores, 0.9 * labels + 0.05)


def plain_puzzle(f, maps, batch, progress):
    x, y = batch.images, batch.labels
    tiles = f(torch.cat([x[:, :, :8, :8], x[:, :, :8, 8:], x[:, :, 8:, :8], x[:, :, 8:, 8:]]))
    a, b, c, d = tiles.chunk(4)
    merged = torch.cat([torch.cat([a, b], 3), torch.cat([c, d], 3)], 2)
    present = [(maps[i, k] - merged[i, k]).abs().mean() for i in range(3) for k in range(4) if y[i, k]]
    return bce(merged.mean((2, 3)), y) + 0.3 * min(1, progress / 0.5) * sum(present) / len(present)


def plain_erasing(oc, maps, batch, progress):
    x, rest, chosen = batch.images, batch.labels.clone(), []
    for i, draw in enumerate(batch.draws.tolist()):
        present = batch.labels[i].nonzero().flatten().tolist()
        chosen.append(present[int(draw * len(present))])
        rest[i, chosen[i]] = 0
    up = [
        F.interpolate(F.relu(maps[i, r])[None, None], size=(16, 16), mode="bilinear")[0] for i, r in enumerate(chosen)
    ]
    psi = torch.stack(up)
    psi = psi / (psi.max() + 1e-5)
    return (0.3 + 0.7 * progress) * bce(oc(x * (1 - psi)).mean((2, 3)), rest)


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("name", ["puzzle", "oc-cse", "p-oc"])
def test_losses_against_a_plain_second_writing(batch, name, progress):
    goal = objective(name)
    f = goal.networks["generator"]
    maps = f(batch.images)
    expected = bce(maps.mean((2, 3)), batch.labels)
    if name != "oc-cse":
        expected = expected + plain_puzzle(f, maps, batch, progress)
    if name != "puzzle":
        expected = expected + plain_erasing(goal.ordinary, maps, batch, progress)
    torch.testing.assert_close(one(goal, batch, progress).value, expected)


def test_a_loss_by_hand():
    """Constant images, maps that are the image times the class weight: every number can be computed on paper."""

    class Line(Trainable):
        def __init__(self, *weights):
            super().__init__()
            self.weights = nn.Parameter(torch.tensor(weights).reshape(1, -1, 1, 1))

        def forward(self, images):
            return images[:, :1] * self.weights

    goal = oc_cse.OcCse.__new__(oc_cse.OcCse)
    settings = OcCseSettings(ordinary="x", **SMALL, label_smoothing=0, erasing=Ramp(start=2.0, end=2.0))
    goal.compose(settings, 2, Line(2.0, -1.0), Line(3.0, 1.0))
    images = torch.ones(1, 3, 16, 16)
    loss = one(goal, Batch(images, torch.tensor([[1.0, 0.0]]), torch.tensor([0.0])))
    # f scores 2 and -1 for the labels 1 and 0; class 0 is erased everywhere, so oc sees 0 and scores 0 and 0
    whole = (torch.tensor(-2.0).exp().log1p() + torch.tensor(-1.0).exp().log1p()) / 2
    torch.testing.assert_close(loss.parts["whole"], whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.parts["erasing"], torch.tensor(2.0).log(), atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.value.detach(), whole + 2 * torch.tensor(2.0).log(), atol=1e-4, rtol=0)
    assert loss.parts["erased_share"].item() == pytest.approx(1, abs=1e-4)


# --- who gets a gradient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["oc-cse", "p-oc"])
def test_the_ordinary_classifier_is_never_trained(batch, name):
    goal = objective(name)
    oc, f = goal.ordinary, goal.networks["generator"]
    assert list(goal.networks) == ["generator"] and goal.fixed == {"ordinary": oc}
    before = {k: v.clone() for k, v in oc.state_dict().items()}
    one(goal, batch).value.backward()
    assert gradients(f) == {n for n, _ in f.named_parameters()}
    assert gradients(oc) == set() and not oc.training
    assert all(torch.equal(v, before[k]) for k, v in oc.state_dict().items())


def test_every_term_reaches_the_generator_alone(batch):
    """The erasing term has a gradient of its own, through oc's input and the mask."""
    for silent, loud in (({"start": 0.0, "end": 0.0}, False), ({"start": 1.0, "end": 1.0}, True)):
        goal = objective("oc-cse", erasing=Ramp(**silent))
        maps = goal.networks["generator"](batch.images).detach().requires_grad_()
        goal.networks["generator"] = lambda images, maps=maps: maps
        loss = one(goal, batch)
        loss.value.backward()
        plain = maps.detach().clone().requires_grad_()
        bce(plain.mean((2, 3)), batch.labels).backward()
        assert torch.allclose(maps.grad, plain.grad) != loud


def test_puzzle_trains_on_tiles_and_on_the_image(batch):
    goal = objective("puzzle", reconstruction=Ramp(start=1.0, end=1.0))
    f, seen = goal.networks["generator"], []
    f.register_forward_hook(lambda module, given, maps: (maps.retain_grad(), seen.append(maps)) and None)
    one(goal, batch).value.backward()
    assert [len(maps) for maps in seen] == [3, 12]
    assert all(maps.grad.abs().sum() > 0 for maps in seen), "no side of the difference is held back"


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["puzzle", "p-oc", "p-noc"])
def test_options_of_the_puzzle(batch, name):
    entropy = Ramp(start=0.5, end=0.5)
    goal = objective(name, reconstruction_norm="relative", reconstruction=Ramp(start=1.0, end=1.0), entropy=entropy)
    loss = next(goal.losses(batch, TrainingStep(0, 0.5)))
    parts = loss.parts
    expected = parts["whole"] + parts["tiles"] + parts["reconstruction"] + 0.5 * parts["entropy"]
    if name != "puzzle":
        expected = expected + 0.65 * parts["erasing"]
    torch.testing.assert_close(loss.value.detach(), expected)
    assert parts["entropy"] > 0 and parts["loss"] == loss.value
    plain = next(objective(name).losses(batch, TrainingStep(0, 0.5))).parts
    assert "entropy" not in plain and plain["reconstruction"] != parts["reconstruction"]


@pytest.mark.parametrize("erase_class", ["random", "balanced", "least-chosen", "focal"])
@pytest.mark.parametrize("name", ["oc-cse", "p-oc", "p-noc"])
def test_class_choosing_reaches_the_loss_and_the_checkpoint(batch, name, erase_class):
    goal = objective(name, erase_class=erase_class)
    erased = next(goal.losses(batch, TrainingStep(0, 0.5))).parts["erasing"]
    again = objective(name, erase_class=erase_class)
    assert torch.equal(next(again.losses(batch, TrainingStep(0, 0.5))).parts["erasing"], erased)
    state = goal.state()
    assert set(state) == ({"chosen"} if erase_class == "least-chosen" else set())
    if state:
        assert state["chosen"].sum() == 3
        fresh = objective(name, erase_class=erase_class)
        fresh.load_state(state)
        assert torch.equal(fresh.state()["chosen"], state["chosen"])


@pytest.mark.parametrize("name", RECIPES)
def test_positive_weights_reach_every_classification_loss(batch, name):
    plain, heavy = objective(name), objective(name, positive_weight="balanced")
    terms = {"puzzle": {"whole", "tiles"}, "oc-cse": {"whole", "erasing"}}.get(name, {"whole", "tiles", "erasing"})
    first, second = (next(g.losses(batch, TrainingStep(0, 0.5))).parts for g in (plain, heavy))
    assert {k for k in first if first[k] != second[k]} == terms | {"loss"}
    vanilla = find("vanilla")(VanillaSettings(backbone="test_resnet", pretrained=False, positive_weight=3), 4, {})
    assert vanilla.loss.weights.tolist() == [3.0] * 4


# --- how far erasing goes, and what it costs --------------------------------------------------------------------------


def test_full_erasing_and_its_price_by_hand(batch):
    """Twin: loops over images; psi = min(1, relu(A_r) / (0.25 max of its image)), and 0.7 times its mean is added."""
    price = Ramp(start=0.7, end=0.7)
    goal = objective(
        "oc-cse", erasing_max="image", erase_saturation=0.25, erased_area=price, erasing=Ramp(start=1, end=1)
    )
    loss = one(goal, batch)
    goal = objective("oc-cse")  # the same weights, their batch statistics as at the start
    generator, ordinary = goal.networks["generator"], goal.ordinary
    maps = generator(batch.images)
    chosen, size = [2, 1, 2], batch.images.shape[-2:]
    masks, left = [], []
    for image, own, c in zip(batch.images, maps, chosen, strict=True):
        up = F.interpolate(own[c].relu()[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        masks.append(torch.minimum(torch.ones_like(up), up / ((up.max() + 1e-5) * 0.25)))
        left.append(image * (1 - masks[-1]))
    remains = batch.labels.clone()
    remains[range(3), chosen] = 0
    erasing = bce(ordinary(torch.stack(left)).mean((2, 3)), remains)
    area = torch.stack(masks).mean()
    expected = bce(maps.mean((2, 3)), batch.labels) + erasing + 0.7 * area
    torch.testing.assert_close(loss.value, expected)
    torch.testing.assert_close(loss.parts["erased_share"], area.detach())


def test_the_price_of_erasing_reaches_the_maps(batch):
    goal = objective("oc-cse", erasing=Ramp(start=0, end=0), erased_area=Ramp(start=1, end=1), erasing_max="image")
    free = objective("oc-cse", erasing=Ramp(start=0, end=0), erasing_max="image")
    one(goal, batch).value.backward()
    one(free, batch).value.backward()
    priced, plain = (g.networks["generator"].head.weight.grad for g in (goal, free))
    assert not torch.allclose(priced, plain)
    assert one(free, batch).parts["erased_share"] > 0  # logged, and free
