"""The summary of a dataset: one table for programs, one page for people, pictures."""

from __future__ import annotations

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.report.markdown import page
from wsss.report.panels import draw_panels
from wsss.report.provenance import Scored, find_artefacts, read_scored
from wsss.runtime.run import Run
from wsss.stages.scores import rows
from wsss.system.files import atomic_path, write_rows
from wsss.system.log import log

COLUMNS = ("dataset", "seed", "kind", "recipe", "split", "policy", "metric", "value", "images")


def make(run: Run) -> None:
    """Write ``summary.csv``, ``summary.md`` and ``panels/s<seed>.png`` of a run of ``stages/summary.py``.

    ``summary.csv``: values are fractions; ``policy`` is fixed, calibrated or oracle where the scoring chose a
    threshold, else empty; ``images`` is the number of images that the value was computed on. Raises :class:`WsssError`
    for scores of another dataset's classes or an artefact that is gone.
    """
    index = Index.load(run.inputs["index"])
    dataset = run.args.dataset or index.name
    scored = [read_scored(folder) for folder in run.several("scores")]
    for one in scored:
        if not one.kind.startswith("saliency") and tuple(one.content["classes"]) != index.classes:
            raise WsssError(f"{one.folder} scores other classes than {index.folder} has; score again with this index")
    write_rows(run.out / "summary.csv", COLUMNS, long_form(dataset, scored))
    with run.folder("panels") as folder:
        pictures = draw_panels(index, find_artefacts(scored, run.args.results), folder, run.args.seed)
    with atomic_path(run.out / "summary.md") as path:
        path.write_text(page(dataset, index, scored, [f"panels/{name}" for name in pictures]), encoding="utf-8")
    log.info(f"{run.out / 'summary.md'}: {len(scored)} scored artefacts, {len(pictures)} pictures")
    run.note(scores=len(scored), pictures=len(pictures))


def long_form(dataset: str, scored: list[Scored]) -> list[tuple[object, ...]]:
    """Rows of ``summary.csv``."""
    return [(dataset, one.seed, one.kind, one.recipe, *row) for one in scored for row in rows(one.content)]
