"""Searches for networks: the space, the evolution, how maps are compared, and what a network costs."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
import torch
from torch import nn

from wsss.beyond.search_cost import Cost, cost_of
from wsss.beyond.search_evolution import progress
from wsss.beyond.search_fitness import distances, similarity, unit_rows
from wsss.beyond.search_space import GENES, Genome, Space
from wsss.evaluate.ranking import bootstrap, kendall
from wsss.models.segmenter import Segmenter
from wsss.settings import SearchBudget, SearchSettings, SearchSpace

ONE, OTHER = torch.tensor([[[1.0, 0], [0, 0]]]), torch.tensor([[[0.0, 0], [0, 1]]])
WIDE = {
    "architecture": ["deeplabv3plus", "fpn", "pan"],
    "backbone": {"b": False, "a": False},
    "output_stride": [8, 16, 32],
    "atrous_rates": [[2, 4, 6], [6, 12, 18]],
    "width": [None, 64],
}


def rows(*distances_of_rows: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of rows of length 1 that are so far apart."""
    pairs = []
    for d in distances_of_rows:
        cosine = 1 - d * d / 2
        pairs.append(((1.0, 0.0), (cosine, sqrt(1 - cosine * cosine))))
    first, second = zip(*pairs, strict=True)
    return torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)


# --- maps -------------------------------------------------------------------------------------------------------------


def test_maps_far_apart_and_alike():
    a, b = unit_rows(ONE, None, 2), unit_rows(OTHER, None, 2)
    assert distances(a, b).tolist() == [pytest.approx(1.41421, abs=1e-5)]
    assert similarity("euclidean", a, b) == pytest.approx(0.70711, abs=1e-5)
    assert similarity("cosine", a, b) == 0
    assert similarity("pearson", a, b) == pytest.approx(-1 / 3)
    assert [similarity(kind, a, a) for kind in ("euclidean", "published")] == [pytest.approx(1e6)] * 2
    assert [similarity(kind, a, a) for kind in ("cosine", "pearson")] == [pytest.approx(1)] * 2


def test_the_nearest_row_decides_the_published_figure_alone():
    near, even = rows(0.01, 1.0), rows(0.3, 0.3)
    assert similarity("euclidean", *even) > similarity("euclidean", *near)
    assert similarity("published", *near) > similarity("published", *even)
    assert similarity("published", *near) == pytest.approx(50.5, rel=1e-3)


def test_scale_sign_and_zeros():
    raw = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(unit_rows(raw, None, 4), unit_rows(3 * raw, None, 4), atol=1e-6)
    assert torch.equal(unit_rows(raw, None, 4), unit_rows(raw.relu(), None, 4)), "what is negative is cut off first"
    blank = unit_rows(-raw.abs(), None, 4)
    assert not blank.any() and distances(unit_rows(raw, None, 4), blank).tolist() == [pytest.approx(1)] * 3
    assert similarity("cosine", unit_rows(raw, None, 4), blank) == 0
    gradient = torch.zeros(1, 3, 4, 4)
    gradient[0, :, 1, 2] = torch.tensor([0.5, -2.0, 1.0])
    gradient[0, 0, 3, 0] = 1.0
    assert unit_rows(gradient, "max_abs", 4).view(4, 4)[1, 2] == pytest.approx(2 / sqrt(5))
    assert unit_rows(torch.full((1, 2, 2), torch.nan), None, 2).tolist() == [[0.0] * 4]


# --- order ------------------------------------------------------------------------------------------------------------


def plain_kendall(a: list[float], b: list[float]) -> float:
    """Tau-b, pair by pair."""
    same = other = untied_a = untied_b = 0
    for i, j in combinations(range(len(a)), 2):
        x, y = (a[i] > a[j]) - (a[i] < a[j]), (b[i] > b[j]) - (b[i] < b[j])
        same, other = same + (x * y > 0), other + (x * y < 0)
        untied_a, untied_b = untied_a + bool(x), untied_b + bool(y)
    return (same - other) / sqrt(untied_a * untied_b) if untied_a and untied_b else 0.0


