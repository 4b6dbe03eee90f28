"""What ``wsss plan --on DEVICE`` prints: the costs of ``wsss.cli.cost`` stage by stage, and how long all takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.cli.cost import EFFICIENCY, Cost, Model
from wsss.cli.cost_devices import on
from wsss.cli.forecast import History, images_key
from wsss.cli.planned_images import dataset_images, dataset_settings
from wsss.settings import ScenesSettings
from wsss.text import count, table, wrapped
from wsss.workflow.chain import Chain

PUBLISHED = {
    ("voc", "train_aug"): 10582, ("voc", "train"): 1464, ("voc", "val"): 1449, ("voc", "trainval"): 2913,
    ("coco", 2014): (82783, 40504), ("coco", 2017): (118287, 5000),
}  # fmt: skip
"""Images of public lists, for datasets that are not here."""


def tell_images(chain: Chain, history: History, given: Sequence[int] | None) -> list[str]:
    """Tell ``history`` the images of datasets that are not here: those given, else those of published lists.

    Args:
        given: Training images, and validation images; without the latter a tenth of the former.

    Returns:
        What was told, in words.
    """
    said = []
    for dataset in chain.config.dataset:
        settings = chain.config.recipes["datasets"][dataset]
        if given is None and dataset_images(chain, dataset, history) is not None:
            continue
        train, val = (PUBLISHED.get((settings.kind, getattr(settings, split, ""))) for split in ("train", "val"))
        if settings.kind == "coco":
            train, val = PUBLISHED["coco", settings.year]  # type: ignore[misc]
        if given is not None:
            train, val = given[0], given[1] if len(given) > 1 else max(1, given[0] // 10)
        if train is not None and val is not None and not isinstance(settings, ScenesSettings):
            history.images[images_key(dataset_settings(chain, dataset))] = {"train": train, "val": val}  # type: ignore[dict-item]
            origin = "given" if given is not None else "of the published lists; the files are not here"
            said.append(f"{dataset}: {train} training and {val} validation images ({origin}).")
    return said


def makespan(costs: Sequence[Cost], gpus: int) -> float:
    """Hours until all is made with ``gpus`` GPUs: each job begins when what it needs is there and a GPU is free, the
    one with the longest way before it first. Jobs without a network wait for no GPU. A training takes one GPU."""
    ahead: dict[str, float] = {}
    for one in reversed(costs):  # each after those it needs
        behind = [ahead[other.folder] for other in costs if one.folder in other.inputs and other.folder in ahead]
        ahead[one.folder] = (one.hours or 0.0) + max(behind, default=0.0)
    ends: dict[str, float] = {}
    free = [0.0] * gpus
    waiting = sorted(costs, key=lambda one: -ahead[one.folder])
    folders = {one.folder for one in costs}
    while waiting:
        able = [one for one in waiting if all(need in ends or need not in folders for need in one.inputs)]

        def begin(one: Cost) -> float:
            ready = max((ends[need] for need in one.inputs if need in ends), default=0.0)
            return max(ready, min(free)) if one.gpu and one.hours else ready

        chosen = min(able, key=begin)  # of equals the first, which has the longest way before it
        start = begin(chosen)
        ends[chosen.folder] = start + (chosen.hours or 0.0)
        if chosen.gpu and chosen.hours:
            free[free.index(min(free))] = ends[chosen.folder]
        waiting.remove(chosen)
    return max(ends.values(), default=0.0)


def printed(
    chain: Chain, name: str, target: str, gpus: int, given: Sequence[int] | None, price: float | None = None
) -> Iterator[str]:
    """The lines of ``wsss plan --on``.

    Args:
        chain: The configuration.
        name: Of the device, as ``--on`` has it.
        target: What is to be made.
        gpus: How many there are.
        given: As for ``tell_images``.
        price: Of an hour of one of them, in any currency; None: costs are left out.

    Raises:
        WsssError: Nothing tells how many images a dataset has.
    """
    history = History([Path(chain.config.results)])
    told = tell_images(chain, history, given)
    device = on(name)
    model = Model(chain, device, history, lambda text: print(f"{text} ...", file=sys.stderr, flush=True))
    costs = [model.cost(job) for job in chain.wanted(target)]
    rows: dict[tuple[str, str], list[Cost]] = {}
    for one in costs:
        rows.setdefault((one.job.rule, str(one.job.name or "")), []).append(one)
    counted = [every for every in rows.values() if every[0].hours is not None]
    lines, large = [], []
    for every in counted:
        first, hours = every[0], sum(one.hours or 0.0 for one in every)
        peak = max((one.peak for one in every if one.peak is not None), default=None)
        label = f"{first.job.rule} {first.job.name}"
        if first.gpu and peak is not None and peak > device.memory:
            large.append(f"{label} ({peak:.0f} GiB)")
        own = f"{hours:.2f}" if hours >= 0.005 else "<0.01"
        lines.append(
            [label, own if first.gpu else "-", "-" if first.gpu else own, "-" if peak is None else f"{peak:.1f}",
             *([f"{hours * price:.2f}" if first.gpu else "-"] if price is not None else []), first.limit]
        )  # fmt: skip
    noun = "CPU" if name == "cpu" else "GPU"
    yield f"{chain.title} on {device.name}: a model, from counted operations; no {noun} has checked it yet."
    for text in told:
        yield from wrapped(text, "", "  ")
    yield ""
    head = ["stage", "network hours" if name == "cpu" else "GPU hours", "CPU hours", "peak GiB"]
    costly = ["cost"] if price is not None else []
    yield from table([*head, *costly, "limited by"], lines, right=(1, 2, 3, 4) if costly else (1, 2, 3))
    yield ""
    busy = sum(one.hours or 0.0 for one in costs if one.gpu)
    alone = makespan(costs, 1)
    yield f"Networks: {busy:.1f} hours of {noun}. On one {noun} {alone:.1f} hours from beginning to end" + (
        f", on {gpus} {makespan(costs, gpus):.1f} (each training on one of them)." if gpus > 1 else "."
    )
    if price is not None:
        paid = gpus * (makespan(costs, gpus) if gpus > 1 else alone)
        yield from wrapped(
            f"At {price:g} an hour of a {noun}: {busy * price:.2f} for the networks' hours, {paid * price:.2f} where "
            f"{'each' if gpus > 1 else 'it'} is paid from beginning to end.", "", "  ",
        )  # fmt: skip
    if large:
        yield from wrapped(
            f"More than {device.memory:.0f} GiB: {', '.join(large)}. Lower 'batch_size' and raise 'accumulate', or "
            "take a smaller backbone or crop.", "! ", "  ",
        )  # fmt: skip
    modelled = {every[0].job.rule for every in counted}
    left = sorted(
        {f"{j.rule} {j.name}" if j.rule in modelled else j.rule for j in (c.job for c in costs if c.hours is None)}
    )
    if left:
        yield from wrapped(f"Not in the model: {', '.join(left)}.", "", "  ")
    yield from wrapped(
        f"Assumed: {EFFICIENCY['training']:.0%} of the least time's speed in trainings, {EFFICIENCY['inference']:.0%} "
        f"in inference; {count(device.cores, 'core')} a job; starts of jobs are left out.", "", "  ",
    )  # fmt: skip
