"""Check a dataset and write its index: what every later stage knows of the images.

Reads the files that the settings name; writes index.csv (one row an image), classes.txt (one name a line; line c is
mask value c) and report.json (counts, co-occurrence, what was dropped, notes); generated images and masks go to images/
and masks/. Everything wrong is listed at once, each with file, id and cure (exit code 2; problems.json has the list).

    python stages/index.py --dataset scenes --settings '{kind: scenes}' --out results/scenes/index
"""

from __future__ import annotations

import _house  # noqa: F401

from wsss.runtime.program import Stage
from wsss.runtime.run import Run
from wsss.settings import Dataset
from wsss.system.log import log

VERSION = 1
STAGE = Stage(__doc__, settings=Dataset, extra={"--dataset": {"required": True, "help": "name of the dataset"}})


def work(run: Run) -> None:
    """Build the index."""
    from wsss.stages.index import build_index

    index = build_index(run.settings, run.args.dataset, run.out, run.args.threads)
    counts = {split: len(index.split(split)) for split in ("train", "val")}
    run.note(dataset=index.name, classes=list(index.classes), images=counts, dropped=len(index.dropped))
    dropped = f", {len(index.dropped)} broken ones dropped" if index.dropped else ""
    log.info(f"{index.name}: {counts['train']} training and {counts['val']} validation images, "
        f"{len(index.classes)} classes{dropped}; see {run.out / 'report.json'}")  # fmt: skip


if __name__ == "__main__":
    STAGE.main(work)
