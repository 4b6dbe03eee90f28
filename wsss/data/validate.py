"""What is wrong with a dataset, all at once, before anything is trained.

A kind of dataset says what should be there (``Collected``); ``examine`` opens every file, on several threads, and
lists every problem with its file, id and cure. Which problems there are:

=========================  ======================================================================================
missing image, mask        the file of an id is not there
unreadable image, mask...  truncated, or no picture at all
size                       image and mask differ (the image taken upright)
mask value                 not 0..C nor 255, for C object classes
no tags                    an id without a row of tags
unknown class              a tag that is no class
duplicate id               two files of one id, or one id twice in a list or a table of tags
split overlap              one id in both splits
empty class                no training image is tagged with it
mask order                 the masks fit the tags much better with another order of classes
class name, table, list..  the files that describe the dataset are not what they should be
=========================  ======================================================================================

Under ``broken: drop`` a problem of an item leaves the item out, a harmless one (``effect="mend"``) is put right, and
one of the dataset as a whole (``effect="stop"``) still stops.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsss.data.images import check_image, check_mask
from wsss.data.index import SPLITS, Item
from wsss.data.mask_order import mask_order_cure, mask_order_problem, other_order
from wsss.data.palette import IGNORE
from wsss.system.cores import available_cores


@dataclass(frozen=True)
class Entry:
    """What a dataset claims of one image of one split."""

    id: str
    split: str
    image: Path
    mask: Path | None = None
    """None: the dataset has no mask of it, and none is missed."""
    labels: tuple[str, ...] | None = ()
    """Names of the classes present; (): none is; None: nothing says which are."""
    scored: bool = True
    """Whether its mask, if there is one, is to be scored."""
    source: str = ""
    """File in which its tags are fixed; empty: ``Collected.tags_file``."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    kind: str
    file: str
    id: str
    text: str
    cure: str
    split: str = ""
    """The split whose entry is meant; empty: that id in every split."""
    effect: Literal["item", "mend", "stop"] = "item"

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        who = f"id {self.id!r}" + (f" ({self.split})" if self.split else "") + ": " if self.id else ""
        return f"{self.kind}: {where}{who}{self.text}; {self.cure}"


@dataclass
class Collected:
    """What one kind of dataset found."""

    classes: tuple[str, ...]
    entries: list[Entry]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tags_file: str = ""
    """Where tags are fixed."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What else ``report.json`` should say."""
    masks_folder: str = ""
    """Whose masks may number the classes in another order, which is then tested; empty: it is not."""


@dataclass
class Examined:
    """What is left, and what was found."""

    items: list[Item]
    """Those without a problem, in the order of the entries."""
    problems: list[Problem]
    dropped: dict[tuple[str, str], list[str]]
    """(split, id) of what is left out, sorted, and why."""
    tag_without_pixel: list[tuple[str, str]]
    """(id, class): tagged, but not in the mask."""
    pixel_without_tag: list[tuple[str, str]]
    """(id, class): in the mask, but not tagged."""


def examine(collected: Collected, threads: int | None = None) -> Examined:
    """Open every image and mask and list what is wrong; the result does not depend on the number of threads."""
    classes, problems = collected.classes, list(collected.problems)
    problems += check_classes(classes, collected.tags_file)
    entries, again = _once(collected.entries)
    problems += again
    problems += _overlaps(entries)
    number = {name: c for c, name in enumerate(classes)}
    with ThreadPoolExecutor(max_workers=max(1, threads or available_cores())) as pool:
        looked = list(pool.map(lambda entry: _look(entry, number, collected.tags_file), entries, chunksize=8))
    for _, found, _ in looked:
        problems += found

    by_item: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        if problem.effect == "item":
            for split in [problem.split] if problem.split else SPLITS:
                by_item.setdefault((split, problem.id), []).append(str(problem))
    # a missing image may have no entry; an id without a split is dropped where it is an entry
    known = {(e.split, e.id) for e in entries} | {(p.split, p.id) for p in problems if p.effect == "item" and p.split}
    dropped = {key: by_item[key] for key in sorted(known & by_item.keys())}
    items, missing, untagged = [], [], []
    tagged, shown = [], []
    for entry, (item, _, values) in zip(entries, looked, strict=True):
        if item is None or (entry.split, entry.id) in dropped:
            continue
        items.append(item)
        if item.mask is not None:
            seen = {v - 1 for v in values if 0 < v <= len(classes)}
            missing += [(item.id, classes[c]) for c in item.labels if c not in seen]
            untagged += [(item.id, classes[c]) for c in sorted(seen - set(item.labels))]
            if item.labels:
                tagged.append([c in item.labels for c in range(len(classes))])
                shown.append([c in seen for c in range(len(classes))])
    if collected.masks_folder and tagged:
        other = other_order(np.array(tagged), np.array(shown))
        if other is not None:
            text, cure = mask_order_problem(classes, other), mask_order_cure(classes, other)
            problems.append(Problem("mask order", collected.masks_folder, "", text, cure, effect="stop"))
    problems += _empty_classes(classes, items, collected.tags_file)
    return Examined(items, problems, dropped, missing, untagged)


