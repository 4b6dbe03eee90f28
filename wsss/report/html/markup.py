"""HTML from functions: whatever is not marked as ``Html`` is escaped, so that a class called ``<b>`` stays a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from wsss.report.tables import Table

VOID = frozenset({"br", "col", "img", "input", "meta"})
NUMBER = re.compile(r"–|[+\N{MINUS SIGN}-]?[\d,.]+( ± [\d.]+)?( ?%)?")
"""A cell that is set flush right."""


SHORT = 26
"""Letters up to which a cell is not broken into lines."""


class Html(str):
    """Markup: text that must not be escaped again."""


def markup(content: Any) -> Html:
    """``content`` as markup: ``Html`` as it is, None and False as nothing, lists joined, the rest escaped."""
    if isinstance(content, Html):
        return content
    if content is None or content is False:
        return Html()
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Html("".join(map(markup, content)))
    return Html(escape(str(content)))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """An element. Attributes: a trailing ``_`` is dropped (``class_``), other ``_`` become ``-``; True stands alone,
    None and False are left out."""
    written = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {key}")
        elif value is not None and value is not False:
            written.append(f' {key}="{escape(str(value))}"')
    opened = f"<{name}{''.join(written)}>"
    return Html(opened if name in VOID else f"{opened}{markup(content)}</{name}>")


def table(heads: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str, class_: str = "") -> Html:
    """A table whose first column heads its rows; it scrolls within its own box where the page is narrow. Cells that are
    numbers are set flush right."""
    rows = [list(row) for row in rows]
    right = [all(_number(row[k]) for row in rows) for k in range(len(heads))]
    head = tag("tr", *(tag("th", h, scope="col", class_="n" if r else None) for h, r in zip(heads, right, strict=True)))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(
            tag("td", cell, class_="n" if r else "k" if len(str(cell)) <= SHORT else None)
            for cell, r in zip(row[1:], right[1:], strict=True)
        ))
        for row in rows
    ]  # fmt: skip
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_=class_ or None)
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def plain_table(content: Table, caption: str) -> Html:
    """A table of ``wsss.report.tables``."""
    return table(content.heads, content.rows, caption) if content else Html()


def _number(cell: Any) -> bool:
    return isinstance(cell, int | float) or (not isinstance(cell, Html) and bool(NUMBER.fullmatch(str(cell))))


def bar(value: float | None, text: str, series: int = 0) -> Html:
    """A bar for a fraction in [0, 1] with its text; None: the text alone."""
    width = 0.0 if value is None else 100 * min(1.0, max(0.0, value))
    inside = tag("i", class_=f"s{series}", style=f"width:{width:.1f}%")
    return tag("span", tag("span", inside, class_="track", aria_hidden="true"), tag("b", text), class_="bar")


def section(id: str, title: str, said: Any, *content: Any) -> Html:
    """A part of the page with its heading and a plain sentence; nothing where it has no content."""
    inner = markup(content)
    if not inner:
        return Html()
    return tag("section", tag("h2", title, id=f"{id}-title"), tag("p", said, class_="said"), inner, id=id,
               aria_labelledby=f"{id}-title")  # fmt: skip


def folded(title: Any, *content: Any, opened: bool = False, **attributes: Any) -> Html:
    """Content that is shown when its title is pressed."""
    return tag("details", tag("summary", title), *content, open=opened, **attributes)


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 image``, ``1,234 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def duration(seconds: float) -> str:
    """``3.2 s``, ``45 s``, ``12 min``, ``7.5 h``."""
    for limit, unit, name in ((99.5, 1, "s"), (99.5 * 60, 60, "min")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 9.95 else f"{value:.0f} {name}"
    return f"{seconds / 3600:.1f} h"
