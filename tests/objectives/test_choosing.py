"""Which class is erased: every strategy against its slow twin, its memory, and several processes."""

from __future__ import annotations

import pytest
import torch

from tests.engine.process_group import together
from wsss.losses.class_choice import Chooser, choose_class, choose_weighted
from wsss.settings import OcCseSettings

LABELS = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]]).float()
SCORES = torch.tensor([[0.0, 2.0, 9.0, -1.0, 0.5]]).expand(4, 5)


def chooser(strategy: str, frequencies=None, gamma=2.0, classes=5) -> Chooser:
    return Chooser(OcCseSettings(ordinary="x", erase_class=strategy, focal_gamma=gamma), classes, frequencies)


def slow_weighted(labels, draws, weights):
    """Walk along the present classes until their shares of the weight add up to more than the draw."""
    chosen = []
    for row, draw, own in zip(labels.tolist(), draws.tolist(), weights.tolist(), strict=True):
        present = [c for c, label in enumerate(row) if label]
        total, reached = sum(own[c] for c in present), 0.0
        for c in present:
            reached += own[c] / total
            if reached > draw:
                break
        chosen.append(c)
    return chosen


def test_random_is_the_uniform_choice_and_scores_do_not_matter():
    for draw in torch.linspace(0, 0.999, 23):
        draws = draw.expand(4)
        assert torch.equal(chooser("random")(LABELS, draws, SCORES), choose_class(LABELS, draws))
        assert torch.equal(choose_weighted(LABELS, draws, torch.zeros(5)), choose_class(LABELS, draws))


@pytest.mark.parametrize("draw", [1.0, 1 - 2.0**-24])
def test_draws_that_rounding_takes_to_one_choose_the_last_class(draw):
    for strategy in ("random", "balanced", "least-chosen", "focal"):
        one = chooser(strategy, torch.full((5,), 0.5), gamma=0.0)
        assert one(LABELS, torch.full((4,), draw), SCORES).tolist() == [4, 0, 4, 4], strategy


def test_balanced_against_its_slow_twin_and_by_hand():
    frequencies = torch.tensor([0.5, 0.1, 0.2, 0.4, 0.05])
    by_frequency = chooser("balanced", frequencies)
    for draw in torch.linspace(0, 0.999, 41):
        draws = draw.expand(4)
        expected = slow_weighted(LABELS, draws, (1 / frequencies).expand(4, 5))
        assert by_frequency(LABELS, draws, SCORES).tolist() == expected
    # a class four times as rare is chosen four times as often
    pair = torch.tensor([[1.0, 1.0]]).expand(1000, 2)
    chosen = chooser("balanced", torch.tensor([0.8, 0.2]), classes=2)(pair, torch.arange(1000) / 1000, pair)
    assert chosen.bincount().tolist() == [200, 800]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_against_its_slow_twin(gamma):
    scores = SCORES.clone().requires_grad_()
    for draw in torch.linspace(0, 0.999, 41):
        draws = draw.expand(4)
        chosen = chooser("focal", gamma=gamma)(LABELS, draws, scores)
        assert chosen.tolist() == slow_weighted(LABELS, draws, (1 - SCORES.sigmoid()) ** gamma)
        assert not chosen.requires_grad


def test_focal_of_certain_classes_does_not_underflow():
    scores = torch.tensor([[500.0, 600.0, 700.0]])
    assert chooser("focal", classes=3)(torch.ones(1, 3), torch.tensor([0.5]), scores).tolist() == [0]


def test_least_chosen_by_hand_and_what_it_remembers():
    least = chooser("least-chosen", classes=3)
    both, draws = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0.0])
    assert [least(both, draws, both).item() for _ in range(5)] == [0, 1, 0, 1, 0]
    assert least.counts.tolist() == [3, 2, 0]
    # ties are broken by the draw; a batch sees the counts of the step before
    chosen = least(torch.ones(4, 3), torch.tensor([0.0, 0.3, 0.6, 0.9]), torch.ones(4, 3))
    assert chosen.tolist() == [2, 2, 2, 2] and least.counts.tolist() == [3, 2, 4]
    again = chooser("least-chosen", classes=3)
    again.load_state(least.state())
    assert again(torch.ones(1, 3), draws, both).item() == 1
    assert least.counts.tolist() == [3, 2, 4], "a state that was handed out does not change"
    assert chooser("random").state() == {}


def test_least_chosen_over_many_steps_is_even():
    least, generator = chooser("least-chosen"), torch.Generator().manual_seed(0)
    for _ in range(100):
        least(torch.ones(2, 5), torch.rand(2, generator=generator), torch.ones(2, 5))
    assert least.counts.sum() == 200 and least.counts.max() - least.counts.min() <= 4


@pytest.mark.parametrize("strategy", ["random", "balanced", "least-chosen", "focal"])
def test_an_image_without_labels_is_refused(strategy):
    one = chooser(strategy, torch.full((2,), 0.5), classes=2)
    with pytest.raises(ValueError, match="without labels"):
        one(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(2), torch.zeros(2, 2))


def test_balanced_without_frequencies_is_refused():
    with pytest.raises(ValueError, match="needs the frequencies"):
        chooser("balanced")


def _steps(one, images):
    labels = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]).float()[images]
    draws = torch.tensor([[0.1, 0.5, 0.7, 0.9], [0.4, 0.2, 0.8, 0.0], [0.9, 0.9, 0.1, 0.3]])[:, images]
    return [one(labels, d, labels).tolist() for d in draws]


def _half(rank):
    one = chooser("least-chosen", classes=3)
    return _steps(one, slice(2 * rank, 2 * rank + 2)), one.counts.tolist()


def test_two_processes_choose_like_one():
    (first, counts), (second, same) = together(2, _half)
    whole = chooser("least-chosen", classes=3)
    assert [a + b for a, b in zip(first, second, strict=True)] == _steps(whole, slice(0, 4))
    assert counts == same == whole.counts.tolist()