def test_kendall():
    assert kendall((3, 1, 2), (0.6, 0.4, 0.5)) == 1
    assert kendall((3, 1, 2), (0.4, 0.5, 0.6)) == pytest.approx(-1 / 3)
    assert kendall((1, 1, 1), (1, 2, 3)) == 0
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 9).tolist(), rng.integers(0, 5, 9).tolist()
        assert kendall(a, b) == pytest.approx(plain_kendall(a, b))


def test_an_interval_of_draws():
    values = np.arange(100.0)
    low, high = bootstrap(lambda at: float(values[at].mean()), 100)
    spread = 1.645 * values.std() / 10
    assert low == pytest.approx(49.5 - spread, abs=0.5) and high == pytest.approx(49.5 + spread, abs=0.5)
    assert bootstrap(lambda at: 3.0, 5) == (3, 3)


# --- the space --------------------------------------------------------------------------------------------------------


def test_every_network_is_in_the_space_once():
    space = Space(SearchSpace.read(WIDE))
    deeplab, fpn, pan = 2 * 2 * 2 * 2, 2 * 2, 2 * 2 * 2
    assert len(space.every) == len(set(space.every)) == len(set(map(str, space.every))) == deeplab + fpn + pan
    for genome in space.every:
        assert (genome.atrous_rates is None) == (genome.architecture != "deeplabv3plus")
        allowed = {"deeplabv3plus": (8, 16), "fpn": (32,), "pan": (16, 32)}[genome.architecture]
        assert genome.output_stride in allowed
        assert Genome.of({**space.recipe(genome), "atrous_rates": genome.atrous_rates}) == genome


def test_children_stay_in_the_space():
    space, rng = Space(SearchSpace.read(WIDE)), np.random.default_rng(0)
    known, reached = set(space.every), set()
    genome = space.draw(rng)
    for _ in range(600):
        child = space.mutate(genome, rng)
        differ = [gene for gene in GENES if getattr(child, gene) != getattr(genome, gene)]
        assert child in known and differ
        assert len(differ) == 1 or "architecture" in differ
        other = space.draw(rng)
        crossed = space.cross(child, other, rng)
        assert crossed in known
        for gene in ("architecture", "backbone", "decoder_channels"):
            assert getattr(crossed, gene) in (getattr(child, gene), getattr(other, gene))
        genome = child
        reached.add(genome)
    assert reached == known
    lone = Space(SearchSpace.read({"architecture": "fpn", "backbone": {"a": False}}))
    assert lone.mutate(lone.every[0], rng) == lone.every[0]


# --- the evolution ----------------------------------------------------------------------------------------------------


def searched(raw: dict, value, seed: int = 0, affordable=lambda genome: True, most: int = 10**6):
    """A search that is judged to its end (or ``most`` networks), with each state on the way."""
    settings = SearchSettings.read({"teacher": "t", "space": WIDE, **raw})
    space, known, states = Space(settings.space), {}, []
    while True:
        states.append(progress(space, settings, seed, affordable, known.get))
        if not states[-1].missing or len(known) >= most:
            return states, known
        genome = states[-1].missing[0]
        known[genome] = value(genome)


def place(genome: Genome) -> int:
    """Sum of the places of its genes in their lists."""
    space = Space(SearchSpace.read(WIDE))
    lists = [("deeplabv3plus", "fpn", "pan"), ("a", "b"), (8, 16, 32), *map(space._values.get, GENES[3:])]
    genes = [getattr(genome, gene) for gene in GENES]
    return sum(of.index(gene) for of, gene in zip(lists, genes, strict=True) if gene in of)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("how", [{}, {"tournament": 3, "crossover": 0.5}, {"offspring": 4}])
def test_the_best_is_found(seed, how):
    raw = {"population": 6, "iterations": 24, "random_search": False, **how}
    states, known = searched(raw, lambda genome: -abs(place(genome) - 5), seed)
    assert max(known.values()) == 0
    assert all(len(state.population) <= 6 for state in states)
    last = states[-1]
    assert known[last.population[0]] == 0 and len({d.genome for d in last.drawn}) == len(last.drawn) <= 30
    for drawn in last.drawn[6:]:
        assert drawn.parents and all(parent in known for parent in drawn.parents)
        assert len(drawn.parents) == 1 or how.get("crossover")


