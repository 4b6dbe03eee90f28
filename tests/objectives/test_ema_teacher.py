"""The mean teacher's loss against a twin that goes from pixel to pixel, and each of its parts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wsss.data.loading import Batch
from wsss.errors import WsssError
from wsss.losses.base import TrainingStep
from wsss.losses.class_mix import of_partners, paste, pasted_from_partner
from wsss.losses.segmentation import LEVELS, entropies, surest, tagged_probabilities, vouched
from wsss.models.backbone import Trainable
from wsss.models.teacher import Teacher
from wsss.objectives.ema_teacher import EmaTeacher
from wsss.settings import EmaTeacherSettings

CLASSES, SIDE = 3, 32
NETWORK = {"backbone": "test_resnet", "pretrained": False, "architecture": "unet", "masks": "x", "crop": SIDE}


@pytest.fixture
def batch() -> Batch:
    """Four images, the last one with a canvas around it; the second one's mask shows nothing of its tag."""
    torch.manual_seed(5)
    images = torch.randn(4, 3, SIDE, SIDE)
    images[3, :, 20:] = 0
    masks = torch.zeros(4, SIDE, SIDE, dtype=torch.int64)
    masks[0, 4:20, 4:20], masks[0, 20:30, 20:30], masks[2, :9], masks[3, 2:18] = 1, 3, 2, 1
    masks[0, 0], masks[3, 20:] = 255, 255
    labels = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 1, 0], [1, 1, 1]]).float()
    return Batch(images, labels, torch.tensor([0.3, 0.45, 0.8, 0.1]), masks)


def objective(**settings) -> EmaTeacher:
    torch.manual_seed(0)
    goal = EmaTeacher(EmaTeacherSettings(**{**NETWORK, "label_smoothing": 0.2, **settings}), CLASSES)
    goal.networks["segmenter"].train()
    return goal


def one(goal: EmaTeacher, batch: Batch, progress: float = 0.0):
    (loss,) = goal.losses(batch, TrainingStep(0, progress))
    return loss


# --- the whole loss ---------------------------------------------------------------------------------------------------


def cross_entropy(scores, target, a):
    """Of one pixel: scores of C + 1 classes, a label."""
    logs = scores - scores.max() - math.log(np.exp(scores - scores.max()).sum())
    return -sum(((1 - a) * (c == target) + a / len(logs)) * log for c, log in enumerate(logs))


def slow(goal: EmaTeacher, batch: Batch, progress: float) -> tuple[float, float, float]:
    """Both terms and the share of sure pixels: lists of pixels, one number at a time."""
    s, a = goal.settings, goal.settings.label_smoothing
    with torch.no_grad():
        told = goal.teacher.network(batch.images).double().numpy()
    images, masks = batch.images.numpy().copy(), batch.targets.numpy().copy()
    teacher, entropy = np.full(masks.shape, 255), np.zeros(masks.shape)
    for i in range(len(masks)):
        tags = [c for c in range(CLASSES) if batch.labels[i, c]]
        if tags and not set(masks[i].ravel()) - {0, 255}:
            masks[i] = 255
        for y, x in np.ndindex(SIDE, SIDE):
            own = {c: math.exp(told[i, c, y, x]) for c in (0, *(t + 1 for t in tags))}
            p = {c: value / sum(own.values()) for c, value in own.items()}
            entropy[i, y, x] = -sum(v * math.log(v) for v in p.values()) / math.log(CLASSES + 1)
            if any(images[i, :, y, x] != 0):
                teacher[i, y, x] = max(p, key=p.get)
    before = [images.copy(), masks.copy(), teacher.copy(), entropy.copy()]
    for i in range(len(masks)):
        j = i + 1 if i % 2 == 0 else i - 1
        there = sorted(set(before[1][j].ravel()) - {0, 255})
        if batch.draws[i] >= s.class_mix:
            continue
        order = np.random.default_rng(int(float(batch.draws[i]) * 2**24)).permutation(there)
        for y, x in np.ndindex(SIDE, SIDE):
            if before[1][j, y, x] in order[: math.ceil(len(there) / 2)]:
                images[i, :, y, x] = before[0][j, :, y, x]
                masks[i, y, x], teacher[i, y, x] = before[1][j, y, x], before[2][j, y, x]
                entropy[i, y, x] = before[3][j, y, x]
    scores = goal.networks["segmenter"](torch.from_numpy(images)).detach().double().numpy()
    places = list(np.ndindex(masks.shape))
    of_masks = [cross_entropy(scores[i, :, y, x], masks[i, y, x], a) for i, y, x in places if masks[i, y, x] != 255]
    known = sorted((int(entropy[at] * LEVELS), at) for at in places if teacher[at] != 255)
    wanted = (1 - s.teacher_drop * (1 - progress)) * len(known)
    level = next(level for n, (level, _) in enumerate(known, 1) if n >= wanted)
    sure = [at for own, at in known if own <= level]
    of_teacher = [cross_entropy(scores[i, :, y, x], teacher[i, y, x], a) for i, y, x in sure]
    share = len(sure) / len(known)
    return float(np.mean(of_masks)), float(np.mean(of_teacher)) / share, share


