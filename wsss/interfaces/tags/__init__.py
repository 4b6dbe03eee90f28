"""Annotations in the formats that people have, read into tags per photo.

====================  =============================================================================================
table                 any separator, encoding and column names; Excel workbooks; one column per class
                      (``wsss.interfaces.tags.tables``)
folders               photos in folders named after their class, perhaps below ``train`` and ``val``
COCO                  the JSON file of instances, detections or captions' categories, also as exported by other tools
Label Studio          JSON, its short form, and CSV
CVAT                  "CVAT for images 1.1"
YOLO                  a text file per photo, and the names in ``data.yaml``, ``obj.names`` or ``classes.txt``
====================  =============================================================================================

``find_annotations`` looks for them around a folder of photos. The names of mask values are read by
``wsss.interfaces.tags.names``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.errors import WsssError
from wsss.interfaces.tags.base import Annotations, PhotoIds
from wsss.interfaces.tags.exports import labels_of_yolo, read_cvat, read_folders, read_json, read_yolo
from wsss.interfaces.tags.tables import SUFFIXES_OF_TEXT, WORKBOOK, is_clean, read_table
from wsss.text import nice

HEADS = 4096
"""So many characters of a file tell whether it may be an export."""


def find_annotations(
    photos: Path, files: dict[str, list[Path]], given: Path | None = None, columns: Sequence[str] | None = None
) -> Annotations:
    """The annotations of some photos.

    Args:
        photos: The folder of the photos.
        files: Id to files.
        given: A file or folder of annotations; None: what lies in the folder or beside it. Clean tables go before
            other tables, these before exports, and folders named after classes come last.
        columns: See ``tables.read_table``.

    Raises:
        WsssError: None are there, several are, or they cannot be read.
    """
    ids = PhotoIds(files)
    if given is not None:
        return _given(given, photos, files, ids, columns)
    faults: list[WsssError] = []
    for folder in (photos, photos.parent):
        tables = [one for one in _visible(folder) if one.suffix.lower() in (".csv", ".tsv", WORKBOOK)]
        clean = [one for one in tables if one.suffix.lower() == ".csv" and is_clean(one)]
        for candidates in (clean, [one for one in tables if one not in clean]):
            readable = list(_readable(candidates, ids, columns, faults))
            # one that a configuration can name was made of the other, most likely by an earlier call
            found = [one for one in readable if one.as_is] or readable
            if len(found) > 1:
                names = ", ".join(one.source.name for one in found)
                raise WsssError(f"{nice(folder)} holds {len(found)} tables of tags ({names}); name one with --labels")
            if found:
                return found[0]
    for folder in (photos, photos.parent, *(one / "annotations" for one in (photos, photos.parent))):
        exports = [one for one in _visible(folder) if _is_export(one)]
        if len(exports) > 1:
            names = ", ".join(one.name for one in exports)
            raise WsssError(f"{nice(folder)} holds {len(exports)} exports ({names}); name one with --labels")
        if exports:
            return _given(exports[0], photos, files, ids, columns)
    if labels_of_yolo(photos, files):
        return read_yolo(photos, files)
    if (folders := read_folders(photos, files)) is not None:
        return folders
    if faults:
        raise faults[0]
    raise WsssError(
        f"no table of tags in {nice(photos)} or beside it; write one (tags.csv: a first line 'id,labels', then a line "
        "a photo: its path below the folder without the suffix, and its tags joined by ';'), sort the photos into "
        "folders named after classes, or name a table or an export of COCO, YOLO, Label Studio or CVAT with --labels"
    )


def _readable(
    tables: Sequence[Path], ids: PhotoIds, columns: Sequence[str] | None, faults: list[WsssError]
) -> Iterator[Annotations]:
    """The tables that are of these photos; why others are not goes to ``faults``."""
    for path in tables:
        try:
            yield read_table(path, ids, columns)
        except WsssError as error:
            faults.append(error)


def _given(
    path: Path, photos: Path, files: dict[str, list[Path]], ids: PhotoIds, columns: Sequence[str] | None
) -> Annotations:
    suffix = path.suffix.lower()
    if path.is_dir():
        if labels_of_yolo(photos, files, path):
            return read_yolo(photos, files, path)
        folders = read_folders(photos, files) if path.resolve() == photos.resolve() else None
        if folders is None:
            raise WsssError(
                f"{nice(path)}: holds neither YOLO's text files of these photos, nor is it a folder of photos in "
                "folders named after their classes; name a file"
            )
        return folders
    if suffix == ".json":
        return read_json(path, ids)
    if suffix == ".xml":
        return read_cvat(path, ids)
    if suffix in (*SUFFIXES_OF_TEXT, WORKBOOK):
        return read_table(path, ids, columns)
    raise WsssError(
        f"{nice(path)}: annotations are a table ({', '.join(SUFFIXES_OF_TEXT)}, {WORKBOOK}), an export of COCO or "
        "Label Studio (.json) or CVAT (.xml), or YOLO's folder of text files; unpack archives first"
    )


def _visible(folder: Path) -> list[Path]:
    """Files of a folder that are not hidden, sorted."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))


def _is_export(path: Path) -> bool:
    """Whether a file may be an export that is understood, by its head."""
    if path.suffix.lower() not in (".json", ".xml"):
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            head = file.read(HEADS)
    except OSError:
        return False
    if path.suffix.lower() == ".xml":
        return "<annotations" in head
    if head.lstrip().startswith("["):
        return '"annotations"' in head or '"image"' in head or '"data"' in head
    return any(f'"{key}"' in head for key in ("images", "annotations", "categories")) and '"masks"' not in head
