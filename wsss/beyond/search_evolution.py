"""Evolutionary search (the loop of Zen-NAS, Lin et al. 2021): draw a parent, change it, judge it, drop the worst.

What is drawn depends on the seed, the number of the draw, and the figures of the genomes before it. So a search is
played through from its beginning whenever it goes on, and tells what it lacks: one that was killed or is shared by
several jobs is that of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from wsss.beyond.search_space import Genome, Space
from wsss.settings import SearchSettings

FIRST, BRED, RANDOM = 1, 2, 3
"""Ends a stream's key, so that purposes never share one."""
TRIES = 500
"""Draws for a genome that is new and within the budget, before it is said that there is none left."""


@dataclass(frozen=True)
class Drawn:
    """A genome, when it was drawn (0: at the start) and what it was bred from."""

    genome: Genome
    iteration: int
    parents: tuple[Genome, ...] = ()


@dataclass
class Progress:
    """How far a search is.

    Attributes:
        drawn: By the evolution, in order.
        random: Drawn at random, for comparison.
        population: The best so far, the best first.
        missing: What has to be judged now; the evolution's own first. Nothing: the search is done.
        exhausted: Whether no further genome was found that is new and within the budget.
    """

    drawn: list[Drawn] = field(default_factory=list)
    random: list[Genome] = field(default_factory=list)
    population: list[Genome] = field(default_factory=list)
    missing: list[Genome] = field(default_factory=list)
    exhausted: bool = False


def progress(
    space: Space,
    settings: SearchSettings,
    seed: int,
    affordable: Callable[[Genome], bool],
    fitness: Callable[[Genome], float | None],
) -> Progress:
    """Play a search through as far as it is known.

    Args:
        space: The genomes.
        settings: Population, iterations and how children are made.
        seed: Of all draws.
        affordable: Whether a genome is within the budget.
        fitness: What a genome is worth; None: not judged yet. Of equal ones the earlier is the better.
    """
    state = Progress()
    if settings.random_search:
        state.random = _random(space, settings, seed, affordable)
    at_random = [genome for genome in state.random if fitness(genome) is None]
    for number in range(settings.population):
        rng = np.random.default_rng((seed, number, FIRST))
        genome = _new(partial(space.draw, rng), affordable, (d.genome for d in state.drawn))
        if genome is None:
            break
        state.drawn.append(Drawn(genome, 0))
    state.missing = [d.genome for d in state.drawn if fitness(d.genome) is None]
    done = 0
    while not state.missing and not state.exhausted and done < settings.iterations and state.drawn:
        values = {d.genome: fitness(d.genome) for d in state.drawn}
        state.population = _best(state.drawn, values, settings.population)
        for number in range(done, min(done + settings.offspring, settings.iterations)):
            child = _child(space, settings, seed, number, state, affordable)
            if child is None:
                state.exhausted = True
                break
            state.drawn.append(child)
        done += settings.offspring
        state.missing = [d.genome for d in state.drawn if fitness(d.genome) is None]
    if not state.missing:
        state.population = _best(state.drawn, {d.genome: fitness(d.genome) for d in state.drawn}, settings.population)
    state.missing += [genome for genome in at_random if genome not in state.missing]
    return state


def _random(space: Space, settings: SearchSettings, seed: int, affordable: Callable[[Genome], bool]) -> list[Genome]:
    """As many genomes as the evolution judges, drawn alike."""
    found: list[Genome] = []
    for number in range(settings.population + settings.iterations):
        rng = np.random.default_rng((seed, number, RANDOM))
        genome = _new(partial(space.draw, rng), affordable, found)
        if genome is None:
            break
        found.append(genome)
    return found


def _best(drawn: list[Drawn], values: dict[Genome, float | None], count: int) -> list[Genome]:
    order = sorted(range(len(drawn)), key=lambda n: (-float(values[drawn[n].genome] or 0.0), n))
    return [drawn[n].genome for n in order[:count]]


def _new(make: Callable[[], Genome], affordable: Callable[[Genome], bool], known: Iterable[Genome]) -> Genome | None:
    """The first genome made that is not known and within the budget."""
    seen = set(known)
    for _ in range(TRIES):
        genome = make()
        if genome not in seen:
            if affordable(genome):
                return genome
            seen.add(genome)
    return None


def _child(
    space: Space,
    settings: SearchSettings,
    seed: int,
    number: int,
    state: Progress,
    affordable: Callable[[Genome], bool],
) -> Drawn | None:
    """The child of an iteration, bred from the population as it is: new, and within the budget."""
    rng = np.random.default_rng((seed, number, BRED))
    population = state.population
    parents: tuple[Genome, ...] = ()

    def parent() -> Genome:
        return population[min(int(rng.integers(len(population))) for _ in range(settings.tournament))]

    def breed() -> Genome:
        nonlocal parents
        parents = (parent(),)
        genome = parents[0]
        if rng.random() < settings.crossover:
            parents = (genome, parent())
            genome = space.cross(*parents, rng)
        return space.mutate(genome, rng)

    genome = _new(breed, affordable, (d.genome for d in state.drawn))
    return None if genome is None else Drawn(genome, number + 1, parents)