@pytest.mark.parametrize("progress", [0.25, 0.75])
def test_against_its_slow_twin(batch, progress):
    goal, again = (objective(class_mix=0.5, teacher_drop=0.5, teacher_weight=0.7) for _ in range(2))
    for each in (goal, again):
        each.after_step(TrainingStep(4, 0.1, epoch=1))
    masks, teacher, share = slow(again, batch, progress)
    loss = one(goal, batch, progress)
    assert loss.parts["masks"].item() == pytest.approx(masks, rel=1e-4)
    assert loss.parts["sure_share"].item() == pytest.approx(share, abs=2e-3)  # a pixel beside a level
    assert loss.parts["teacher"].item() == pytest.approx(teacher, rel=1e-2)
    assert loss.value.item() == pytest.approx(masks + 0.7 * loss.parts["teacher"].item(), rel=1e-4)


def test_the_student_learns_and_the_teacher_does_not(batch):
    goal = objective()
    goal.after_step(TrainingStep(4, 0.1, epoch=1))
    one(goal, batch).value.backward()
    assert all(p.grad is not None for p in goal.networks["segmenter"].parameters())
    assert all(p.grad is None for p in goal.teacher.network.parameters())
    assert not goal.teacher.network.training


def test_before_the_teacher_there_are_masks_alone(batch):
    goal = objective(teacher_warmup=2)
    for step in (TrainingStep(1, 0.1, epoch=0), TrainingStep(3, 0.2, epoch=1)):
        goal.after_step(step)
        assert set(one(goal, batch).parts) == {"loss", "masks"}
    goal.after_step(TrainingStep(6, 0.3, epoch=2))
    assert set(one(goal, batch).parts) == {"loss", "masks", "teacher", "sure_share"}


def test_which_network_is_kept():
    teacher, student = objective(), objective(kept="student")
    assert teacher.kept(teacher.networks["segmenter"]) is teacher.networks["segmenter"], "none has begun yet"
    for each in (teacher, student):
        each.after_step(TrainingStep(4, 0.1, epoch=1))
    assert teacher.kept(teacher.networks["segmenter"]) is teacher.fixed["teacher"]
    assert student.kept(student.networks["segmenter"]) is student.networks["segmenter"]


# --- its parts --------------------------------------------------------------------------------------------------------


