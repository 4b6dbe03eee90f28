"""The stage ``searches``: all searches of a dataset in tables, with what they were worth.

Writes ``searches.csv`` (a row per search, seed, subject and figure) and ``searches.md`` for people: what each search
judged and found, whether networks that are rated higher turn out better when they are trained in full (Kendall's tau),
a verdict in words, and the front of mIoU against cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.evaluate.ranking import bootstrap, kendall
from wsss.report.markdown import markdown
from wsss.report.provenance import read_scored
from wsss.report.table_files import write_tables
from wsss.runtime.run import Run
from wsss.settings import FITNESS
from wsss.store.found import position_of, read_found
from wsss.store.manifest import read_manifest
from wsss.text import duration, listed

COLUMNS = ("dataset", "search", "seed", "subject", "metric", "value")
ORDERED = (*FITNESS, "macs")
"""What networks can be rated by: the five kinds of fitness, and the number of multiply-adds."""
RIVALS = tuple(name for name in ORDERED if name != "explanation")
FEWEST = 3
"""Networks trained in full that say anything about an order."""
INTRODUCTION = """\
Are networks good students whose explanations are the teacher's? Each network of a search was trained for a few steps
on the teacher's predictions, and rated by how much its maps are like the teacher's (*explanation*), and by what is
cheaper: cross entropy with the teacher's predictions (*loss*), mIoU with them (*agreement*), the number of parameters
(*params*) and of multiply-adds (*macs*), chance (*random*). Some were then trained in full. **Tau** (Kendall's, tau-b)
says how much the order of a rating is that of the final mIoU: 1 the same, 0 unrelated, -1 reversed; in brackets the
interval of 90 % over networks (bootstrap). Explanations pay only where the intervals of their lead over **all** other
ratings are above 0.
"""


@dataclass(frozen=True)
class Found:
    """A folder of the stage ``search``; ``seconds`` of each network, in the order of their ranks."""

    folder: Path
    recipe: str
    seed: int
    ranked: dict[str, Any]
    settings: dict[str, Any]
    seconds: list[float]

    def took(self, way: str) -> float:
        """Seconds of the networks that were drawn by the evolution, or at random."""
        pairs = zip(self.ranked["networks"], self.seconds, strict=True)
        return sum(seconds for network, seconds in pairs if way in network["drawn"])

    def best(self, way: str) -> float | None:
        """Fitness of the best network that was drawn so; None where none was."""
        rank = self.ranked["best"][way]
        return None if rank is None else float(self.ranked["networks"][rank][self.ranked["fitness"]])


@dataclass(frozen=True)
class Trained:
    """A network that was trained in full; ``network`` as in ``ranked.json``, ``rank`` None for the teacher."""

    name: str
    rank: int | None
    network: dict[str, Any]
    miou: float
    seconds: float


def read_searched(folder: Path) -> Found:
    """Raises ``WsssError`` for a folder that is no whole search."""
    ranked, manifest = read_found(folder), read_manifest(folder)
    try:
        seconds = [float(one) for one in manifest["judging_seconds"]]
        return Found(folder, folder.name, int(manifest["seed"]), ranked, manifest["settings"], seconds)
    except (ValueError, KeyError) as error:
        raise WsssError(f"{folder}: no whole search ({error!r}); run stages/search.py again") from None


def make(run: Run) -> None:
    """Write the tables of a run of ``stages/searches.py``."""
    index = Index.load(run.inputs["index"])
    dataset = run.args.dataset or index.name
    searches = [read_searched(folder) for folder in run.several("searches")]
    scores = {(one.recipe, one.seed): miou_of(one.content) for one in map(read_scored, run.several("scores"))}
    networks = [(folder, read_manifest(folder)) for folder in run.several("segmenters")]
    pairs = [(search, trained_by(search, networks, scores)) for search in searches]
    rows = [row for pair in pairs for row in long_form(dataset, *pair)]
    write_tables(run, "searches", COLUMNS, rows, page(dataset, pairs), searches=len(searches))


def miou_of(content: dict[str, Any]) -> float | None:
    """mIoU of predictions on the validation images, or on those that there are; None without ground truth."""
    splits = content["splits"]
    split: dict[str, Any] = splits.get("val") or next(iter(splits.values()), {})
    value = split.get("policies", {}).get("", {}).get("miou")
    return None if value is None else float(value)


def trained_by(
    search: Found, networks: Iterable[tuple[Path, dict[str, Any]]], scores: dict[tuple[str, int], float | None]
) -> list[Trained]:
    """What was trained in full of a search, and its teacher, each with ground truth to be scored by; the smallest
    number of multiply-adds first."""
    found = []
    for folder, manifest in networks:
        settings, seed = manifest["settings"], int(manifest["seed"])
        miou = scores.get((folder.name, seed))
        if seed != search.seed or miou is None:
            continue
        seconds = float(manifest.get("training_seconds", 0))
        if folder.name == search.settings["teacher"]:
            found.append(Trained(folder.name, None, search.ranked["teacher"], miou, seconds))
        elif settings.get("architecture_from") == search.recipe:
            rank = position_of(search.folder, search.ranked, settings["rank"])
            found.append(Trained(folder.name, rank, search.ranked["networks"][rank], miou, seconds))
    return sorted(found, key=lambda one: (one.network["macs"], one.name))


def compared(trained: Sequence[Trained]) -> list[Trained]:
    """The students among them, each network once."""
    once = {one.rank: one for one in reversed(trained) if one.rank is not None}
    return sorted(once.values(), key=lambda one: one.rank or 0)


@dataclass(frozen=True)
class Order:
    """How a rating orders networks that were trained in full: tau and its interval, and by how much explanations lead
    over it (None for explanations themselves)."""

    tau: float
    interval: tuple[float, float]
    lead: float | None = None
    lead_interval: tuple[float, float] | None = None


def orders(students: Sequence[Trained]) -> dict[str, Order]:
    """Of each rating; empty for fewer than three networks."""
    if len(students) < FEWEST:
        return {}
    miou = np.array([one.miou for one in students])
    values = {name: np.array([float(one.network[name]) for one in students]) for name in ORDERED}

    def tau(name: str, at: np.ndarray) -> float:
        return kendall(values[name][at], miou[at])

    def order(name: str) -> Order:
        told = tau(name, everything), bootstrap(lambda at: tau(name, at), len(students))
        if name == "explanation":
            return Order(*told)
        lead = tau("explanation", everything) - told[0]
        return Order(*told, lead, bootstrap(lambda at: tau("explanation", at) - tau(name, at), len(students)))

    everything = np.arange(len(students))
    return {name: order(name) for name in ORDERED}


def verdict(found: dict[str, Order]) -> str:
    """Whether explanations pay, in words."""
    if not found:
        return (
            f"**No verdict**: fewer than {FEWEST} networks of this search were trained in full and scored (recipes of "
            "'segmenters' with 'architecture_from'); ten or more make the intervals narrow.\n"
        )
    agreement = found["agreement"]
    assert agreement.lead is not None and agreement.lead_interval is not None  # it is a rival
    low, high = agreement.lead_interval
    told = f"Explanations add tau = {agreement.lead:+.2f} (90 %: {low:+.2f} to {high:+.2f}) over agreement. "
    unbeaten = [name for name in RIVALS if (interval := found[name].lead_interval) is None or interval[0] <= 0]
    if unbeaten:
        return told + f"**The method does not pay here**: explanations are not surely better than {listed(unbeaten)}.\n"
    return told + "**The method pays here**: explanations are better than every other rating.\n"


def on_front(trained: Sequence[Trained], cost: str = "macs") -> set[str]:
    """Names of those that none is better than at the same cost or less."""
    return {
        one.name
        for one in trained
        if not any(
            other.network[cost] <= one.network[cost]
            and other.miou >= one.miou
            and (other.network[cost] < one.network[cost] or other.miou > one.miou)
            for other in trained
        )
    }


def page(dataset: str, pairs: Sequence[tuple[Found, list[Trained]]]) -> str:
    """``searches.md``."""
    parts = [f"# Searches: {dataset}\n", INTRODUCTION]
    for search, trained in pairs:
        found = orders(compared(trained))
        parts += [f"## {search.recipe}, seed {search.seed}\n", said(search), verdict(found)]
        parts += [ratings(found)] if found else []
        parts += [f"Trained in full, the cheapest first (*: on the front):\n\n{in_full(trained)}"] if trained else []
    return "\n".join(parts)


def said(search: Found) -> str:
    """What a search did, in sentences."""
    ranked, settings = search.ranked, search.settings
    judged, best = ranked["judged"], {way: search.best(way) for way in ("evolution", "random")}
    rows, zeros = (sum(one[key] for one in ranked["networks"]) for key in ("rows", "zero_maps"))
    text = (
        f"Chosen by {ranked['fitness']}; maps of {settings['explainer']}, compared by {settings['similarity']}; "
        f"{settings['warm_steps']} steps. The evolution judged {judged['evolution']} networks in "
        f"{duration(search.took('evolution'))}; the best has {ranked['fitness']} {best['evolution']:.4g}."
    )
    if best["random"] is not None:
        verb = "more" if best["random"] > (best["evolution"] or 0) else "no more"
        text += (
            f" As many drawn at random ({judged['random']}, {duration(search.took('random'))}) came to "
            f"{best['random']:.4g}, {verb} than that."
        )
    text += f" The teacher's regions alone, blurred, score {ranked['teacher']['region']:.4g} as if they were maps."
    text += f" Maps of zeros: {100 * zeros / max(1, rows):.1f} %."
    return text + (" No further network was new and within the budget.\n" if ranked["exhausted"] else "\n")


def ratings(found: dict[str, Order]) -> str:
    """A row per rating."""
    rows = []
    for name, order in found.items():
        lead = ""
        if order.lead is not None and order.lead_interval is not None:
            lead = f"{order.lead:+.2f} ({order.lead_interval[0]:+.2f} to {order.lead_interval[1]:+.2f})"
        low, high = order.interval
        rows.append([name, f"{order.tau:+.2f} ({low:+.2f} to {high:+.2f})", lead])
    return markdown(["rating", "tau with mIoU (90 %)", "lead of explanations (90 %)"], rows)


def in_full(trained: Sequence[Trained]) -> str:
    """A row per network that was trained in full."""
    front = on_front(trained)
    heads = [
        "recipe",
        "rank",
        "network",
        "M parameters",
        "G multiply-adds",
        "explanation",
        "agreement",
        "mIoU",
        "trained",
    ]
    rows = []
    for one in trained:
        network = one.network
        ratings = [f"{network[name]:.3f}" if name in network else "" for name in ("explanation", "agreement")]
        rows.append(
            [
                one.name + (" *" if one.name in front else ""),
                "teacher" if one.rank is None else one.rank,
                network.get("genome", ""),
                f"{network['params'] / 1e6:.2f}",
                f"{network['macs'] / 1e9:.3f}",
                *ratings,
                f"{100 * one.miou:.1f}",
                duration(one.seconds),
            ]
        )
    return markdown(heads, rows)


def long_form(dataset: str, search: Found, trained: Sequence[Trained]) -> list[tuple[Any, ...]]:
    """Rows of ``searches.csv``: nothing that no two runs agree on."""
    head = (dataset, search.recipe, search.seed)
    rows: list[tuple[Any, ...]] = []
    for way in ("evolution", "random"):
        rows += [(*head, way, "judged", search.ranked["judged"][way]), (*head, way, "best", search.best(way))]
    rows.append((*head, "region", "explanation", search.ranked["teacher"]["region"]))
    for name, order in orders(compared(trained)).items():
        told = {"tau": order.tau, "tau_low": order.interval[0], "tau_high": order.interval[1]}
        if order.lead is not None and order.lead_interval is not None:
            told |= {"lead": order.lead, "lead_low": order.lead_interval[0], "lead_high": order.lead_interval[1]}
        rows += [(*head, name, metric, value) for metric, value in told.items()]
    front = on_front(trained)
    for one in trained:
        facts = {"rank": one.rank, "miou": one.miou, "on_front": one.name in front}
        facts |= {name: one.network[name] for name in ORDERED if name in one.network}
        rows += [(*head, one.name, metric, value) for metric, value in facts.items()]
    return rows
