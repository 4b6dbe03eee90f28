"""``wsss plan``: the jobs of a configuration, and what they will take."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.cli.cost_devices import DEVICES
from wsss.cli.flags import add_configfile
from wsss.cli.forecast import MODELLED_HERE, Forecast, History, Past, dataset_key, past
from wsss.cli.planned_images import TOGETHER, dataset_settings, images_of
from wsss.errors import WsssError
from wsss.provenance.versions import ROOT
from wsss.steps import STEPS
from wsss.store.artefact import load
from wsss.text import count, duration, memory, table, wrapped
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.jobs import Job
from wsss.workflow.remarks import remarks
from wsss.workflow.rerun import jobs_to_rerun
from wsss.workflow.resources import NEEDS
from wsss.workflow.staleness import BACK, Staleness


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss plan``."""
    add_configfile(parser)
    parser.add_argument("--jobs", action="store_true", help="list every job to do, with the reason")
    for target in ("ablation", "explain", "beyond"):
        parser.add_argument(
            f"--{target}", action="store_const", dest="target", const=target, default="all",
            help=f"plan the target '{target}' in place of the default run",
        )  # fmt: skip
    parser.add_argument("--device", metavar="TEXT", help="go by runs on devices whose name contains this (H100, Xeon)")
    parser.add_argument(
        "--history", action="append", type=Path, default=[], metavar="DIR",
        help="another results folder to learn times from; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--on", choices=(*DEVICES, "cpu"),
        help="model the whole run on that device from counted operations, in place of earlier runs",
    )  # fmt: skip
    parser.add_argument("--gpus", type=int, metavar="N", help="with --on: how many of them")
    parser.add_argument(
        "--images", type=int, nargs="+", metavar="N",
        help="with --on: training images, and validation images, of a dataset that is not here",
    )  # fmt: skip
    parser.add_argument(
        "--price-per-hour", type=float, metavar="P", help="with --on: of one of them, in any currency, for the cost"
    )


MODELLED = frozenset(
    "classifier cams saliency saliency_maps saliency_masks affinity affinity_labels walk masks segmenter "
    "segmenter_masks predictions".split()
)
"""Rules that the model of ``--on`` has something to say of."""
CORES = 8
"""Cores of a job on a cluster, where nobody says otherwise (``max-threads`` of the profile)."""


@dataclass
class PlannedJob:
    """What makes an artefact: why it has to run (nothing: it is done), on how many images, and what it takes or took;
    where ``shards`` jobs share the images, all of them together."""

    job: Job
    folder: str
    reasons: list[str]
    images: int | None
    forecast: Forecast
    inputs: list[str] = field(default_factory=list)
    shards: int = 1

    @property
    def done(self) -> bool:
        """Whether nothing has to run."""
        return not self.reasons

    @property
    def seconds(self) -> float | None:
        """Wall time of one of the jobs."""
        return None if self.forecast.seconds is None else self.forecast.seconds / self.shards


@dataclass(frozen=True)
class Asked:
    """What a rule asks a cluster for: memory in MB, minutes, GPUs; None where the rule does not say it in numbers."""

    megabytes: int | None = None
    minutes: int | None = None
    gpus: int | None = None

    def __str__(self) -> str:
        parts = [
            f"{self.megabytes} MB" if self.megabytes else "",
            duration(60 * self.minutes) if self.minutes else "",
            f"{self.gpus} GPU" if self.gpus else "",
        ]
        return ", ".join(filter(None, parts)) or "-"


def plan(args: argparse.Namespace) -> int:
    """Print jobs, images, time and memory. Raises ``WsssError`` where the configuration has problems."""
    chain = Chain.read(args.configfile)
    if args.on is not None:
        return modelled(chain, args)
    if args.gpus is not None or args.images is not None or args.price_per_hour is not None:
        raise WsssError(
            "--gpus, --images and --price-per-hour go with --on, the model of a run; 'wsss plan --on h100 --gpus 4'"
        )
    for folder in args.history:
        if not folder.is_dir():
            raise WsssError(f"--history {folder}: no such folder")
    history = History([Path(chain.config.results), *args.history], args.device)
    judge = Staleness(chain, checkout())
    entries = list(planned(chain, judge, history, args.target))
    if args.device is None:
        add_modelled(chain, history, entries)
    asked = asked_by_rules()
    for dataset in chain.config.dataset:
        mine = [one for one in entries if one.job.dataset == dataset]
        done = sum(one.done for one in mine)
        print(f"{chain.base(dataset)} ({chain.title}): {done} of {count(len(mine), 'job')} done\n")
        print("\n".join([*_table(mine, asked), ""]))
    if args.jobs:
        print("\n".join([*_listed(entries), ""]))
    print("\n".join(_totals(entries, asked, judge)))
    return 0


