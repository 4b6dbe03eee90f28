"""The files of a stage that puts others together: a table for programs, and a page for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wsss.runtime.run import Run
from wsss.system.files import write_rows, write_text
from wsss.system.log import log


def write_tables(
    run: Run, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], page: str, **counted: int
) -> None:
    """Write ``NAME.csv`` and ``NAME.md``; say and note how many there are of what (``audits=3``)."""
    write_rows(run.out / f"{name}.csv", columns, list(rows))
    write_text(run.out / f"{name}.md", page)
    log.info(f"{run.out / name}.md: {', '.join(f'{number} {what}' for what, number in counted.items())}")
    run.note(**counted)
