"""Steps of class-incremental learning: what is learnt where, and that unknown classes stay unknown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wsss.beyond.continual import Step, in_reach, numbers, repeats, step_of
from wsss.data.index import Item
from wsss.data.loading import Batch
from wsss.errors import WsssError
from wsss.losses.base import TrainingStep
from wsss.losses.segmentation import segmentation_loss
from wsss.models.class_rows import LEAST, close_rows, last_layer, open_rows
from wsss.models.segmenter import Segmenter
from wsss.objectives.continual import (
    FULL,
    Continual,
    among,
    distillation,
    own_masks,
    weighted_loss,
    with_old,
)
from wsss.objectives.segmentation import Segmentation
from wsss.settings import ContinualSettings, SegmentationSettings
from wsss.training.optimisers import build_optimiser

SMALL = {"supervision": "masks", "backbone": "test_resnet", "pretrained": False, "architecture": "fpn", "crop": 32}
NOW = TrainingStep(0, 0.0)


def settings(**given):
    return ContinualSettings.read({**SMALL, "objective": "continual", **given})


def batch(labels, masks, seed=0, soft=None):
    images = torch.randn(len(labels), 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(images, torch.tensor(labels).float(), torch.zeros(len(labels)), masks, soft)


def loss_of(objective, given):
    (found,) = objective.losses(given, NOW)
    return found


def test_a_class_that_is_not_known_has_no_part():
    scores = torch.tensor([0.0, 0.0, 10.0]).view(1, 3, 1, 1).requires_grad_()
    logits, masks = among(scores, torch.tensor([[[1]]]), [0])
    assert F.pad(logits.softmax(1).flatten(), (0, 1)).tolist() == [0.5, 0.5, 0.0] and masks.tolist() == [[[1]]]
    segmentation_loss(logits, masks, 0.1).backward()
    assert scores.grad[0, 2, 0, 0] == 0 and scores.grad[0, 1, 0, 0] < 0
    _, places = among(torch.zeros(1, 5, 1, 4), torch.tensor([[[0, 2, 4, 255]]]), [1, 3])
    assert places.tolist() == [[[0, 1, 2, 255]]]


def test_background_becomes_an_old_class_where_the_old_network_is_sure():
    def logits(p):
        return torch.tensor([math.log(1 - p), math.log(p), LEAST]).view(1, 3, 1, 1)

    background, new = torch.zeros(1, 1, 1).long(), torch.full((1, 1, 1), 2)
    assert with_old(background, logits(0.71), 0.7).item() == 1
    assert with_old(background, logits(0.69), 0.7).item() == 0
    assert with_old(new, logits(0.99), 0.7).item() == 2, "a pixel of the new class stays"
    assert with_old(torch.full((1, 1, 1), 255), logits(0.99), 0.7).item() == 255
    assert with_old(background, logits(0.01), 0.7).item() == 0, "sure of the background"


def test_masks_show_the_tags_of_their_image_alone():
    masks = torch.randint(0, 5, (3, 6, 7), generator=torch.Generator().manual_seed(1))
    masks[:, 0] = 255
    labels = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]]).float()
    found = own_masks(masks, labels)
    for b, y, x in np.ndindex(*masks.shape):
        v = int(masks[b, y, x])
        assert found[b, y, x] == (v if v == 255 or v and labels[b, v - 1] else 0)


def test_weights_beside_a_slow_writing():
    rng = torch.Generator().manual_seed(2)
    scores, masks = torch.randn(2, 3, 4, 5, generator=rng), torch.randint(0, 3, (2, 4, 5), generator=rng)
    masks[0, 0] = 255
    levels = torch.randint(0, 256, (2, 1, 4, 5), generator=rng).byte()
    total = weight = 0.0
    for b, y, x in np.ndindex(*masks.shape):
        if masks[b, y, x] != 255:
            log_p = scores[b, :, y, x].log_softmax(0)
            each = -(0.9 * log_p[masks[b, y, x]] + 0.1 * log_p.mean())
            total += float(each) * int(levels[b, 0, y, x]) / 255
            weight += int(levels[b, 0, y, x]) / 255
    assert float(weighted_loss(scores, masks, 0.1, levels)) == pytest.approx(total / weight, rel=1e-5)
    full = torch.full_like(levels, FULL)
    assert float(weighted_loss(scores, masks, 0.1, full)) == pytest.approx(
        float(segmentation_loss(scores, masks, 0.1)), rel=1e-6
    )
    assert float(weighted_loss(scores, masks, 0.1, torch.zeros_like(levels))) == 0


def test_distillation_beside_a_slow_writing():
    rng = torch.Generator().manual_seed(3)
    new, old = (torch.randn(2, 4, 3, 3, generator=rng) for _ in range(2))
    old[:, 2] = LEAST
    shown = torch.rand(2, 3, 3, generator=rng) > 0.3
    total = 0.0
    for b, y, x in np.ndindex(2, 3, 3):
        if shown[b, y, x]:
            p, q = ((of[b, [0, 1, 3], y, x] / 2).softmax(0) for of in (old, new))
            total += float((p * (p.log() - q.log())).sum())
    assert float(distillation(new, old, [0, 2], shown, 2.0)) == pytest.approx(4 * total / int(shown.sum()), rel=1e-4)
    assert float(distillation(old, old, [0, 2], shown, 2.0)) == pytest.approx(0, abs=1e-6)


def test_without_classes_it_is_plain_segmentation_to_the_bit():
    objectives = []
    for cls, read in ((Segmentation, SegmentationSettings.read(SMALL)), (Continual, settings())):
        torch.manual_seed(0)
        objectives.append(cls(read, 2))
    masks = torch.randint(0, 3, (2, 32, 32), generator=torch.Generator().manual_seed(0))
    grads = []
    for objective in objectives:
        network = objective.networks["segmenter"].train()
        torch.manual_seed(1)  # dropout
        loss = loss_of(objective, batch([[1, 0], [1, 1]], masks))
        loss.value.backward()
        grads.append({name: p.grad for name, p in network.named_parameters()})
    states = [objective.networks["segmenter"].state_dict() for objective in objectives]
    assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert all(torch.equal(grads[0][k], grads[1][k]) for k in grads[0])


def segmenter(classes=4, seed=0):
    torch.manual_seed(seed)
    return Segmenter("fpn", "test_resnet", classes)


def test_rows_are_closed_and_opened():
    network = segmenter().eval()
    images = torch.randn(1, 3, 32, 32)
    close_rows(network, [1])
    with torch.no_grad():
        closed = network(images)
        assert torch.allclose(closed[:, 2], torch.tensor(LEAST)) and closed.softmax(1)[:, 2].max() == 0
        open_rows(network, [1])
        found = network(images)
    assert torch.allclose(found[:, 2], found[:, 0]) and torch.allclose(found[:, [0, 1, 3]], closed[:, [0, 1, 3]])


def test_a_step_goes_on_from_the_one_before_and_leaves_later_classes_closed():
    first = Continual(settings(classes=["a"]), 3, Step((0,)))
    old = first.networks["segmenter"]
    assert (last_layer(old).bias[2:] == LEAST).all() and last_layer(old).bias[1] != LEAST
    second = Continual(settings(classes=["b"], warm_start="x"), 3, Step((1,), (0,)), old)
    new = second.networks["segmenter"]
    head, was = last_layer(new), last_layer(old)
    assert torch.equal(head.weight[:2], was.weight[:2]) and torch.equal(head.weight[2], was.weight[0])
    assert head.bias[3] == LEAST and not head.weight[3].any()
    kept = [tensor.clone() for tensor in old.eval().state_dict().values()]
    optimiser = build_optimiser(new, second.settings)
    new.train()
    masks = torch.zeros(2, 32, 32).long()
    masks[:, :16] = 2
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(second, batch([[0, 1, 0], [1, 0, 0]], masks)).value.backward()
        optimiser.step()
    assert head.bias[3] == LEAST and not head.weight[3].any(), "what is not known stays so"
    assert not torch.equal(head.weight[2], was.weight[0])
    assert all(torch.equal(p, q) for p, q in zip(old.state_dict().values(), kept, strict=True))
    assert all(p.grad is None for p in old.parameters())
    with pytest.raises(WsssError, match="'warm_start: x' is of another architecture"):
        Continual(settings(classes=["b"], warm_start="x", architecture="unet"), 3, Step((1,), (0,)), old)


def test_the_old_network_speaks_of_the_steps_own_images_alone():
    old = segmenter().eval()
    close_rows(old, [1, 2])
    with torch.no_grad():
        last_layer(old).weight[1] = 0
        last_layer(old).bias[1] = 50.0  # sure of class 0 everywhere
    step = Step((1,), (0,))
    masks = torch.zeros(2, 32, 32).long()
    masks[0, :8] = 2
    masks[1, 8:16] = 3  # of a class that the exemplar is not tagged with
    given = batch([[0, 1, 0], [1, 0, 0]], masks)
    wanted = masks.clone()
    wanted[0, 8:], wanted[1] = 1, 0
    for confidence, changed in ((0.7, True), (None, False)):
        objective = Continual(settings(classes=["b"], warm_start="x", old_confidence=confidence), 3, step, old)
        network = objective.networks["segmenter"].eval()
        found = loss_of(objective, given).value
        logits, places = among(network(given.images), wanted if changed else own_masks(masks, given.labels), step.known)
        assert torch.allclose(found, segmentation_loss(logits, places, 0.1))
    both = Continual(settings(classes=["b"], warm_start="x", distil=2.0), 3, step, old)
    both.networks["segmenter"].eval()
    loss = loss_of(both, given)
    assert set(loss.parts) == {"loss", "masks", "distillation"}
    assert float(loss.value.detach()) == pytest.approx(
        float(loss.parts["masks"] + 2 * loss.parts["distillation"]), rel=1e-5
    )
    soft = torch.full((2, 1, 32, 32), FULL, dtype=torch.uint8)
    weighed = loss_of(objective, batch([[0, 1, 0], [1, 0, 0]], masks, soft=soft)).value
    assert torch.allclose(weighed, found, rtol=1e-5)


def item(id, *labels):
    return Item(id, "train", Path(f"{id}.png"), None, 4, 4, labels, True)


def test_images_of_a_step():
    items = [item("a", 0), item("b", 0, 1), item("c", 1, 2), item("d", 2), item("e")]
    overlapped, disjoint = Step((1,), (0,)), Step((1,), (0,), disjoint=True)
    assert [(i.id, i.labels) for i in overlapped.images(items)] == [("b", (1,)), ("c", (1,))]
    assert [(i.id, i.labels) for i in disjoint.images(items)] == [("b", (1,))], "c shows a later class"
    assert [i.id for i in Step((0, 2)).images(items)] == ["a", "b", "c", "d"]
    assert overlapped.known == (0, 1)


def test_classes_are_told_by_name():
    names = ("cat", "cow", "dog")
    assert numbers(["dog", "cat"], names, "x") == (0, 2)
    found = step_of(["cow"], False, [("dog",), ("cat",)], names, "classes")
    assert found == Step((1,), (0, 2))
    with pytest.raises(WsssError, match="classes: the dataset has no class 'dgo'.*dog"):
        step_of(["dgo"], False, [], names, "classes")
    with pytest.raises(WsssError, match="dog was learnt before"):
        step_of(["dog"], False, [("dog",)], names, "classes")
    with pytest.raises(WsssError, match="named twice"):
        numbers(["dog", "dog"], names, "x")


def test_labels_outside_of_boxes():
    labels = np.array([[0, 1, 1, 0, 255]], np.uint8)
    reliable = np.array([[True, True, False, False, False]])
    assert in_reach(labels, reliable, "learn").tolist() == labels.tolist()
    assert in_reach(labels, reliable, "ignore").tolist() == [[0, 1, 255, 255, 255]]
    assert in_reach(labels, reliable, "background-only").tolist() == [[0, 1, 255, 0, 255]]


@pytest.mark.parametrize(("own", "exemplars", "share"), [(553, 7, 0.5), (553, 956, 0.5), (100, 30, 0.25), (10, 3, 0.8)])
def test_an_epoch_has_a_view_of_each_own_image_in_the_mean(own, exemplars, share):
    listed = own + exemplars * repeats(own, exemplars, share)
    if exemplars * 2 < own * share / (1 - share):
        assert (1 - share) * listed == pytest.approx(own, rel=0.1)
    assert (1 - share) * listed >= 0.9 * own
    assert repeats(own, 0, share) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"memory": "m"}, "are for steps after the first"),
        ({"distil": 1}, "are for steps after the first"),
        ({"warm_start": "x"}, "name the classes that this step learns"),
        ({"disjoint": True}, "no effect without 'classes'"),
        ({"gt_masks": 5}, "'gt_masks' is for objectives"),
        ({"supervision": "classifier"}, "trains nothing"),
        ({"loss_cap": 1, "outside_weight": 0.5}, "'loss_cap' knows no weights"),
    ],
)
def test_settings_that_do_not_go_together(given, said):
    with pytest.raises(ValueError, match=said):
        settings(**given)
