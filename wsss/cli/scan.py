"""What lies in and around a folder of photos: photos and their sizes, the table of tags, masks, lists, class names.

Only the heads of the files are read (every file is opened by ``wsss check``, and again before a run trains anything).
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsss.data.images import SUFFIXES, check_mask
from wsss.data.kinds.folder import masks_below, photos_below
from wsss.data.lists import read_lines
from wsss.data.mask_order import OtherOrder, other_order
from wsss.data.similar_names import similar
from wsss.data.validate import Problem
from wsss.errors import WsssError
from wsss.interfaces.tags import find_annotations
from wsss.interfaces.tags.base import used_in_order
from wsss.interfaces.tags.exports import splits_of
from wsss.interfaces.tags.names import find_names, is_plain
from wsss.system.progress import Progress
from wsss.text import nice

INSIDE = ("images", "photos", "JPEGImages")
"""A folder without photos of its own but with one of these in it is taken for a whole dataset."""
MASKS = ("masks", "SegmentationClass", "annotations")
"""Names of folders of masks that are looked for beside the photos."""
MOST = 5000
"""So many photos are measured at most, evenly over the list."""
COMPARED = 300
"""So many masks are compared with the tags at most, evenly over the list."""


@dataclass(frozen=True)
class Survey:
    """What was found. Paths are as they will stand in the settings."""

    photos: Path
    files: dict[str, list[Path]]
    """Id to files, sorted by id."""
    sizes: dict[str, tuple[int, int]]
    """Id to (width, height) in pixels, of those photos that were measured."""
    unreadable: dict[Path, str]
    """Photo to the reason, of those that were measured."""
    table: Path
    """The file or folder of annotations."""
    format: str
    """Its format, in words."""
    as_is: bool
    """Whether a configuration can name it, or a table has to be written."""
    tags: dict[str, tuple[str, ...]]
    problems: list[Problem]
    """Of the table."""
    separator: str
    classes: tuple[str, ...]
    names: Path | None = None
    """The file of class names, where a configuration can name it."""
    named_by: Path | None = None
    """The file that fixes the order of the classes; None: they are in the order of the alphabet."""
    masks: Path | None = None
    masked: frozenset[str] = frozenset()
    """Ids of photos that have a mask."""
    lists: tuple[Path, Path] | None = None
    """Files of the ids to train on and to validate on."""
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the lists, or of folders ``train`` and ``val``."""
    other_order: OtherOrder | None = None
    """An order of classes that fits the masks much better."""
    notes: tuple[str, ...] = ()

    @property
    def untagged(self) -> list[str]:
        """Photos without a row in the table."""
        return [id for id in self.wanted if id in self.files and id not in self.tags]

    @property
    def missing(self) -> list[str]:
        """Ids of the table or the lists without a photo."""
        return [id for id in self.wanted if id not in self.files]

    @property
    def wanted(self) -> list[str]:
        """The ids of the dataset: those of the lists, or every photo and every row."""
        listed = [id for ids in self.splits.values() for id in ids]
        return sorted(set(listed) if listed else {*self.files, *self.tags})

    @property
    def twins(self) -> dict[str, list[Path]]:
        """Ids that several files share."""
        return {id: files for id, files in self.files.items() if len(files) > 1}

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Names of classes that differ in case, blanks or hyphens alone."""
        return similar({*self.classes, *(name for names in self.tags.values() for name in names)})

    @property
    def usable(self) -> list[str]:
        """Photos with at least one tag that can be read, as far as they were measured."""
        bad = {id for id, files in self.files.items() if files[0] in self.unreadable}
        return [id for id in self.wanted if id in self.files and self.tags.get(id) and id not in bad]

    def per_class(self, ids: Iterable[str] | None = None) -> Counter[str]:
        """Photos of each class."""
        return Counter(name for id in (self.usable if ids is None else ids) for name in self.tags.get(id, ()))


def survey(
    photos: Path, labels: Path | None = None, masks: Path | None = None, columns: Sequence[str] | None = None
) -> Survey:
    """Look at a folder of photos.

    Args:
        photos: The folder, or one that holds it (``INSIDE``).
        labels: The table of tags or other annotations; None: what lies in the folder or beside it.
        masks: The folder of masks; None: one of the usual names beside the photos, if it has masks of these photos.
        columns: Of a table: that of photos, and those of classes; None: they are found.

    Raises:
        WsssError: No such folder, no photo, no annotations or several, annotations that cannot be read, masks among the
            photos.
    """
    photos = _folder(photos)
    files = photos_below(photos)
    if not files:
        raise WsssError(f"{nice(photos)}: holds no photo ({', '.join(SUFFIXES)}); name the folder with your photos")
    if labels is not None and not labels.exists():
        raise WsssError(f"{labels}: there is no such table of tags{_similar(labels)}")
    found = find_annotations(photos, files, labels, columns)
    tags = found.tags
    tagged = sorted({name for names in tags.values() for name in names})
    if not tagged:
        raise WsssError(f"{nice(found.source)}: no row has a label; fill the column 'labels' (cat;person)")
    masks, masked = _masks(photos, masks, files)
    near = _near(found.source, photos)
    notes = list(found.notes)
    names = find_names([*near, *([] if masks is None else [masks, masks.parent])], tagged, notes)
    classes, named_by = tuple(tagged), None
    if names is not None:
        named_by, classes = names
    elif masks is not None and len(found.order) > 1:
        named_by, classes = found.source, used_in_order(found.order, tags)
        while classes[-1] not in tagged:
            classes = classes[:-1]
    lists, splits = _lists(near, files, notes)
    splits = splits or splits_of(list(files))
    ids = [id for ids in splits.values() for id in ids if id in files] or list(files)
    sizes, unreadable = _measure({id: files[id][0] for id in dict.fromkeys(ids)})
    return Survey(
        photos, files, sizes, unreadable, found.source, found.format, found.as_is, tags, list(found.problems),
        found.separator, classes, named_by if names is not None and is_plain(*names) else None, named_by, masks, masked,
        lists, splits, None if masks is None else _other_order(masks, masked, tags, classes), tuple(notes),
    )  # fmt: skip


def _other_order(
    folder: Path, masked: Iterable[str], tags: dict[str, tuple[str, ...]], classes: tuple[str, ...]
) -> OtherOrder | None:
    """Whether masks number the classes otherwise, by some of them. Masks that cannot be read are passed over here."""
    files, ids = masks_below(folder), sorted(id for id in masked if tags.get(id))
    number = {name: c for c, name in enumerate(classes)}
    tagged, shown = [], []
    for id in ids[:: -(-len(ids) // COMPARED) or 1]:
        try:
            values = set(np.unique(check_mask(files[id][0].read_bytes())).tolist())
        except (OSError, ValueError):
            continue
        here = {number[name] for name in tags[id] if name in number}
        tagged.append([c in here for c in range(len(classes))])
        shown.append([c + 1 in values for c in range(len(classes))])
    shape = len(tagged), len(classes)
    return other_order(np.array(tagged, bool).reshape(shape), np.array(shown, bool).reshape(shape))


def _folder(photos: Path) -> Path:
    if photos.is_file():
        raise WsssError(f"{photos}: is a file; name the folder that holds the photos")
    if not photos.is_dir():
        raise WsssError(f"{photos}: there is no such folder{_similar(photos, folders=True)}")
    own = any(one.suffix.lower() in SUFFIXES and not one.name.startswith(".") for one in photos.iterdir())
    inside = [photos / name for name in INSIDE if (photos / name).is_dir()]
    return inside[0] if inside and not own else photos


def _similar(path: Path, folders: bool = False) -> str:
    """``; did you mean ...?`` of what lies where ``path`` was looked for."""
    if not path.parent.is_dir():
        return f" (nor a folder {nice(path.parent)})"
    names = [one.name for one in path.parent.iterdir() if one.is_dir() == folders and not one.name.startswith(".")]
    close = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean {nice(path.parent / close[0])}?" if close else ""


def _near(table: Path, photos: Path) -> list[Path]:
    """Folders in which the files that go with the photos are looked for, the nearest first."""
    return list(dict.fromkeys((table if table.is_dir() else table.parent, photos, photos.parent)))


def _masks(photos: Path, masks: Path | None, files: dict[str, list[Path]]) -> tuple[Path | None, frozenset[str]]:
    given = masks is not None
    if masks is None:
        masks = next((photos.parent / name for name in MASKS if (photos.parent / name).is_dir()), None)
    for folder in [masks] if masks else [photos / name for name in MASKS]:
        if folder.is_dir() and folder.resolve().is_relative_to(photos.resolve()) and masks_below(folder):
            raise WsssError(f"{nice(folder)} lies among the photos, so its masks would be taken for photos; move it "
                            "beside the folder of photos")  # fmt: skip
    if masks is None:
        return None, frozenset()
    if not masks.is_dir():
        raise WsssError(f"{masks}: there is no such folder of masks{_similar(masks, folders=True)}")
    masked = frozenset(files.keys() & masks_below(masks).keys())
    if given and not masked:
        raise WsssError(
            f"{masks}: holds no mask of these photos; a mask is called ID.png, like {next(iter(files))}.png"
        )
    return (masks, masked) if masked else (None, frozenset())


def _lists(
    near: list[Path], files: dict[str, list[Path]], notes: list[str]
) -> tuple[tuple[Path, Path] | None, dict[str, tuple[str, ...]]]:
    """``train.txt`` and ``val.txt`` beside the table or the photos, if they name these photos."""
    for folder in near:
        pair = folder / "train.txt", folder / "val.txt"
        if all(path.is_file() for path in pair):
            ids = {path.stem: tuple(read_lines(path, "the list of ids")) for path in pair}
            ids = {split: tuple(_bare(id, files) for id in found) for split, found in ids.items()}
            if all(any(id in files for id in found) for found in ids.values()):
                return pair, ids
            notes.append(f"{nice(pair[0])} and {pair[1].name} are not used: they do not name these photos")
    return None, {}


def _bare(id: str, files: dict[str, list[Path]]) -> str:
    """Lists may name files."""
    stem = Path(id).with_suffix("").as_posix()
    return stem if id not in files and Path(id).suffix.lower() in SUFFIXES and stem in files else id


def _measure(photos: dict[str, Path]) -> tuple[dict[str, tuple[int, int]], dict[Path, str]]:
    from PIL import Image

    step = -(-len(photos) // MOST)
    chosen = dict(list(photos.items())[::step])
    sizes: dict[str, tuple[int, int]] = {}
    unreadable: dict[Path, str] = {}

    def size(path: Path) -> tuple[int, int] | str:
        try:
            with Image.open(path) as image:
                return image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            text = str(getattr(error, "strerror", None) or error)
            return "not an image of a known kind" if "cannot identify" in text else text.splitlines()[0]

    with ThreadPoolExecutor(8) as pool, Progress(len(chosen), what="photos", shown=len(chosen) > 500) as progress:
        for (id, path), found in zip(chosen.items(), pool.map(size, chosen.values()), strict=True):
            progress.advance()
            if isinstance(found, str):
                unreadable[path] = found
            else:
                sizes[id] = found
    if not sizes:
        path, reason = next(iter(unreadable.items()))
        raise WsssError(
            f"{nice(path)}: cannot be read as an image ({reason}), nor can any other photo; copy them again"
        )
    return sizes, unreadable
