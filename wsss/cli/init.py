"""``wsss init``: look at a folder of photos and write a configuration that fits it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wsss.cli.colours import paint
from wsss.cli.confirm import confirmed
from wsss.cli.hardware import choose_weights, this_machine
from wsss.cli.recommend import Choices, choose
from wsss.cli.scan import INSIDE, Survey, survey
from wsss.cli.template import config_text, last
from wsss.cli.tidy import one_name_each, written
from wsss.data.mask_order import mask_order_cure, mask_order_problem
from wsss.errors import WsssError
from wsss.system.files import atomic_path
from wsss.text import count, nice, pairs, table, wrapped

ABOUT = """\
Look at a folder of photos and the table of their tags, say what was found, and write a configuration that fits photos,
machine, and the weights that can be had.

Tags, beside the photos or given with --labels: a table (CSV of any kind, Excel), an export of COCO, YOLO, Label Studio
or CVAT, or folders named after classes. Also read if there: masks/ID.png, classes.txt or labelmap.txt (order of the
mask values), train.txt and val.txt. The simplest table is tags.csv: id,labels, then a line per photo: 7,sheep;dog"""
EXAMPLES = """\
examples:
  wsss init photos                                   photos/ and tags.csv, into config.yaml
  wsss init photos --quick --out quick.yaml          a first try: small and short, minutes on a laptop
  wsss init photos --labels tags.csv --masks masks --weights mobilenetv2_100.safetensors
  wsss init photos --labels list.xlsx --columns "File name,Species"
  wsss init photos --labels annotations/instances.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss init``."""
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder with the photos, folders in it included")
    parser.add_argument("--quick", action="store_true", help="a first try: one frozen backbone, minutes on a laptop")
    parser.add_argument("--out", type=Path, default=Path("config.yaml"), metavar="FILE",
                        help="file to write (default: config.yaml)")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="write over it")
    tags = parser.add_argument_group("tags and masks that lie elsewhere, or are to be read otherwise")
    tags.add_argument("--labels", type=Path, metavar="FILE", help="table, export or folder of tags")
    tags.add_argument("--columns", type=names_of_columns, metavar="PHOTO,LABELS",
                      help="columns of the table: photos, then class names (or one column per class)")  # fmt: skip
    tags.add_argument("--similar-names", choices=("ask", "merge", "keep"), default="ask",
                      help="names that differ in case, blanks or hyphens alone (default: ask)")  # fmt: skip
    tags.add_argument("--masks", type=Path, metavar="DIR", help="ground-truth masks ID.png, to score with")
    says = parser.add_argument_group("what the configuration says")
    says.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet weights of a timm model (default: from a "
                      "folder 'weights' near the photos, else the hub's, else those of a package)")  # fmt: skip
    says.add_argument("--backbone", metavar="NAME", help="timm model (default: what suits machine and weights)")
    says.add_argument("--name", metavar="NAME", help="results go to results/NAME (default: the folder's name)")
    says.add_argument("--broken", choices=("fail", "drop"), default="fail",
                      help="broken photos stop a run (default), or are left out")  # fmt: skip


SHOWN = 5
"""So many examples of a problem are named."""
BAR = 24


def init(args: argparse.Namespace) -> int:
    """Say what was found, and write ``args.out``.

    Raises:
        WsssError: See ``survey``; or the file is there already.
    """
    if args.out.exists() and not args.force:
        raise WsssError(f"{args.out} is there already; take another name with --out, or write over it with --force")
    if args.out.is_dir():
        raise WsssError(f"{args.out} is a folder; --out is the name of a file")
    found = survey(args.photos, args.labels, args.masks, args.columns)
    found = one_name_each(found, args.similar_names, confirmed)
    name = args.name or dataset_name(found.photos)
    print("\n".join(_found(found)))
    sys.stdout.flush()  # the libraries that look for a GPU take seconds
    machine = this_machine()
    near = [Path(os.path.normpath(path)) for path in (".", found.photos, found.photos / "..", found.photos / "../..")]
    weights = choose_weights(machine.device, args.weights, args.backbone, near)
    chosen = choose(found, machine, weights, args.quick)
    found = written(found, args.out.parent, name, args.force)
    text = config_text(name, found, chosen, args.broken, command(args))
    _well_formed(text)
    with atomic_path(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    facts = {"machine": str(machine), "weights": f"{weights.backbone}, {weights.said}", "wrote": str(args.out)}
    print("\n".join([*pairs(facts), *_notes(found, chosen, args.broken), "", *_next(args, name, chosen)]))
    return 0


def names_of_columns(text: str) -> list[str]:
    """At least two names of columns, joined by commas, as the ``type`` of an argument."""
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} names no two columns, such as filename,species")
    return names


def dataset_name(photos: Path) -> str:
    """A name for the dataset: that of the folder, or of the one around it where that says more (``images``)."""
    photos = photos.resolve()
    name = photos.parent.name if photos.name in INSIDE[:1] + INSIDE[2:] else photos.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return name or "photos"


def command(args: argparse.Namespace) -> str:
    """What was typed, for the head of the file."""
    parts = ["wsss", "init", nice(args.photos)]
    for flag in ("labels", "masks", "weights"):
        parts += [f"--{flag}", nice(value)] if (value := getattr(args, flag)) else []
    parts += ["--columns", ",".join(args.columns)] if args.columns else []
    parts += ["--similar-names", args.similar_names] if args.similar_names != "ask" else []
    for flag in ("backbone", "name"):
        parts += [f"--{flag}", value] if (value := getattr(args, flag)) else []
    parts += ["--broken", args.broken] if args.broken != "fail" else []
    return shlex.join(parts + ["--quick"] * args.quick)


def _well_formed(text: str) -> None:
    """Refuse to write what could not be read."""
    import yaml

    from wsss.config.loader import load

    load(yaml.safe_load(text))


def _found(found: Survey) -> Iterator[str]:
    sides = np.array(list(found.sizes.values()))
    longest = sides.max(axis=1)
    low, middle, high = (int(np.percentile(longest, share)) for share in (0, 50, 100))
    sizes = f"{low} to {high} pixels (longer side), median {middle}" if low < high else f"{middle} pixels (longer side)"
    classes = f"{len(found.classes)} class{'es' * (len(found.classes) != 1)}"
    facts = {
        "photos": f"{count(len(found.files), 'file')} in {nice(found.photos)}",
        "sizes": sizes,
        "tags": f"{count(len(found.tags), 'row')} in {nice(found.table)}{_format(found)}, {classes}",
        "class names": nice(found.named_by) if found.named_by else "",
        "masks": f"{len(found.masked)} in {nice(found.masks)}; values {_values(found)}"
        if found.masks
        else "none (they would serve to score, and to choose a threshold)",
        "splits": _lists(found),
    }
    yield paint(nice(found.photos), "bold")
    yield from pairs({key: text for key, text in facts.items() if text})
    yield ""
    yield from histogram(found.classes, found.per_class())
    yield ""


def _format(found: Survey) -> str:
    return "" if found.as_is else f" ({found.format})"


def _values(found: Survey) -> str:
    """Which class each mask value is, and how that is known."""
    said = ", ".join(f"{value} {name}" for value, name in enumerate(found.classes, 1))
    return said if found.named_by else f"{said} (no file says so: the names in the order of the alphabet)"


def _lists(found: Survey) -> str:
    if found.lists is None and found.splits:
        numbers = " and ".join(f"{len(ids)} in {split}" for split, ids in found.splits.items())
        return f"by the folders of the photos: {numbers}"
    if not found.lists:
        return "none; some photos are held out to validate on"
    return ", ".join(f"{nice(path)} ({len(found.splits[path.stem])})" for path in found.lists)


def histogram(classes: Sequence[str], numbers: Counter[str]) -> list[str]:
    """A line per class: its name, how many photos have it, a bar."""
    most = max(numbers.values(), default=1)
    rows = [[f"  {name}", str(numbers[name]), "#" * -(-BAR * numbers[name] // most)] for name in classes]
    return table(["  class", "photos", ""], rows, right=(1,))


def problems_of(found: Survey) -> Iterator[tuple[str, str]]:
    """What ``wsss check`` will refuse, as far as it was seen: what, and how to fix it."""

    def some(ids: Sequence[object]) -> str:
        return ", ".join(map(str, ids[:SHOWN])) + (", ..." if len(ids) > SHOWN else "")

    if found.untagged:
        yield (
            f"{count(len(found.untagged), 'photo')} without a row of tags: {some(found.untagged)}",
            "add a row for each; it may have no label",
        )
    if found.missing:
        where = "the lists" if found.lists else nice(found.table)
        yield (
            f"{count(len(found.missing), 'id')} of {where} without a photo: {some(found.missing)}",
            "restore the photos, or take the ids out",
        )
    for path, reason in list(found.unreadable.items())[:SHOWN]:
        yield f"{nice(path)} cannot be read: {reason}", "copy it again, or take it away"
    for id, files in list(found.twins.items())[:SHOWN]:
        yield f"{some([nice(one) for one in files])}: several photos of one id ({id})", "rename or remove one"
    if found.other_order is not None and found.masks is not None:
        yield mask_order_problem(found.classes, found.other_order), mask_order_cure(found.classes, found.other_order)
    for problem in found.problems[:SHOWN]:
        yield f"{nice(problem.file)}: id {problem.id}: {problem.text}", problem.cure
    used = found.per_class()
    empty = [name for name in found.classes if not used[name]]
    if empty:
        yield f"no photo has the tag {some(empty)}", f"tag some, or take it out of {nice(found.names or found.table)}"


def _notes(found: Survey, chosen: Choices, broken: str) -> Iterator[str]:
    problems = list(problems_of(found))
    for note in (*found.notes, *chosen.notes):
        yield from wrapped(note, "  note     ")
    for text, cure in problems:
        mark = paint("  problem  ", "yellow")
        first, *rest = wrapped(f"{text}; {cure}", "  problem  ", " " * 11)
        yield first.replace("  problem  ", mark, 1)
        yield from rest
    if problems and broken == "fail":
        yield from wrapped(
            "wsss run will stop at these. wsss check lists all of them; fix them, or write the configuration with "
            "--broken drop to leave what is broken out.", "  "
        )  # fmt: skip


def _next(args: argparse.Namespace, name: str, chosen: Choices) -> list[str]:
    given = "" if str(args.out) == "config.yaml" else f" --configfile {shlex.quote(str(args.out))}"
    steps = {
        f"wsss check{given}": "opens every photo and lists what is wrong",
        f"wsss plan{given}": "the jobs of the run",
        f"wsss run{given}": f"trains, makes masks and scores them: results/{name}/report.html",
        f"wsss predict results/{name}/s0/segmenters/{last(chosen)} FOLDER --out masks": "masks of other photos",
    }
    width = max(map(len, list(steps)[:3])) + 2
    lines = [f"  {step.ljust(width)}{text}" if len(step) < width else f"  {step}" for step, text in steps.items()]
    return ["Next:", *lines]
