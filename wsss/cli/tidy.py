"""What ``wsss init`` makes of annotations that a configuration cannot name as they are: a clean table of tags, lists of
ids, and one name for a class that is written in several ways."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wsss.cli.scan import Survey
from wsss.errors import WsssError
from wsss.system.files import write_text
from wsss.text import listed, nice

TABLE = "tags.csv"


def one_name_each(found: Survey, how: str, ask: Callable[[str], bool]) -> Survey:
    """One name for classes whose names differ in case, blanks or hyphens alone, if somebody says that they are one.

    Args:
        found: What was found.
        how: ``merge``, ``keep``, or ``ask``.
        ask: Asks at the terminal.

    Raises:
        WsssError: Nobody is there to be asked.
    """
    alike = [] if how == "keep" else found.alike
    used = found.per_class(found.tags)
    new: dict[str, str] = {}
    for names in alike:
        said = listed((f"{name!r} ({used[name]})" for name in names), " and ")
        best = the_name(names, used, found)
        if how == "ask" and not sys.stdin.isatty():
            raise WsssError(
                f"{nice(found.table)}: are {said} one class? Their names differ in case, blanks or hyphens alone. Give "
                f"--similar-names merge to make them {best!r}, or --similar-names keep to leave them as they are"
            )
        if how == "merge" or ask(f"{said} differ in case, blanks or hyphens alone. Are they one class, {best!r}?"):
            new |= {name: best for name in names if name != best}
    if not new:
        return found
    tags = {id: tuple(dict.fromkeys(new.get(name, name) for name in names)) for id, names in found.tags.items()}
    classes = tuple(name for name in found.classes if name not in new)
    note = f"made one class each: {listed(f'{old!r} is {name!r}' for old, name in new.items())}"
    same = classes == found.classes  # a file of names that had the right spelling alone
    return replace(
        found, tags=tags, classes=classes, as_is=False, notes=(*found.notes, note), names=found.names if same else None
    )


def the_name(names: tuple[str, ...], used: Counter[str], found: Survey) -> str:
    """Of several spellings, that in the file of names, else the most frequent one."""
    fixed = set(found.classes) if found.named_by is not None else set()
    return max(names, key=lambda name: (name in fixed, used[name], name))


def written(found: Survey, folder: Path, name: str, force: bool) -> Survey:
    """Write what a configuration has to name and does not find: ``tags.csv``, and ``train.txt`` and ``val.txt`` where
    folders say the split; the survey with these files.

    Args:
        found: What was found.
        folder: Where they go: that of the configuration.
        name: Of the dataset; stands before the names of files where other files have them already.
        force: Write over files that have the dataset's name before theirs.

    Raises:
        WsssError: Other files have these names.
    """
    texts: dict[str, str] = {}
    if not found.as_is:
        texts[TABLE] = table_of(found.tags)
    if found.splits and found.lists is None:
        texts |= {f"{split}.txt": "".join(f"{id}\n" for id in ids) for split, ids in found.splits.items()}
    if not texts:
        return found
    paths = {key: folder / key for key in texts}
    if not all(_free(path, texts[key]) for key, path in paths.items()):
        paths = {key: folder / f"{name}-{key}" for key in texts}
        taken = [path for key, path in paths.items() if not _free(path, texts[key])]
        if taken and not force:
            raise WsssError(f"{nice(taken[0])} is there already, and holds something else; write over it with --force, "
                            "take another --name, or move it away")  # fmt: skip
    for key, path in paths.items():
        write_text(path, texts[key])
    if TABLE in paths:
        found = replace(found, table=paths[TABLE], as_is=True, separator=";")
    lists = (paths["train.txt"], paths["val.txt"]) if "train.txt" in paths else found.lists
    wrote = f"wrote {listed(map(nice, paths.values()), ' and ')}; edit these from now on"
    return replace(found, lists=lists, notes=(*found.notes, wrote))


def _free(path: Path, text: str) -> bool:
    try:
        return path.read_text("utf-8") == text
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError):
        return False


def table_of(tags: dict[str, tuple[str, ...]]) -> str:
    """The text of a table of tags, sorted by id.

    Raises:
        WsssError: A class name holds ``;``, which joins names.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("id", "labels"))
    for id, names in sorted(tags.items()):
        wrong = [name for name in names if ";" in name]
        if wrong:
            raise WsssError(f"id {id!r} has the class {wrong[0]!r}; a class name must not hold ';', rename it")
        rows.writerow((id, ";".join(names)))
    return text.getvalue()
