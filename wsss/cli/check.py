"""``wsss check``: what a dataset holds and everything that is wrong with it, as the run would find it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.cli.colours import paint
from wsss.cli.flags import add_configfile, positive
from wsss.config.loader import Config
from wsss.data.index import SPLITS, Index
from wsss.data.validate import Collected
from wsss.errors import WsssError
from wsss.settings import DatasetSettings, ScenesSettings, TextCamsSettings
from wsss.settings.text import is_file
from wsss.stages.index import build_index
from wsss.store.weights_cache import cached
from wsss.system.cores import available_cores
from wsss.system.packaged_weights import PACKAGED
from wsss.text import count, listed, nearest, nice, table, wrapped
from wsss.workflow.chain import Chain

ABOUT = """\
Open every photo and mask and compare them with the table of tags: what the dataset holds, and every problem with its
file, its id and how to fix it. The run does the same first; this trains nothing and writes nothing."""
EXAMPLES = """\
examples:
  wsss check
  wsss check --zero-shot                          does CLIP know the classes by their words?
  wsss check --configfile my.yaml

exit code 0: a run would go on from here; 2: it would stop."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss check``."""
    add_configfile(parser)
    parser.add_argument("--dataset", action="append", metavar="NAME", help="only this one (default: those of the run)")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="files looked at side by side (default: all cores)"
    )
    parser.add_argument(
        "--zero-shot", action="store_true",
        help="also compare the tags with what CLIP makes of the photos by the classes' words (a recipe of 'source: "
        "text', or its defaults)",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=positive, default=200, metavar="N", help="photos for --zero-shot, evenly spread (default 200)"
    )


FAILED = 2
FEW = 10
"""Training photos of a class below which it is pointed out."""
WEAK = 0.5
"""Average precision of a class's word below which it is pointed out."""
PATIENCE = 500
"""From so many photos on it is said that opening them takes a while."""
SHOWN = 50
"""So many problems of a kind are listed."""


def check(args: argparse.Namespace) -> int:
    """Print what each dataset of the run holds and what is wrong; 0 if a run would get past it, else 2.

    Raises:
        WsssError: The configuration has problems, or a table, list or folder cannot be read at all.
    """
    chain = Chain.read(args.configfile)
    config = chain.own
    names = args.dataset or list(config.dataset)
    for name in names:
        if name not in config.recipes["datasets"]:
            raise WsssError(f"{chain.title} has no dataset {name!r}{nearest(name, config.recipes['datasets'])}")
    recipe = next((one for one in config.recipes["cams"].values() if isinstance(one, TextCamsSettings)), None)
    asked = (recipe or TextCamsSettings()) if args.zero_shot else None
    sound = [_dataset(name, config.recipes["datasets"][name], chain.title, args, asked) for name in names]
    absent = list(absent_files(config))
    for path, where in absent:
        text = f"{path}: there is no such file or folder, but {where} name it; fix the path"
        print("\n".join(wrapped(text, paint("missing file  ", "red"), " " * 14)))
    for problem in dict.fromkeys(unfetched(config)):
        print("\n".join(wrapped(problem, paint("not fetched  ", "red"), " " * 13)))
        absent.append((problem, ""))
    return 0 if all(sound) and not absent else FAILED