def test_a_search_is_its_seed_and_its_figures_whenever_it_is_looked_at():
    raw = {"population": 4, "iterations": 8, "offspring": 2}
    states, known = searched(raw, place)
    again, half = searched(raw, place, most=7)
    settings = SearchSettings.read({"teacher": "t", "space": WIDE, **raw})
    rest = {genome: known[genome] for genome in half}
    while (state := progress(Space(settings.space), settings, 0, lambda genome: True, rest.get)).missing:
        rest[state.missing[-1]] = known[state.missing[-1]]  # others than the first at work
    assert state.drawn == states[-1].drawn and state.random == states[-1].random and rest == known
    assert searched(raw, place, seed=1)[0][-1].drawn != states[-1].drawn
    assert len(state.random) == 12 and len(set(state.random)) == 12


def test_two_children_of_one_population_can_be_judged_side_by_side():
    raw = {"population": 4, "iterations": 6, "offspring": 3, "random_search": False}
    states, _ = searched(raw, place)
    assert [len(state.missing) for state in states] == [4, 3, 2, 1, 3, 2, 1, 3, 2, 1, 0]


def test_nothing_over_the_budget_is_judged_and_a_small_space_ends():
    raw = {"population": 6, "iterations": 24}
    states, known = searched(raw, place, affordable=lambda genome: genome.architecture != "deeplabv3plus")
    assert {genome.architecture for genome in known} == {"fpn", "pan"}
    assert states[-1].exhausted and len(known) == 12, "all there are"
    assert searched(raw, place, affordable=lambda genome: False)[0][-1].drawn == []


# --- cost -------------------------------------------------------------------------------------------------------------


def counted(network: nn.Module, size: int) -> int:
    """Multiply-adds by the sizes of what convolutions and linear layers give."""
    total = 0

    def add(module, given, made):
        nonlocal total
        each = module.in_features if isinstance(module, nn.Linear) else module.weight[0].numel()
        total += made.numel() * each

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    network.eval()(torch.zeros(1, 3, size, size))
    return total


def test_what_a_network_costs():
    network = Segmenter("deeplabv3plus", "resnet10t", 7).train()
    cost = cost_of(network, 64)
    assert network.training
    assert cost.params == sum(t.numel() for t in network.parameters()) and round(cost.params / 1e6, 2) == 6.08
    assert cost.macs == counted(network, 64)
    assert not cost.within(SearchBudget(params=3)) and cost.within(SearchBudget(params=6.1))
    assert not cost.within(SearchBudget(macs=cost.macs / 1.001e9)) and cost.within(
        SearchBudget(macs=cost.macs / 0.999e9)
    )
    assert Cost(10**9, 10**12).within(SearchBudget())


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet"])
def test_decoders_of_another_width(architecture):
    usual = Segmenter(architecture, "test_resnet", 3)
    slim = Segmenter(architecture, "test_resnet", 3, decoder_channels=64)
    wide = Segmenter(architecture, "test_resnet", 3, decoder_channels=32 if architecture == "pan" else 256)
    sizes = [sum(t.numel() for t in network.parameters()) for network in (usual, slim, wide)]
    assert sizes[0] == sizes[2] and (sizes[1] > sizes[0]) == (architecture == "pan") and sizes[1] != sizes[0]
    assert slim.eval()(torch.zeros(1, 3, 40, 33)).shape == (1, 3, 40, 33)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"space": {"architecture": "pan", "output_stride": [8]}}, "pan, whose output_stride is 16, 32"),
        ({"space": {"architecture": "fpn", "width": [96]}}, "96 must be a multiple of 64"),
        ({"space": {"width": [64, 64]}}, "'space.width' names a value twice"),
        ({"explainer": "smooth-grad", "explainer_options": {"m": 3}}, "no option 'm'"),
        ({"explainer": "cam"}, "Input should be"),
        ({"space": {"width": [40]}}, "multiple of 16"),
        ({"population": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(ValueError, match=said):
        SearchSettings.read({"teacher": "t", **settings})
