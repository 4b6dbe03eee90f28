"""``continual.md``: steps of class-incremental learning in tables, and in words whether an explanation was worth it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from wsss.evaluate.forgetting import forgetting, mean_over
from wsss.report.markdown import markdown
from wsss.settings.memories import BY_EXPLANATION

BACKGROUND = "background"
INTRODUCTION = """\
A network that learns new classes forgets earlier ones. Each row is one way to go on from the same network: *old*
classes are those that it knew, *new* ones those of the step, *all* both and the background. **Forgetting**: mean over
the old classes of the IoU when they had just been learnt minus that of now, in points. **Boundary**: boundary IoU of
the old classes (near contours alone). **KiB** are of encoded bytes, images, labels and boxes together; compare rows of
one budget. **In full**: share of the exemplars' object pixels that is stored in full. **Fidelity**: mIoU of the old
network on the decompressed exemplars with their labels; no substitute for training, since it counts no exemplars.
Values are percentages over validation images; mean ± standard deviation over seeds.
"""


@dataclass(frozen=True)
class Learnt:
    """A network after a step, of one seed.

    Attributes:
        after: The recipe of the network before; None: this is a first step.
        own: Names of the classes of its step.
        known: Names of all that it knows.
        memory: The recipe of the memory; None: none.
        settings: The recipe's settings.
        iou, boundary: Class -> value as a fraction, None where it does not occur; IoU also of the background.
    """

    recipe: str
    seed: int
    after: str | None
    own: tuple[str, ...]
    known: tuple[str, ...]
    memory: str | None
    settings: dict[str, Any] = field(repr=False, default_factory=dict)
    iou: dict[str, float | None] = field(default_factory=dict)
    boundary: dict[str, float | None] = field(default_factory=dict)

    @property
    def old(self) -> tuple[str, ...]:
        """Names of the classes that were known before."""
        return tuple(name for name in self.known if name not in self.own)


@dataclass(frozen=True)
class Memory:
    """A memory of one seed: what its ``metrics.json`` tells, and its settings."""

    recipe: str
    seed: int
    metrics: dict[str, Any]
    settings: dict[str, Any]


def figures(one: Learnt, every: Iterable[Learnt]) -> dict[str, float | None]:
    """Figures of a network, as fractions; ``every``: networks among which those before it are."""
    mine = {other.recipe: other for other in every if other.seed == one.seed}
    learnt: dict[str, float | None] = {}
    before = mine.get(one.after or "")
    while before is not None:
        learnt |= {name: before.iou.get(name) for name in before.own}
        before = mine.get(before.after or "")
    return {
        "miou_old": mean_over(one.iou, one.old),
        "miou_new": mean_over(one.iou, one.own),
        "miou_all": mean_over(one.iou, [BACKGROUND, *one.known]),
        "forgetting": forgetting({name: learnt.get(name) for name in one.old}, one.iou),
        "boundary_old": mean_over(one.boundary, one.old),
        "boundary_all": mean_over(one.boundary, one.known),
    }


def page(dataset: str, found: Sequence[Learnt], memories: Sequence[Memory]) -> str:
    """``continual.md``."""
    parts = [f"# Steps of learning: {dataset}\n", INTRODUCTION]
    by_step: dict[tuple[str | None, tuple[str, ...]], list[Learnt]] = {}
    for one in found:
        by_step.setdefault((one.after, one.own), []).append(one)
    for (after, own), group in by_step.items():
        what = "First step" if after is None else f"After {after}"
        parts.append(f"## {what}: {', '.join(own)}\n")
        parts.append(step_table(group, found, memories))
        if after is not None:
            parts += verdicts(group, found, memories)
    if memories:
        parts += ["## Memories\n", memory_table(memories)]
    return "\n".join(parts)


def step_table(group: Sequence[Learnt], every: Sequence[Learnt], memories: Sequence[Memory]) -> str:
    """A row per recipe, by budget."""
    heads = ["recipe", "memory", "KiB", "exemplars", "old", "new", "all", "forgetting", "boundary"]
    rows = []
    for recipe, seeds in by_recipe(group, memories):
        mine = of_memory(seeds, memories)
        values = [figures(one, every) for one in seeds]
        row = [recipe, told_memory(mine), told([one.metrics["bytes"] for one in mine], 1 / 1024, 0)]
        row.append(told([one.metrics["exemplars"] for one in mine], 1, 0))
        for name in ("miou_old", "miou_new", "miou_all", "forgetting", "boundary_old"):
            row.append(told([value[name] for value in values], 100))
        rows.append(row)
    return markdown(heads, rows)


def by_recipe(group: Iterable[Learnt], memories: Sequence[Memory]) -> list[tuple[str, list[Learnt]]]:
    """Recipes with their seeds: without a memory first, then by budget, within one as in the configuration."""
    found: dict[str, list[Learnt]] = {}
    for one in group:
        found.setdefault(one.recipe, []).append(one)
    return sorted(found.items(), key=lambda pair: budget_of(pair[1], memories))


def budget_of(seeds: Sequence[Learnt], memories: Sequence[Memory]) -> float:
    """Budget in KiB: 0 without a memory, infinite without a limit."""
    mine = of_memory(seeds, memories)
    if not mine:
        return 0.0
    budget = mine[0].settings["budget_kib"]
    return float("inf") if budget is None else float(budget)


def of_memory(seeds: Sequence[Learnt], memories: Sequence[Memory]) -> list[Memory]:
    """The memories that networks replayed."""
    wanted = {(one.memory, one.seed) for one in seeds}
    return [one for one in memories if (one.recipe, one.seed) in wanted]


def told_memory(memories: Sequence[Memory]) -> str:
    """What a memory stores, in a few words."""
    if not memories:
        return "none"
    s = memories[0].settings
    quality = "PNG" if s["lossless"] else "copied" if s["quality"] is None else f"q{s['quality']}"
    if s["method"] == "whole":
        return f"whole {quality}"
    if s["method"] == "uniform":
        return f"whole/{s['factor']} {quality}"
    maps = f" by {s['cams'] or s['explainer']}" if s["method"] in BY_EXPLANATION else ""
    if s["method"] == "crop":
        return f"crop {quality}{maps}"
    context = f"whole/{s['factor']}" if s["context"] == "resolution" else f"whole q{s['context_quality']}"
    return f"{s['method']} {quality} on {context}{maps}"


def verdicts(group: Sequence[Learnt], every: Sequence[Learnt], memories: Sequence[Memory]) -> list[str]:
    """For each budget a sentence: whether an explanation was worth it."""
    best: dict[float, dict[bool, tuple[float, str, dict[int, float]]]] = {}
    for recipe, seeds in by_recipe(group, memories):
        mine = of_memory(seeds, memories)
        values = {one.seed: v for one in seeds if (v := figures(one, every)["miou_old"]) is not None}
        if not mine or not values or mine[0].settings["method"] == "true-box":
            continue
        explained = mine[0].settings["method"] in BY_EXPLANATION
        at = best.setdefault(budget_of(seeds, memories), {})
        if explained not in at or fmean(values.values()) > at[explained][0]:
            at[explained] = (fmean(values.values()), recipe, values)
    return [sentence(budget, at[True], at[False]) for budget, at in best.items() if len(at) == 2]


def sentence(
    budget: float, explained: tuple[float, str, dict[int, float]], other: tuple[float, str, dict[int, float]]
) -> str:
    """Whether the best memory by an explanation beats the best one without, at one budget."""
    gains = [100 * (value - other[2][seed]) for seed, value in explained[2].items() if seed in other[2]]
    size = "without a limit" if budget == float("inf") else f"at {budget:g} KiB"
    worth = "worth it" if gains and min(gains) > 0 else "not worth it"
    seeds = "one seed" if len(gains) == 1 else f"{len(gains)} seeds"
    gain = f"{fmean(gains):+.1f}" if gains else "?"
    return (
        f"**{size[0].upper()}{size[1:]}: {worth}.** The best memory by an explanation ({explained[1]}) has {gain} "
        f"points of the old classes' mIoU over the best one without ({other[1]}), in {seeds}; worth it means more in "
        "each.\n"
    )


def memory_table(memories: Sequence[Memory]) -> str:
    """A row per memory."""
    grouped: dict[str, list[Memory]] = {}
    for one in memories:
        grouped.setdefault(one.recipe, []).append(one)
    heads = ["memory", "of", "what", "budget KiB", "KiB", "exemplars", "KiB each", "boxes", "in full", "fidelity"]
    rows = []
    for recipe, group in grouped.items():
        s, budget = group[0].settings, group[0].settings["budget_kib"]
        rows.append(
            [
                recipe,
                s["segmenter"],
                told_memory(group),
                "–" if budget is None else f"{budget:g}",
                told([one.metrics["bytes"] for one in group], 1 / 1024, 0),
                told([one.metrics["exemplars"] for one in group], 1, 0),
                told([one.metrics["mean_bytes"] for one in group], 1 / 1024),
                told([one.metrics["box_share"] for one in group], 100, 0),
                told([one.metrics["object_recall"] for one in group], 100, 0),
                told([one.metrics["fidelity"] for one in group], 100),
            ]
        )
    return markdown(heads, rows)


def told(values: Sequence[float | None], factor: float = 1, digits: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    known = [value * factor for value in values if value is not None]
    if not known:
        return "–"
    return f"{fmean(known):.{digits}f}" + (f" ± {stdev(known):.{digits}f}" if len(known) > 1 else "")
