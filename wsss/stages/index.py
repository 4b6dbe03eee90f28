"""From a dataset's settings to its index folder.

``report.json``: ``dataset`` (name), ``kind``, ``classes``; ``images``, ``labelled``, ``scored`` (counts a split);
``per_class`` (training and validation images a class) and ``co_occurrence`` (C x C, a split: images that have both
classes; the diagonal is ``per_class``); ``unlabelled`` (ids a split: kept, never trained on); ``problems`` (file, id,
text, cure); ``dropped`` (split, id, reasons); ``label_noise`` (tags without a pixel and pixels without a tag, of
images with a mask); ``notes``; and what a kind of dataset adds.
"""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import SPLITS, Index, write_index
from wsss.data.validate import Collected, Examined, Problem, examine
from wsss.errors import WsssError
from wsss.runtime.run import Run
from wsss.settings import Dataset
from wsss.system.files import write_text
from wsss.system.log import log
from wsss.text import listed

GENERATED = ("images", "masks")
"""What a kind of dataset may write below the index folder; removed before each build."""
NAMED = 10
"""So many tags without a pixel are named in a note; ``label_noise`` has all."""
SHOWN = 100
"""So many problems of one kind are printed; ``problems.json`` has all."""


def make(run: Run) -> None:
    """Check the dataset and write its index (see ``build_index``)."""
    index = build_index(run.settings, run.args.dataset, run.out, run.args.threads)
    counts = {split: len(index.split(split)) for split in SPLITS}
    run.note(dataset=index.name, classes=list(index.classes), images=counts, dropped=len(index.dropped))
    dropped = f", {len(index.dropped)} broken ones dropped" if index.dropped else ""
    log.info(
        f"{index.name}: {counts['train']} training and {counts['val']} validation images, "
        f"{len(index.classes)} classes{dropped}; see {run.out / 'report.json'}"
    )


def build_index(settings: Dataset, name: str, out: Path | str, threads: int | None = None) -> Index:
    """Check a dataset and write ``index.csv``, ``classes.txt`` and ``report.json``.

    Args:
        settings: of one of the kinds; ``settings.kind`` names the module of this package that collects it.
        name: of the dataset in the configuration.
        out: index folder; made if need be. Generated images and masks go below it.
        threads: files looked at in parallel; default all cores.

    Raises:
        WsssError: every problem at once, with file, id and cure. The same list is left in ``out/problems.json``.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    complaints = out / "problems.json"
    for file in (complaints, out / "index.csv"):
        file.unlink(missing_ok=True)
    for folder in GENERATED:
        shutil.rmtree(out / folder, ignore_errors=True)
    collected: Collected = importlib.import_module(f"wsss.data.kinds.{settings.kind}").collect(settings, out, threads)
    found = examine(collected, threads)
    fatal = [p for p in found.problems if settings.broken == "fail" or p.effect == "stop"]
    if not fatal:
        counts = {split: sum(item.split == split for item in found.items) for split in SPLITS}
        fatal = [
            Problem("list", "", "", f"the {split} split has no sound image", "fix what it should have", effect="stop")
            for split, count in counts.items()
            if not count
        ]
    if fatal:
        write_text(complaints, json.dumps([asdict(p) for p in fatal], indent=1, ensure_ascii=False))
        raise WsssError(_complaint(name, fatal, settings.broken, complaints))
    write_index(out, collected.classes, found.items)
    facts = report(settings, name, collected, found)
    write_text(out / "report.json", json.dumps(facts, indent=1, ensure_ascii=False))
    return Index.load(out)


def report(settings: Dataset, name: str, collected: Collected, found: Examined) -> dict[str, Any]:
    """The content of ``report.json``."""
    items = {split: [item for item in found.items if item.split == split] for split in SPLITS}
    together = {}
    for split in SPLITS:
        present = np.zeros((len(items[split]), len(collected.classes)), np.int64)
        for row, item in zip(present, items[split], strict=True):
            row[list(item.labels)] = 1
        together[split] = present.T @ present
    noise = {"tag_without_pixel": found.tag_without_pixel, "pixel_without_tag": found.pixel_without_tag}
    notes = list(collected.notes)
    if found.tag_without_pixel:
        named = listed([f"{id} ({name})" for id, name in found.tag_without_pixel[:NAMED]])
        more = ", ..." if len(found.tag_without_pixel) > NAMED else ""
        notes.append(f"{len(found.tag_without_pixel)} tags have no pixel in their mask (label noise): {named}{more}")
    if found.dropped:
        notes.append(f"{len(found.dropped)} broken images were dropped")
    return {
        "dataset": name,
        "kind": settings.kind,
        "classes": list(collected.classes),
        "images": {split: len(items[split]) for split in SPLITS},
        "labelled": {split: sum(bool(item.labels) for item in items[split]) for split in SPLITS},
        "scored": {split: sum(item.scored for item in items[split]) for split in SPLITS},
        "per_class": {
            split: dict(zip(collected.classes, together[split].diagonal().tolist(), strict=True)) for split in SPLITS
        },
        "co_occurrence": {split: together[split].tolist() for split in SPLITS},
        "unlabelled": {split: [item.id for item in items[split] if not item.labels] for split in SPLITS},
        "problems": [asdict(problem) for problem in found.problems],
        "dropped": [{"split": split, "id": id, "reasons": reasons} for (split, id), reasons in found.dropped.items()],
        "label_noise": {key: [{"id": id, "class": name} for id, name in pairs] for key, pairs in noise.items()},
        "notes": notes,
        **collected.extra,
    }


def _complaint(name: str, problems: list[Problem], policy: str, file: Path) -> str:
    lines = [f"datasets.{name}: {len(problems)} problem{'s' * (len(problems) > 1)}"]
    shown: dict[str, int] = {}
    for problem in problems:
        shown[problem.kind] = shown.get(problem.kind, 0) + 1
        if shown[problem.kind] <= SHOWN:
            lines.append(f"  {problem}")
    lines += [f"  {kind}: {count - SHOWN} more, see {file}" for kind, count in shown.items() if count > SHOWN]
    if policy == "fail" and any(problem.effect != "stop" for problem in problems):
        lines.append(f"Fix them, or set 'broken: drop' in datasets.{name} to go on without the broken items.")
    return "\n".join(lines)
