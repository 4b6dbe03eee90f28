"""Docstrings for the API pages: the little reStructuredText that they hold becomes Markdown."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|mod):(`[^`]+`)")
RULE = re.compile(r"=+( +=+)+")


def markdown(text: str) -> str:
    """Roles become code, ``::`` before an indented block a colon and the block a fenced one, simple tables tables."""
    lines, out = ROLE.sub(r"\1", text).split("\n"), []
    rules = [number for number, line in enumerate(lines) if RULE.fullmatch(line.strip())]
    number = 0
    while number < len(lines):
        line = lines[number]
        if number in rules:
            end = rules[-1]
            out += table(lines[number], [row for row in lines[number + 1 : end] if not RULE.fullmatch(row.strip())])
            number = end + 1
            continue
        if line.endswith("::"):
            block = lines[number + 1 :]
            length = next((n for n, one in enumerate(block) if one.strip() and not one.startswith("    ")), len(block))
            code = "\n".join(one.removeprefix("    ") for one in block[:length]).strip("\n")
            out += [line[:-1], "", "```python", code, "```", ""]
            number += 1 + length
            continue
        out.append(line)
        number += 1
    return "\n".join(out)


def table(rule: str, rows: list[str]) -> list[str]:
    """A table whose columns begin where the rule's do, without a head."""
    starts = [found.start() for found in re.finditer("=+", rule)]
    ends = [*starts[1:], None]
    cells = [[row[a:b].strip().replace("|", "\\|") for a, b in zip(starts, ends, strict=True)] for row in rows]
    return ["", "| " + " | ".join([""] * len(starts)) + " |", "|" + "---|" * len(starts)] + [
        f"| {' | '.join(row)} |" for row in cells
    ]


class Plain(Extension):
    """Turns every docstring that is read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Turn one."""
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