class Number(Trainable):
    """A network of one weight and one statistic."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(value))
        self.register_buffer("seen", torch.tensor(value))


def test_the_teacher_is_the_mean_at_first_and_then_moves_slowly():
    teacher, found = Teacher(Number(9.0), decay=0.75), []
    for value in (1.0, 3.0, 5.0, 7.0, 16.0, 0.0):
        teacher.follow(Number(value))
        found.append(teacher.network.weight.item())
        assert teacher.network.seen == value
    assert found == [1, 2, 3, 4, 0.75 * 4 + 0.25 * 16, 0.75 * 7]
    again = Teacher(Number(0.0), decay=0.75)
    again.load_state({name: tensor.clone() for name, tensor in teacher.state().items()})
    for each in (teacher, again):
        each.follow(Number(2.0))
    assert again.network.weight == teacher.network.weight and again.updates == 7


def test_tags_restrict_what_the_teacher_may_say():
    scores = torch.tensor([0.0, 1.0, 5.0]).view(1, 3, 1, 1).expand(2, 3, 1, 1)
    p = tagged_probabilities(scores, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    e = math.exp(1)
    torch.testing.assert_close(p.flatten(1), torch.tensor([[1 / (1 + e), e / (1 + e), 0.0], [1.0, 0.0, 0.0]]))
    assert entropies(p)[1].item() == 0
    torch.testing.assert_close(entropies(torch.full((1, 4, 1, 1), 0.25)), torch.ones(1, 1, 1))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999, 1.0])
def test_the_surest_against_sorting(share):
    torch.manual_seed(1)
    entropy, known = torch.rand(3, 20, 20) ** 3, torch.rand(3, 20, 20) < 0.7
    sure = surest(entropy, known, share)
    levels = (entropy[known] * LEVELS).floor()
    limit = levels.sort().values[math.ceil(share * len(levels)) - 1]
    assert torch.equal(sure, known & ((entropy * LEVELS).floor() <= limit))
    assert sure.sum() >= share * known.sum()
    assert not surest(entropy, torch.zeros_like(known), share).any()


def test_a_mask_without_an_object_is_not_learnt_from(batch):
    found = vouched(batch.targets, batch.labels)
    assert (found[1] == 255).all() and torch.equal(found[[0, 2, 3]], batch.targets[[0, 2, 3]])
    untagged = torch.zeros_like(batch.labels)
    assert torch.equal(vouched(batch.targets, untagged), batch.targets)


def test_what_is_pasted_by_hand():
    masks = torch.tensor([[0, 1, 2, 3], [0, 4, 4, 255]])[:, None]
    pasted = pasted_from_partner(masks, torch.tensor([0.4, 0.6]), 4, share=0.5)
    assert pasted.tolist() == [[[False, True, True, False]], [[False] * 4]]
    mixed = paste(masks, pasted)
    assert mixed.tolist() == [[[0, 4, 4, 3]], masks[1].tolist()]
    images = torch.stack([masks, 10 * masks], dim=1)
    assert paste(images, pasted).tolist() == torch.stack([mixed, 10 * mixed], dim=1).tolist()
    assert of_partners(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


@pytest.mark.parametrize("present", [1, 2, 3, 4])
def test_half_of_the_classes_are_pasted_each_as_often(present):
    masks = torch.zeros(200, 1, 5, dtype=torch.int64)
    masks[:, 0, :present] = torch.arange(1, present + 1)
    pasted = pasted_from_partner(masks, torch.arange(200) / 200, 4, share=1.0)[:, 0]
    assert (pasted.sum(dim=1) == math.ceil(present / 2)).all() and not pasted[:, present:].any()
    expected = math.ceil(present / 2) / present
    assert ((pasted[:, :present].float().mean(dim=0) - expected).abs() < 0.12).all()


def test_an_odd_number_of_images_is_refused():
    with pytest.raises(WsssError, match="let 'batch_size' be a multiple of twice the number of processes"):
        pasted_from_partner(torch.zeros(3, 2, 2, dtype=torch.int64), torch.zeros(3), 2, 0.5)


def test_settings_that_go_wrong_are_refused():
    for values, words in (
        ({"teacher_warmup": 3, "epochs": 3}, "teacher_warmup .3. must be below epochs .3."),
        ({"batch_size": 6, "processes": 2}, "must be a multiple of 2 x processes .4., or class_mix 0"),
        ({"ema": 0.9}, "set kept: student"),
    ):
        with pytest.raises(ValueError, match=words):
            EmaTeacherSettings(masks="x", **values)
    assert EmaTeacherSettings(masks="x", ema=0.9, kept="student", batch_size=5, class_mix=0.0).ema == 0.9
