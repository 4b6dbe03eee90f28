"""The tables of the ablation study."""

from __future__ import annotations

import json

from wsss.errors import WsssError
from wsss.report.ablation import COLUMNS, augmentations, long_form, page, values_of
from wsss.report.provenance import Scored, read_scored
from wsss.runtime.run import Run
from wsss.system.files import atomic_path, write_rows
from wsss.system.log import log


def make(run: Run) -> None:
    """Write ``ablation.md`` and ``ablation.csv`` from the scores that ``stages/ablation_table.py`` was given.

    Raises:
        WsssError: A score that the layout names was not given.
    """
    layout = json.loads(run.args.layout)
    found: dict[tuple[str, str], dict[int, Scored]] = {}
    for folder in run.several("scores"):
        one = read_scored(folder)
        found.setdefault((one.kind, one.recipe), {})[one.seed] = one
    absent = [f"{kind} {name}" for _, _, shown in layout for kind, name in shown.values() if (kind, name) not in found]
    if absent:
        raise WsssError(f"scores of {', '.join(dict.fromkeys(absent))} were not given (--scores)")
    rows = [
        (part, title, {column: values_of(found[tuple(pair)]) for column, pair in shown.items()})
        for part, title, shown in layout
    ]
    dataset = run.args.dataset or "dataset"
    with atomic_path(run.out / "ablation.md") as path:
        path.write_text(page(dataset, rows, augmentations(layout, found)), encoding="utf-8")
    write_rows(run.out / "ablation.csv", COLUMNS, long_form(dataset, rows))
    log.info(f"{run.out / 'ablation.md'}: {len(rows)} rows")
    run.note(scores=len(run.several("scores")))
