"""The index of a dataset: what every stage after it knows of the images.

``index.csv``, one row per image: ``id``, ``split`` (train or val), ``image`` and ``mask`` (paths; relative ones start
at the index folder), ``height`` and ``width`` in pixels of the upright picture, ``labels`` (class names joined by
``;``), ``scored`` (1: its mask is to be scored), ``sha256`` and ``mask_sha256`` (of the files' bytes).
``classes.txt``: one name per line; line c is mask value c. ``report.json``: see ``wsss.stages.index``.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from wsss.errors import WsssError
from wsss.system.files import atomic_path, write_text

SPLITS = ("train", "val")
SHOWN = 5
"""Ids that a message lists."""
COLUMNS = ("id", "split", "image", "mask", "height", "width", "labels", "scored", "sha256", "mask_sha256")


@dataclass(frozen=True)
class Item:
    """One image and what is known of it."""

    id: str
    split: str
    image: Path
    mask: Path | None
    height: int
    width: int
    labels: tuple[int, ...]
    """Object classes present, from 0, ascending; empty: no label."""
    scored: bool
    sha256: str = ""
    mask_sha256: str = ""


@dataclass(frozen=True)
class Index:
    """The images of a dataset in a fixed order: the training list's, then the validation list's."""

    classes: tuple[str, ...]
    """Names of the object classes, without background; class c has mask value c + 1."""
    items: tuple[Item, ...]
    folder: Path
    name: str
    dropped: tuple[tuple[str, str], ...] = field(default=())
    """(split, id) of the images that ``broken: drop`` left out."""

    @classmethod
    def load(cls, folder: Path | str) -> Index:
        """Read an index folder. Raises ``WsssError`` when it is absent or not whole."""
        folder = Path(folder)
        try:
            classes = tuple(folder.joinpath("classes.txt").read_text("utf-8").splitlines())
            report = json.loads(folder.joinpath("report.json").read_text("utf-8"))
            with open(folder / "index.csv", encoding="utf-8", newline="") as file:
                rows = csv.DictReader(file)
                if tuple(rows.fieldnames or ()) != COLUMNS:
                    raise ValueError(f"the columns of index.csv must be {','.join(COLUMNS)}")
                number = {name: c for c, name in enumerate(classes)}
                # paths with .. are laid out from where the folder really is, should it be reached through a link
                base = folder.resolve()
                items = tuple(_item(row, base, number) for row in rows)
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise WsssError(f"{folder}: not a whole dataset index ({error}); run stages/index.py again") from None
        dropped = tuple((row["split"], row["id"]) for row in report.get("dropped", ()))
        return cls(classes, items, folder, report.get("dataset", folder.parent.name), dropped)

    @cached_property
    def _by_id(self) -> dict[str, Item]:
        return {item.id: item for item in self.items}

    def item(self, id: str) -> Item:
        """The image of that id. Raises ``WsssError`` when there is none."""
        try:
            return self._by_id[id]
        except KeyError:
            raise WsssError(f"{self.folder / 'index.csv'}: no image has the id {id!r}") from None

    def split(self, split: str) -> list[Item]:
        """All images of a split, in order. Raises ``WsssError`` for an unknown split."""
        if split not in SPLITS:
            raise WsssError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
        return [item for item in self.items if item.split == split]

    def labelled(self, split: str) -> list[Item]:
        """Those images of a split that have at least one label: what is trained on."""
        return [item for item in self.split(split) if item.labels]

    def training_items(self) -> list[Item]:
        """The labelled images of the split ``train``.

        Raises:
            WsssError: There are none.
        """
        items = self.labelled("train")
        if not items:
            raise WsssError(f"{self.folder}: no training image has a label; see report.json there")
        return items

    def scored(self, split: str) -> list[Item]:
        """Those images of a split whose masks are to be scored."""
        return [item for item in self.split(split) if item.scored]


def _item(row: dict[str, str], base: Path, number: dict[str, int]) -> Item:
    def path(text: str) -> Path:
        return Path(os.path.normpath(base / text))

    labels = tuple(sorted(number[name] for name in row["labels"].split(";") if name))
    return Item(
        id=row["id"], split=row["split"], image=path(row["image"]), mask=path(row["mask"]) if row["mask"] else None,
        height=int(row["height"]), width=int(row["width"]), labels=labels, scored=row["scored"] == "1",
        sha256=row["sha256"], mask_sha256=row["mask_sha256"],
    )  # fmt: skip


def written_path(path: Path, folder: Path) -> str:
    """How ``path`` is written in an index in ``folder``: absolute only where it was given so and lies outside."""
    base, full = folder.resolve(), Path(os.path.abspath(path))
    for inside in (folder, Path(os.path.abspath(folder)), base):
        if full.is_relative_to(inside):
            return full.relative_to(inside).as_posix()
    return path.as_posix() if path.is_absolute() else Path(os.path.relpath(full, base)).as_posix()


def write_index(folder: Path, classes: Iterable[str], items: Iterable[Item]) -> None:
    """Write ``classes.txt`` and ``index.csv``; each appears whole or not at all."""
    classes = tuple(classes)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    with atomic_path(folder / "index.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for item in items:
            mask = "" if item.mask is None else written_path(item.mask, folder)
            labels = ";".join(classes[c] for c in item.labels)
            rows.writerow([item.id, item.split, written_path(item.image, folder), mask, item.height, item.width, labels,
                           int(item.scored), item.sha256, item.mask_sha256])  # fmt: skip


def require(items: Iterable[Item], have: Container[str], lacks: str, cure: str) -> None:
    """Raise ``WsssError`` if ``have`` lacks some of the items: ``LACKS of 2 images: 'a', 'b'; CURE``."""
    missing = [repr(item.id) for item in items if item.id not in have]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise WsssError(f"{lacks} of {len(missing)} images: {', '.join(missing[:SHOWN])}{more}; {cure}")