def modelled(chain: Chain, args: argparse.Namespace) -> int:
    """Print the model of a run on a device. Raises ``WsssError`` where the images cannot be counted."""
    gpus = 1 if args.gpus is None else args.gpus
    if gpus < 1 or any(number < 1 for number in args.images or ()) or len(args.images or ()) > 2:
        raise WsssError("--gpus N and --images TRAIN [VAL] take numbers from 1 on, --images one or two")
    if args.price_per_hour is not None and not 0 <= args.price_per_hour < math.inf:
        raise WsssError(f"--price-per-hour {args.price_per_hour:g}: a price is a number from 0 on")
    from wsss.cli.cost_table import printed  # torch

    print("\n".join(printed(chain, args.on, args.target, gpus, args.images, args.price_per_hour)))
    return 0


def planned(chain: Chain, judge: Staleness, history: History, target: str) -> Iterator[PlannedJob]:
    """Every job of a target, in an order in which they can run: what is left to do, and what it is expected to take."""
    jobs = chain.wanted(target)
    stale = judge.stale(chain.folder(job) for job in jobs if job.rule in TOGETHER)
    for job in jobs:
        folder = chain.folder(job)
        reasons = stale.get(Path(os.path.abspath(folder)), [])
        settings = chain.settings(job)
        values = settings.model_dump(mode="json") if settings is not None else {}
        images = images_of(chain, job, settings, history)
        if reasons:
            wanted = Past(
                task=f"scores of {job.kind}" if job.rule == "scores" else job.rule,
                settings=values,
                dataset=dataset_key(dataset_settings(chain, job.dataset)),
                index=Path(os.path.abspath(f"{chain.base(job.dataset)}/index")),
                work=images * values.get("epochs", 1) if images is not None else None,
            )
            forecast = Forecast(1.0, basis="kept") if reasons == [BACK] else history.forecast(wanted)
        else:
            forecast = measured(folder)
        yield PlannedJob(job, folder, reasons, images, forecast, list(chain.inputs(job).values()), chain.shards(job))


def add_modelled(chain: Chain, history: History, entries: Sequence[PlannedJob]) -> None:
    """Give jobs that no earlier run tells the time of what the model expects, where it can."""
    open_ = [one for one in entries if not one.done and one.forecast.seconds is None and one.images is not None]
    asked = [one.job for one in open_ if one.job.rule in MODELLED]
    if asked:
        from wsss.cli.modelled import on_this_machine  # torch

        told = on_this_machine(chain, asked, history)
        for one in open_:
            one.forecast = told.get(one.folder, one.forecast)


def measured(folder: str) -> Forecast:
    """What a job that is done took. One that is gone but that nothing needs counts as done too."""
    try:
        run = past(load(folder))
    except WsssError:
        return Forecast(basis="gone, but not needed")
    if run is None:
        return Forecast(basis="done, time not recorded")
    return Forecast(run.seconds, run.mib, run.gpu_mib, "done", run.device)


def asked_by_rules() -> dict[str, Asked]:
    """Rule name to what it asks for with ``CORES`` cores, at the first try."""
    return {rule: Asked(need.memory(1, CORES), need.minutes, 1 if need.gpu else None) for rule, need in NEEDS.items()}


def _by_stage(entries: list[PlannedJob]) -> dict[str, list[PlannedJob]]:
    order = ["index", *STEPS, "scores", *TOGETHER]
    present = {one.job.rule for one in entries}
    return {rule: [one for one in entries if one.job.rule == rule] for rule in order if rule in present}


def _span(values: Sequence[float], text: Callable[[Any], str]) -> str:
    """One value, or the smallest and the largest."""
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"


def _table(entries: list[PlannedJob], asked: dict[str, Asked]) -> list[str]:
    rows = []
    for rule, every in _by_stage(entries).items():
        todo = [one for one in every if not one.done]
        told = [one for one in todo or every if one.seconds is not None]
        unknown = len(todo or every) - len(told)
        time = _span([one.seconds for one in told if one.seconds is not None], duration) if told else "unknown"
        shards = sum(one.shards for one in todo if one.shards > 1)
        time += f" ({unknown} unknown)" if told and unknown else ""
        peaks = [one.forecast.mib for one in told if one.forecast.mib is not None]
        peak = _span(peaks, memory) if peaks else "unknown"
        on_gpu = [one.forecast.gpu_mib for one in told if one.forecast.gpu_mib is not None]
        peak += f", GPU {memory(max(on_gpu))}" if on_gpu else ""
        numbers = [one.images for one in todo or every if one.images is not None]
        images = _span(numbers, str) if numbers else "unknown"
        images = "-" if rule in TOGETHER else images
        basis = ", ".join(dict.fromkeys(one.forecast.basis for one in todo or every))
        rows.append(
            [
                rule,
                f"{len(todo)} by {shards} shards" if shards else str(len(todo)),
                str(len(every) - len(todo)),
                images,
                time,
                peak,
                str(asked.get(rule, Asked())),
                basis,
            ]
        )
    head = ["stage", "to do", "done", "images", "time a job", "memory", "its rule asks for", "known from"]
    return table(head, rows, right=(1, 2, 3))


