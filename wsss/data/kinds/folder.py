"""Your own photos: a folder of images, a table of tags, perhaps masks to score with.

An id is the path below the images folder without its suffix, with ``/`` between folders: ``farm/sheep 7.jpg`` is
``farm/sheep 7``. With lists, the dataset is what the lists name. Without lists it is every image and every row of
tags, and the share ``val_share`` is drawn for validation: the ids with the smallest SHA-256 of seed and id, so that
the draw depends on nothing but the ids, and an image more moves hardly any other.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from wsss.data.images import SUFFIXES
from wsss.data.lists import normal, read_lines, read_tags
from wsss.data.similar_names import similar
from wsss.data.validate import Collected, Entry, Problem
from wsss.errors import WsssError
from wsss.settings import FolderSettings
from wsss.system.packs import is_packed
from wsss.text import listed

VERSION = 1
HINTS = 20
"""For so many missing images the nearest id is looked for; that takes as long as there are images."""


def collect(settings: FolderSettings, out: Path, threads: int | None = None) -> Collected:
    """Say what the settings claim to be there. Raises ``WsssError`` when a table, list or folder cannot be read."""
    images = _files(Path(settings.images), "images", SUFFIXES)
    if not images:
        raise WsssError(f"{settings.images}: holds no image ({', '.join(SUFFIXES)}); fix 'images'")
    masks = _files(Path(settings.masks), "masks", (".png",)) if settings.masks is not None else {}
    tags, problems = read_tags(Path(settings.labels), settings.separator)
    classes = _classes(settings, tags)
    notes = []
    if settings.train is not None:
        splits = {name: read_lines(Path(getattr(settings, name)), f"the list '{name}'") for name in ("train", "val")}
        for name, ids in splits.items():
            if not ids:
                path = getattr(settings, name)
                problems.append(Problem("list", path, "", "is empty", "name at least one id", effect="stop"))
        splits = {name: [_bare(id, images, tags) for id in ids] for name, ids in splits.items()}
        named = set(splits["train"]) | set(splits["val"])
        rest = sum(id not in named for id in images)
        notes += [f"{rest} images of {settings.images} are in no list and are left out"] if rest else []
    else:
        splits = draw_splits({**images, **tags}, settings.val_share, settings.split_seed)

    entries = []
    absent = 0
    for split, ids in splits.items():
        for id in dict.fromkeys(ids):
            for what, files in (("image", images.get(id, [])), ("mask", masks.get(id, []))):
                if len(files) > 1:
                    text = f"is also the id of the {what} {files[0]}"
                    problems.append(Problem("duplicate id", str(files[1]), id, text, "rename or remove one", split))
            if id not in images:
                absent += 1
                problems.append(_missing(settings, id, split, images if absent <= HINTS else {}))
        entries += [
            Entry(id, split, images[id][0], masks[id][0] if id in masks else None, tags.get(id))
            for id in ids
            if id in images
        ]
    if settings.masks is not None:
        bare = sum(entry.mask is None for entry in entries)
        notes += [f"{bare} images have no mask in {settings.masks} and are not scored"] if bare else []
    for names in similar(classes):
        notes.append(
            f"{listed(map(repr, names), ' and ')} differ in case, blanks or hyphens alone: are they one class?"
        )
    tested = settings.masks if settings.masks is not None and settings.mask_order == "test" else ""
    return Collected(classes, entries, problems, notes, tags_file=settings.labels, masks_folder=tested)


def counted(settings: FolderSettings) -> dict[str, int] | None:
    """Images of each split by lists, names and table alone; None where there is no image. Raises as ``collect``."""
    images = _files(Path(settings.images), "images", SUFFIXES)
    if not images:
        return None
    if settings.train is not None:
        lists = {name: Path(getattr(settings, name)) for name in ("train", "val")}
        return {name: len(set(read_lines(path, f"the list '{name}'"))) for name, path in lists.items()}
    tags = read_tags(Path(settings.labels), settings.separator)[0]
    drawn = draw_splits({**images, **tags}, settings.val_share, settings.split_seed)
    return {name: len(ids) for name, ids in drawn.items()}


def draw_splits(ids: Iterable[str], share: float, seed: int) -> dict[str, list[str]]:
    """Draw a share of the ids for validation, at least one and not all; both lists sorted."""
    ids = sorted(set(ids))
    drawn = sorted(ids, key=lambda id: hashlib.sha256(f"{seed}:{id}".encode()).digest())
    count = min(max(1, round(share * len(ids))), len(ids) - 1)
    val = set(drawn[:count])
    return {"train": [id for id in ids if id not in val], "val": sorted(val)}


def _files(folder: Path, what: str, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Files below a folder by id, hidden ones left out; sub-folders and links are followed, but those to a folder
    around them."""
    if not folder.is_dir():
        raise WsssError(f"{folder}: the folder of {what} is not there; fix '{what}' in the settings")
    if is_packed(folder):
        unpack = f"wsss export --masks {shlex.quote(str(folder))} --to png --out DIR"
        raise WsssError(f"{folder}: its {what} are packed; unpack them with {unpack}, and name that folder")
    found: dict[str, list[Path]] = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _around(parent, name))
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                found.setdefault(normal(path.relative_to(folder).with_suffix("").as_posix()), []).append(path)
    return dict(sorted(found.items()))


def _around(parent: str, name: str) -> bool:
    """Whether a sub-folder is a link to a folder that it lies in, so that following it would never end."""
    path = os.path.join(parent, name)
    if not os.path.islink(path):
        return False
    target, here = os.path.realpath(path), os.path.realpath(parent)
    return here == target or here.startswith(target.rstrip(os.sep) + os.sep)


def _classes(settings: FolderSettings, tags: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if settings.classes is None:
        classes = sorted({name for names in tags.values() for name in names})
        if not classes:
            raise WsssError(f"{settings.labels}: no row has a label; fill the column 'labels'")
    elif isinstance(settings.classes, str):
        classes = read_lines(Path(settings.classes), "the list of class names (classes)")
    else:
        classes = list(settings.classes)
    return tuple(classes)


def _bare(id: str, images: dict[str, list[Path]], tags: dict[str, tuple[str, ...]]) -> str:
    """Lists may name files; an id goes without the suffix."""
    stem, suffix = os.path.splitext(id)
    return stem if id not in images and id not in tags and suffix.lower() in SUFFIXES and stem in images else id


def _missing(settings: FolderSettings, id: str, split: str, images: dict[str, list[Path]]) -> Problem:
    near = difflib.get_close_matches(id, images, 1, 0.8)
    hint = f"did you mean {near[0]!r}? Else " if near else ""
    source = getattr(settings, split) or settings.labels
    text = f"there is no such file with a suffix of {' '.join(SUFFIXES)}"
    cure = f"{hint}restore it, or take the id out of {source}"
    return Problem("missing image", str(Path(settings.images) / id), id, text, cure, split)


def photos_below(folder: Path) -> dict[str, list[Path]]:
    """Photos below a folder by id, ids sorted; several files of one id stand in one list. Raises ``WsssError`` where
    the folder is not there."""
    return _files(folder, "images", SUFFIXES)


def masks_below(folder: Path) -> dict[str, list[Path]]:
    """PNG files below a folder by id. Raises ``WsssError`` where the folder is not there."""
    return _files(folder, "masks", (".png",))
