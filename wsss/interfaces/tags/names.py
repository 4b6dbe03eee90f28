"""Names of mask values from the files that tell them: one name per line, CVAT's and VOC's ``labelmap.txt``, tables of
colours such as ``class_dict.csv``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from wsss.data.lists import normal, read_lines
from wsss.text import nice

PLAIN = "classes.txt"
"""A name per line: a configuration can name this file as it is."""
FILES = (PLAIN, "labelmap.txt", "class_dict.csv", "label_colors.txt", "palette.txt")
BACKGROUND = frozenset(("background", "_background_", "__background__", "__ignore__"))
"""Names that tools give to value 0, or to 255: no classes."""
LINES = (
    re.compile(r"(?P<name>[^:]+):(\d+,\d+,\d+)?:[^:]*:[^:]*"),
    re.compile(r"(?P<name>[^,;\t]+)[,;\t]\s*\d+[,;\t]\s*\d+[,;\t]\s*\d+"),
    re.compile(r"(?P<name>.*?\S)\s+\d+\s+\d+\s+\d+"),
    re.compile(r"\d+[ ,;\t]+\d+[ ,;\t]+\d+[ ,;\t]+(?P<name>\S.*)"),
)
"""``name:colour:parts:actions``; ``name,red,green,blue``; the same with blanks; ``red green blue name``."""
HEAD = re.compile(r"names?\s*[,;\t]\s*r(ed)?\b.*", re.I)


def read_names(path: Path) -> tuple[str, ...]:
    """Class names of the mask values 1, 2, ... that a file tells; the background is left out.

    Raises:
        WsssError: The file cannot be read.
    """
    lines = [line for line in read_lines(path, "the list of class names") if not line.startswith("#")]
    lines = [line for line in lines if not HEAD.fullmatch(line)]
    for pattern in LINES:
        found = [pattern.fullmatch(line) for line in lines]
        if all(found):
            lines = [normal(one["name"]) for one in found if one is not None]
            break
    return tuple(name for name in lines if name.lower() not in BACKGROUND)


def find_names(near: Sequence[Path], tagged: Sequence[str], notes: list[str]) -> tuple[Path, tuple[str, ...]] | None:
    """The first file of names in some folders that knows every tag, and its names; why others are not used goes to
    ``notes``."""
    for path in (folder / name for name in FILES for folder in near):
        if not path.is_file():
            continue
        names = read_names(path)
        strange = [name for name in tagged if name not in names]
        if not strange:
            return path, names
        notes.append(f"{nice(path)} is not used: it lacks the tag {strange[0]!r}")
    return None


def is_plain(path: Path, names: Sequence[str]) -> bool:
    """Whether a configuration can name the file: it holds these names and nothing else."""
    return path.name == PLAIN and read_lines(path, "the list of class names") == list(names)