def _dataset(
    name: str, settings: Any, title: str, args: argparse.Namespace, asked: TextCamsSettings | None = None
) -> bool:
    print(paint(f"{name} ({title})", "bold"))
    if isinstance(settings, ScenesSettings):
        print(
            f"  {settings.train} training and {settings.val} validation scenes are drawn from a seed: all in order.\n"
        )
        return True
    scratch = Path(tempfile.mkdtemp(prefix="wsss-check-"))
    try:
        module = importlib.import_module(f"wsss.data.kinds.{settings.kind}")
        collected: Collected = module.collect(settings, scratch, args.threads)
        print("\n".join(_holds(collected)), flush=True)
        if len(collected.entries) > PATIENCE:
            print(f"opening {count(len(collected.entries), 'photo')} ...", file=sys.stderr, flush=True)
        try:
            build_index(settings, name, scratch, args.threads)
            report = json.loads((scratch / "report.json").read_text("utf-8"))
            problems, notes, whole = report["problems"], report["notes"], True
        except WsssError:
            problems = json.loads((scratch / "problems.json").read_text("utf-8"))
            notes, whole = collected.notes, False
        if whole and asked is not None:
            print("\n".join(_zero_shot(Index.load(scratch), asked, args)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print("\n".join([*_problems(problems), *_ending(name, settings, problems, notes, whole), ""]))
    return whole


def _zero_shot(index: Index, asked: TextCamsSettings, args: argparse.Namespace) -> Iterator[str]:
    """How well CLIP knows the classes, by their words."""
    from wsss.interfaces.zero_shot import zero_shot

    tagged = [item for split in SPLITS for item in index.labelled(split)]
    items = (
        [tagged[n * len(tagged) // args.images] for n in range(args.images)] if len(tagged) > args.images else tagged
    )
    if not items:
        yield "No photo has a tag, so there is nothing to compare CLIP with."
        return
    found = zero_shot(items, index.classes, asked, "auto", args.threads or available_cores())
    rows = [
        [f"  {one.name}", str(one.images), f"{100 * one.precision:.0f}" if one.images else "-",
         f"{100 * one.chance:.0f}", "hardly known by this word" if one.images and one.precision < WEAK else ""]
        for one in found
    ]  # fmt: skip
    yield ""
    yield f"  CLIP ({asked.model}, {asked.weights}) on {count(len(items), 'tagged photo')}, average precision in %"
    yield from table(["  class", "photos", "by its word", "by chance", ""], rows, right=(1, 2, 3))
    if any(row[-1] for row in rows):
        cure = "give such classes other words ('synonyms'), or train a classifier on the tags: docs/how/foundation.md"
        yield from wrapped(cure, "  -> ", "     ")
    yield ""


def unfetched(config: Config) -> Iterator[str]:
    """What to do for recipes of CLIP whose weights were not fetched."""
    for settings in config.recipes["cams"].values():
        if isinstance(settings, TextCamsSettings) and not is_file(settings.weights):
            try:
                cached("clip", settings.model, settings.weights)
            except WsssError as error:
                yield str(error)


def _holds(collected: Collected) -> Iterator[str]:
    """What the dataset claims to hold, before its files are opened."""
    splits = ("train", "val")
    entries = {split: [one for one in collected.entries if one.split == split] for split in splits}
    numbers = {
        "photos": [len(entries[split]) for split in splits],
        "with a tag": [sum(bool(one.labels) for one in entries[split]) for split in splits],
        "with a mask": [sum(one.mask is not None for one in entries[split]) for split in splits],
    }
    yield ""
    yield from table(["", "train", "val"], [[f"  {k}", *map(str, v)] for k, v in numbers.items()], right=(1, 2))
    have = {split: Counter(name for one in entries[split] for name in one.labels or ()) for split in splits}
    rows = []
    for name in collected.classes:
        train = have["train"][name]
        remark = "none to train on" if not train else "few" if train < FEW else ""
        rows.append([f"  {name}", str(train), str(have["val"][name]), remark])
    yield ""
    yield from table(["  class", "train", "val", ""], rows, right=(1, 2))
    yield ""


def _problems(problems: list[dict[str, Any]]) -> Iterator[str]:
    """Problems by kind, each with file, id and cure."""
    kinds = Counter(problem["kind"] for problem in problems)
    for kind, number in kinds.items():
        yield paint(f"{kind} ({number})", "red")
        for problem in [one for one in problems if one["kind"] == kind][:SHOWN]:
            who = f", id {problem['id']!r}" if problem["id"] else ""
            split = f" ({problem['split']})" if problem["split"] else ""
            file = nice(problem["file"]) if problem["file"] else "the dataset"
            yield from wrapped(f"{file}{who}{split}: {problem['text']}", "  ", "    ")
            yield from wrapped(problem["cure"], "    -> ", "       ")
        if number > SHOWN:
            yield f"  ... and {number - SHOWN} more"
        yield ""


def _ending(
    name: str, settings: DatasetSettings, problems: list[dict[str, Any]], notes: list[str], whole: bool
) -> Iterator[str]:
    for note in notes:
        yield from wrapped(note, "note: ", "      ")
    if not problems:
        yield paint("All in order: every photo was opened, and every tag is known.", "green")
        return
    fixed = {problem["kind"] for problem in problems if problem["effect"] != "stop"}
    if whole:
        yield paint(
            f"{count(len(problems), 'problem')}, left out as 'broken: drop' says; a run goes on without.", "yellow"
        )
        return
    yield paint(f"{count(len(problems), 'problem')}: a run stops here until they are fixed.", "red")
    if fixed and settings.broken == "fail":
        yield from wrapped(f"Or set 'broken: drop' in datasets.{name} to go on without what is broken.", "")


def absent_files(config: Config) -> Iterator[tuple[str, str]]:
    """Weights, corrections, maps, masks and regions made elsewhere that recipes name and that are not there: path, and
    which recipes."""
    named: dict[str, list[str]] = {}
    for kind, recipes in config.recipes.items():
        for name, settings in recipes.items():
            for key in ("path", "regions", "pretrained", "corrected"):
                path = getattr(settings, key, None)
                if isinstance(path, str) and path != PACKAGED and "{seed}" not in path and not os.path.exists(path):
                    named.setdefault(path, []).append(f"{kind}.{name}")
    for path, where in named.items():
        yield path, listed(where)
