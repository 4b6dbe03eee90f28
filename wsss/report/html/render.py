"""The page from its templates. Every text that a template writes is escaped, so a class called ``<b>`` stays a name.

Plain data go in. Nothing here reads an artefact or imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wsss import __version__
from wsss.report.tables import Table

Content = dict[str, Any]
"""What the template of a section shows, by the names of its variables."""
HERE = Path(__file__).resolve().parent
SCRIPTS = ("common.js", "report.js", "viewer.js", "tables.js", "charts.js")
"""Of the report, in their order."""
NUMBER = re.compile(r"–|[+\N{MINUS SIGN}-]?[\d,.]+( ± [\d.]+)?( ?%)?")


@cache
def environment() -> Environment:
    """The templates, with one filter of our own: ``numeric_columns``."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["numeric_columns"] = numeric_columns
    return templates


def numeric_columns(table: Table) -> list[bool]:
    """For each column, whether all its cells are numbers, texts such as ``61.2 ± 1.3`` or dashes."""
    return [
        all(isinstance(row[k], int | float) or NUMBER.fullmatch(str(row[k])) is not None for row in table.rows)
        for k in range(len(table.heads))
    ]


def render_section(name: str, content: Content) -> Markup:
    """A section, written by ``templates/sections/NAME.html.j2``. Raises :class:`jinja2.UndefinedError` when the
    template shows something that ``content`` lacks."""
    return Markup(environment().get_template(f"sections/{name}.html.j2").render(id=name, **content))


def render_page(dataset: str, sections: Mapping[str, Content | None]) -> str:
    """The whole page with those sections that have content, in the order given."""
    written = {name: render_section(name, content) for name, content in sections.items() if content is not None}
    page = environment().get_template("page.html.j2")
    return page.render(
        dataset=dataset, sections=written, version=__version__, style=static("report.css"), script=static(*SCRIPTS)
    )


def static(*names: str) -> Markup:
    """Files of ``static/``, one after the other, as a page includes them."""
    return Markup("\n".join((HERE / "static" / name).read_text(encoding="utf-8") for name in names))
