"""A small Excel workbook, made by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

SPACE = "http://schemas.openxmlformats.org"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'


def letters(column: int) -> str:
    """``A`` ... ``Z``, ``AA`` ..."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def write_workbook(path: Path, rows: list[list[str | int | bool | None]]) -> None:
    """One sheet, second in its files and first in the workbook; texts are shared or inline in turn, cells that are None
    are left out."""
    shared: list[str] = []
    lines = []
    for r, row in enumerate(rows, 1):
        cells = ""
        for c, value in enumerate(row):
            at = f'r="{letters(c)}{r}"'
            if isinstance(value, bool):
                cells += f'<c {at} t="b"><v>{int(value)}</v></c>'
            elif isinstance(value, int):
                cells += f"<c {at}><v>{value}</v></c>"
            elif isinstance(value, str) and c % 2:
                cells += f'<c {at} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
            elif isinstance(value, str):
                shared.append(value)
                cells += f'<c {at} t="s"><v>{len(shared) - 1}</v></c>'
        lines.append(f'<row r="{r}">{cells}</row>')
    half = [(one[: len(one) // 2], one[len(one) // 2 :]) for one in shared]
    texts = "".join(f"<si><r><t>{escape(a)}</t></r><r><t>{escape(b)}</t></r></si>" for a, b in half)
    main = f'xmlns="{SPACE}/spreadsheetml/2006/main"'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/workbook.xml",
            f'{HEAD}<workbook {main} xmlns:r="{SPACE}/officeDocument/2006/relationships"><sheets>'
            '<sheet name="tags" sheetId="2" r:id="rId7"/><sheet name="notes" sheetId="1" r:id="rId1"/></sheets>'
            "</workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'{HEAD}<Relationships xmlns="{SPACE}/package/2006/relationships">'
            '<Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
            '<Relationship Id="rId7" Target="worksheets/sheet2.xml"/></Relationships>',
        )
        archive.writestr("xl/worksheets/sheet1.xml", f"{HEAD}<worksheet {main}><sheetData/></worksheet>")
        archive.writestr(
            "xl/worksheets/sheet2.xml", f"{HEAD}<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        )
        archive.writestr("xl/sharedStrings.xml", f"{HEAD}<sst {main}>{texts}</sst>")