def check_classes(classes: Iterable[str], file: str = "") -> list[Problem]:
    """Problems of the class names themselves."""
    classes = list(classes)
    found = []

    def add(text: str, cure: str) -> None:
        found.append(Problem("class name", file, "", text, cure, effect="stop"))

    if not 1 <= len(classes) <= 254:
        add(f"{len(classes)} classes", "a dataset has 1 to 254 object classes (mask values 1..254)")
    for name in dict.fromkeys(classes):
        if classes.count(name) > 1:
            add(f"{name!r} stands {classes.count(name)} times", "name each class once")
        if name.strip().lower() == "background":
            add(f"{name!r} is a class", "leave it out: background is mask value 0 by itself, and no tag")
        elif name != name.strip() or not name or any(sign in name for sign in ";\n\r"):
            add(f"{name!r}", "a name must not be empty, hold ';' or line breaks, or begin or end in blanks")
    return found


def _once(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    first: dict[tuple[str, str], Entry] = {}
    problems = []
    for entry in entries:
        if first.setdefault((entry.split, entry.id), entry) is not entry:
            text, cure = f"stands more than once in the {entry.split} split", "take the repetitions out of the list"
            problems.append(Problem("duplicate id", str(entry.image), entry.id, text, cure, entry.split, effect="mend"))
    return list(first.values()), problems


def _overlaps(entries: list[Entry]) -> list[Problem]:
    val = {entry.id for entry in entries if entry.split == "val"}
    text, cure = "is in both splits", "take it out of one of the lists ('broken: drop' takes it out of train)"
    return [
        Problem("split overlap", str(entry.image), entry.id, text, cure, "train")
        for entry in entries
        if entry.split == "train" and entry.id in val
    ]


def _empty_classes(classes: tuple[str, ...], items: list[Item], file: str) -> list[Problem]:
    used = {c for item in items if item.split == "train" for c in item.labels}
    cure = "tag some, take it off the classes, or go on without ('broken: drop')"
    return [
        Problem("empty class", file, "", f"no sound training image is tagged {name!r}", cure, effect="mend")
        for c, name in enumerate(classes)
        if c not in used
    ]


def _look(entry: Entry, number: dict[str, int], tags_file: str) -> tuple[Item | None, list[Problem], tuple[int, ...]]:
    """Check one entry; returns its item (None if it has none), its problems, and the values in its mask."""
    found: list[Problem] = []

    def add(kind: str, file: Path | str, text: str, cure: str) -> None:
        found.append(Problem(kind, str(file), entry.id, text, cure, entry.split))

    labels = []
    tags_file = entry.source or tags_file
    if entry.labels is None:
        add("no tags", tags_file, "has no row of tags", "add one (it may be empty), or take the id out of the list")
    for name in entry.labels or ():
        if name in number:
            labels.append(number[name])
        else:
            near = difflib.get_close_matches(name, number, 1)
            hint = f"did you mean {near[0]!r}? Else " if near else ""
            add("unknown class", tags_file, f"is tagged {name!r}", f"{hint}add it to the classes or fix the tag")

    size, digest = None, ""
    try:
        data = entry.image.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        size = check_image(data)
    except FileNotFoundError:
        add("missing image", entry.image, "there is no such file", "restore it, or take the id out of the list")
    except (OSError, ValueError) as error:
        add("unreadable image", entry.image, _reason(error), "copy or save it again, or take the id out of the list")

    values: tuple[int, ...] = ()
    mask_digest = ""
    if entry.mask is not None:
        values, mask_digest = _look_at_mask(entry.mask, size, len(number), add)
    if size is None:
        return None, found, values
    scored = entry.scored and entry.mask is not None
    present = tuple(sorted(set(labels)))
    item = Item(entry.id, entry.split, entry.image, entry.mask, *size, present, scored, digest, mask_digest)
    return item, found, values


def _look_at_mask(path: Path, size: tuple[int, int] | None, classes: int, add: Any) -> tuple[tuple[int, ...], str]:
    try:
        data = path.read_bytes()
        mask = check_mask(data)
    except FileNotFoundError:
        add("missing mask", path, "there is no such file", "restore it, or take the id out of the list")
        return (), ""
    except (OSError, ValueError) as error:
        add("unreadable mask", path, _reason(error), "save it again as 8-bit palette PNG")
        return (), ""
    if size is not None and mask.shape != size:
        (h, w), (mask_h, mask_w) = size, mask.shape
        turned = " (one of them lies on its side)" if mask.shape == size[::-1] and h != w else ""
        text = f"the mask is {mask_w} x {mask_h} pixels, the upright image {w} x {h}{turned}"
        add("size", path, text, "make the mask for this very image")
    counts = np.bincount(mask.ravel(), minlength=256)
    values = tuple(int(v) for v in np.flatnonzero(counts))
    wrong = [v for v in values if v > classes and v != IGNORE]
    if wrong:
        shown = ", ".join(f"{v} ({counts[v]} pixels)" for v in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        allowed = f"allowed are 0 (background), 1..{classes} (the classes in their order) and {IGNORE} (ignore)"
        add("mask value", path, f"holds {shown}", allowed)
    return values, hashlib.sha256(data).hexdigest()


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
