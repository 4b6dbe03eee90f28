"""Run a notebook and write its outputs into it; without Jupyter, so nothing has to be installed.

    python docs/notebook.py docs/tutorials/notebook.ipynb [--in FOLDER]

It runs in an empty folder, a cell after the other, as Jupyter would: ``%%bash`` cells in a shell; of all others the
last expression is shown, as a picture where it has one. A cell that fails ends it with an error.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELL = "%%bash\n"


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs that its cells have now, in this folder. Raises what a cell raises."""
    space: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            try:
                outputs = list(run("".join(cell["source"]), space, number))
            except BaseException as error:
                error.add_note(f"cell {number}: {''.join(cell['source'])}")
                raise
            cell = {**cell, "execution_count": number, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def run(source: str, space: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Outputs of a cell: what it prints, then what its last expression is."""
    if source.startswith(SHELL):
        shell = ["bash", "-euo", "pipefail", "-c", source.removeprefix(SHELL)]
        done = subprocess.run(shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}:\n{done.stdout}")
        yield from printed(done.stdout)
        return
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    said, value = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, f"cell {number}", "exec"), space)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), space)
    yield from printed(said.getvalue())
    if value is not None:
        data: dict[str, Any] = {"text/plain": lines(repr(value))}
        if (picture := getattr(value, "_repr_png_", lambda: None)()) is not None:
            data["image/png"] = base64.b64encode(picture).decode("ascii")
        yield {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}


def printed(text: str) -> Iterator[dict[str, Any]]:
    """The output of a cell that prints something."""
    if text:
        yield {"output_type": "stream", "name": "stdout", "text": lines(text)}


def lines(text: str) -> list[str]:
    """A text as notebooks have it: a list of lines with their ends."""
    return text.splitlines(keepends=True)


def read(path: Path) -> dict[str, Any]:
    """A notebook."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a notebook and write its outputs into it.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--in", type=Path, dest="folder", help="folder to run it in, empty (default: a temporary one)")
    args = parser.parse_args()
    path = args.notebook.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(args.folder or scratch)
        path.write_text(json.dumps(executed(read(path)), indent=1, ensure_ascii=False) + "\n", "utf-8")
        os.chdir(path.parent)


if __name__ == "__main__":
    main()
