"""The report of a dataset."""

from __future__ import annotations

import os
from pathlib import Path

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.report.html.gallery import rank_name
from wsss.report.html.links import NAME
from wsss.report.html.page import COLUMNS, build
from wsss.report.provenance import read_scored
from wsss.runtime.run import Run
from wsss.system.files import atomic_path, write_rows
from wsss.system.log import log


def make(run: Run) -> None:
    """Write ``pictures.csv`` and the page of all images, ``images.html``, into the artefact of a run of
    ``stages/report.py``, and beside its folder the page, named as the folder and ``.html``.

    ``pictures.csv``: which images are shown for which class and why; ``figure`` is a fraction. Raises
    :class:`WsssError` for scores of another dataset's classes or an artefact that is gone.
    """
    index = Index.load(run.inputs["index"])
    dataset = run.args.dataset or index.name
    scored = [read_scored(folder) for folder in run.several("scores")]
    for one in scored:
        if not one.kind.startswith("saliency") and tuple(one.content["classes"]) != index.classes:
            raise WsssError(f"{one.folder} scores other classes than {index.folder} has; score again with this index")
    page, shown, split, images = build(dataset, index, scored, run.out, run.args.threads)
    cards = [
        (index.classes[c.label], rank_name(shown.by, c.rank), c.item.id, split, shown.by, c.figure) for c in shown.cards
    ]
    write_rows(run.out / "pictures.csv", COLUMNS, cards)
    with atomic_path(run.out / NAME) as path:
        path.write_text(images, encoding="utf-8")
    target = page_of(run.out)
    # Written within the folder, whose lock is held: beside it, the summary sweeps away what looks unfinished.
    inside = run.out / target.name
    with atomic_path(inside) as path:
        path.write_text(page, encoding="utf-8")
    os.replace(inside, target)
    log.info(f"{target}: {len(page.encode()) / 1e6:.1f} MB, {len(cards)} images at up to {shown.edge} pixels")
    run.note(scores=len(scored), pictures=len(cards))


def page_of(folder: Path) -> Path:
    """Where the page of an artefact folder lies: beside it."""
    return folder.parent / f"{folder.name}.html"