def _listed(entries: list[PlannedJob]) -> Iterator[str]:
    """Every job to do, with the first reason."""
    todo = [one for one in entries if not one.done]
    yield "Jobs to do, in an order in which they can run:" if todo else "No job to do."
    for one in todo:
        more = f" (and {len(one.reasons) - 1} more)" if len(one.reasons) > 1 else ""
        time = duration(one.seconds) + (f" in each of {one.shards} shards" if one.shards > 1 else "")
        yield from wrapped(f"{one.folder}: {time}; {one.reasons[0]}{more}", "  ", "      ")


def _totals(entries: list[PlannedJob], asked: dict[str, Asked], judge: Staleness) -> Iterator[str]:
    todo = [one for one in entries if not one.done]
    if not todo:
        yield "Nothing to do."
    else:
        known = [one.forecast.seconds for one in todo if one.forecast.seconds is not None]
        unknown = len(todo) - len(known)
        modelled_here = any(one.forecast.basis == MODELLED_HERE for one in todo)
        least = "at least " if unknown else ""
        yield f"To do: {count(len(todo), 'job')}" + (
            f", {least}{duration(sum(known))} one after another, {least}{duration(longest(entries))} with room for all "
            "at once (the longest chain)."
            if known
            else "."
        )
        if unknown:
            hint = (
                ""
                if modelled_here
                else (" 'wsss plan --on cpu' models the run on this machine's cores, from counted operations.")
            )
            yield (
                f"How long {count(unknown, 'job')} will take is unknown: no earlier run to go by (--history names "
                f"other results, such as those of a first try).{hint}"
            )
        devices = sorted({one.forecast.device for one in todo if one.forecast.device})
        if modelled_here:
            yield from wrapped(
                "Times of the model are counted from the networks' operations, for a machine with nothing else to do; "
                "no run has checked them. After the first run the table goes by that.", "", "  ",
            )  # fmt: skip
        if devices:
            yield f"Times are those of: {'; '.join(devices)}. An estimate, not a promise: leave room in a time limit."
        yield from _too_little(todo, asked)
    lost = jobs_to_rerun(judge, (Path(os.path.abspath(one.folder)) for one in entries if one.job.rule in TOGETHER))
    if lost.results:
        yield from wrapped(f"{lost}. The old ones are kept. To take them as they are: wsss accept.", "", "  ")
    done = [made for one in entries if one.done and (made := judge.state(Path(os.path.abspath(one.folder))).made)]
    for remark in remarks(done, judge.root or ROOT):
        yield from wrapped(remark, "", "  ")


def longest(entries: list[PlannedJob]) -> float:
    """Seconds of the longest chain of jobs to do that wait for each other; unknown ones count nothing."""
    ends: dict[str, float] = {}
    for one in entries:  # each after those it needs
        own = 0.0 if one.done else one.seconds or 0.0
        ends[one.folder] = own + max((ends.get(folder, 0.0) for folder in one.inputs), default=0.0)
    return max(ends.values(), default=0.0)


def _too_little(todo: list[PlannedJob], asked: dict[str, Asked]) -> Iterator[str]:
    """Rules that ask for less than their jobs are expected to take."""
    for rule, every in _by_stage([one for one in todo if one.forecast.basis != MODELLED_HERE]).items():
        limits = asked.get(rule, Asked())
        seconds = max((one.seconds for one in every if one.seconds is not None), default=0.0)
        mib = max((one.forecast.mib for one in every if one.forecast.mib is not None), default=0.0)
        wanted = []
        if limits.minutes and seconds > 60 * limits.minutes:
            wanted.append(f"runtime: {round(seconds * 1.5 / 60)}")
        if limits.megabytes and mib * 1.048576 > limits.megabytes:
            wanted.append(f"mem_mb: {round(mib * 1.3)}")
        if wanted:
            yield from wrapped(
                f"{rule} asks for {limits}, less than expected ({duration(seconds)}, {memory(mib)}): on a cluster put "
                f"'{rule}: {{{', '.join(wanted)}}}' under set-resources in its profile.", "  ! ",
            )  # fmt: skip
