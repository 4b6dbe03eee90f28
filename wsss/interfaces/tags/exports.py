"""Annotations that other tools export: COCO's JSON, Label Studio's JSON, CVAT's XML, YOLO's text files, and folders
named after classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import yaml

from wsss.data.lists import normal, read_lines
from wsss.errors import WsssError
from wsss.interfaces.tags.base import Annotations, PhotoIds, gathered
from wsss.interfaces.tags.tables import names_in
from wsss.system.files import parse_json
from wsss.text import nice

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders, and the part of a dataset that each holds."""
NAMES_OF_YOLO = ("data.yaml", "dataset.yaml", "obj.names", "classes.txt", "predefined_classes.txt", "_darknet.labels")
"""Files that name the classes of YOLO's numbers."""
MOST = 100_000
"""Classes that a file of names may number."""
BOX = re.compile(r"\d{1,9}(\.0+)?(\s+-?[\d.]+(e-?\d+)?){4,}")
"""A line of YOLO: the number of a class, then numbers."""


def read_json(path: Path, ids: PhotoIds) -> Annotations:
    """COCO's format of annotations, or what Label Studio exports. Raises ``WsssError`` for anything else."""
    try:
        content = parse_json(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WsssError(f"{nice(path)}: cannot be read as JSON ({error}); export it again") from None
    try:
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            if not all(isinstance(content[key], list) for key in ("images", "annotations", "categories")):
                raise TypeError("images, annotations and categories must be lists")
            return _coco(path, content, ids)
        if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
            return _label_studio(path, content, ids)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise WsssError(
            f"{nice(path)}: is no whole export ({type(error).__name__}: {error}); export it again"
        ) from None
    raise WsssError(
        f"{nice(path)}: is neither COCO's format (with images, annotations, categories) nor an export of Label Studio "
        "(a list of tasks)"
    )


def _coco(path: Path, content: dict[str, Any], ids: PhotoIds) -> Annotations:
    categories = sorted(content["categories"], key=lambda one: int(one["id"]))
    name = {one["id"]: str(one["name"]) for one in categories}
    shown: dict[Any, list[str]] = {}
    for one in content["annotations"]:
        if one["category_id"] not in name:
            raise WsssError(f"{nice(path)}: annotation {one.get('id')} has the category {one['category_id']}, which is "
                            "not in the list of categories; export it again")  # fmt: skip
        shown.setdefault(one["image_id"], []).append(name[one["category_id"]])
    rows = [(str(image["file_name"]), shown.get(image["id"], [])) for image in content["images"]]
    tags, _ = gathered(path, rows, ids)
    used = {one for names in shown.values() for one in names}
    # what stands above all others and is never used, such as Roboflow's, is no class
    above = {one.get("supercategory") for one in categories if one.get("supercategory") != one["name"]}
    order = [one for one in name.values() if one in used or one not in above]
    return Annotations(path, "COCO annotations", tags, tuple(map(normal, order)))


def _label_studio(path: Path, tasks: list[dict[str, Any]], ids: PhotoIds) -> Annotations:
    rows = []
    for task in tasks:
        data = task.get("data", task)
        photo = next((str(data[key]) for key in ("image", "img", "photo", "ocr", "url") if data.get(key)), None)
        if photo is None:
            fields = [str(value) for value in data.values() if isinstance(value, str) and ids.find(value)]
            if not fields:
                raise WsssError(f"{nice(path)}: task {task.get('id')} names no photo in its data ({', '.join(data)})")
            photo = fields[0]
        names: list[str] = []
        for done in task.get("annotations", task.get("completions", [])):
            if not done.get("was_cancelled"):
                names += [one for region in done["result"] for one in _said(region.get("value", {}))]
        if "data" not in task:  # the short form: fields beside the photo
            for value in (value for key, value in task.items() if key not in NO_LABELS):
                names += _short_form(value)
        rows.append((photo, names))
    tags, _ = gathered(path, rows, ids)
    return Annotations(path, "export of Label Studio", tags)


NO_LABELS = frozenset("image img photo url id annotator annotation_id created_at updated_at lead_time".split())
"""Fields of Label Studio's short form that hold no class."""


def _said(value: dict[str, Any]) -> Iterator[str]:
    """Classes of a region: whole photos (choices), boxes, outlines, brushes, points."""
    for key, names in value.items():
        if key == "choices" or key.endswith("labels"):
            yield from map(str, names)


def _short_form(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from names_in(value)
    elif isinstance(value, dict):
        yield from _said(value)
    elif isinstance(value, list):
        for one in value:
            yield from _said(one) if isinstance(one, dict) else [str(one)]


def read_cvat(path: Path, ids: PhotoIds) -> Annotations:
    """CVAT's format "CVAT for images": tags, boxes, outlines and masks of each photo; labels in the order of the
    project. Raises ``WsssError`` for anything else."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: unknown encodings
        raise WsssError(f"{nice(path)}: cannot be read as XML ({error}); export it again") from None
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise WsssError(f"{nice(path)}: is no export of CVAT; export the task as 'CVAT for images 1.1'")
    rows = [(one.get("name", ""), [shape.get("label", "") for shape in one if shape.get("label")]) for one in images]
    order = [one.findtext("name", "") for one in root.iter("label")]
    tags, _ = gathered(path, rows, ids)
    return Annotations(path, "export of CVAT", tags, tuple(normal(one) for one in order if one))


def labels_of_yolo(photos: Path, files: dict[str, list[Path]], folder: Path | None = None) -> dict[str, Path]:
    """The text file of boxes of each photo that has one: in ``folder``, beside the photo, or in a folder ``labels`` in
    place of ``images`` (the last of that name in the path)."""
    found: dict[str, Path] = {}
    for id, (path, *_) in files.items():
        places = [path.with_suffix(".txt"), photos.parent / "labels" / f"{id}.txt"]
        parts = path.parts
        if "images" in parts:
            last = len(parts) - 1 - parts[::-1].index("images")
            places.append(Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt"))
        if folder is not None:
            places = [folder / f"{id}.txt", folder / f"{PurePosixPath(id).name}.txt", *places]
        text = next((one for one in places if one.is_file()), None)
        found |= {id: text} if text is not None else {}
    return found


def read_yolo(photos: Path, files: dict[str, list[Path]], folder: Path | None = None) -> Annotations:
    """Boxes or outlines in YOLO's format. A photo without a text file has no row; one with an empty file has no class.

    Raises:
        WsssError: No such file, a line that is none of YOLO's, a class without a name, or no names.
    """
    texts = labels_of_yolo(photos, files, folder)
    if not texts:
        raise WsssError(f"{nice(folder or photos)}: holds no text file ID.txt of these photos")
    near = [folder, photos, photos.parent, photos.parent.parent]
    order, source = _names_of_yolo([one for one in near if one is not None])
    tags = {}
    for id, path in texts.items():
        names: dict[str, None] = {}
        for number, line in enumerate(read_lines(path, "the file of boxes"), 1):
            if not BOX.fullmatch(line):
                raise WsssError(
                    f"{nice(path)}: line {number} ({line[:40]!r}) is none of YOLO's: 'CLASS x y width height'"
                )
            value = int(line.split()[0].partition(".")[0])
            if value >= len(order):
                raise WsssError(f"{nice(path)}: line {number} has the class {value}, but {nice(source)} names "
                                f"0 to {len(order) - 1}; add its name there")  # fmt: skip
            names[order[value]] = None
        tags[id] = tuple(names)
    return Annotations(next(iter(texts.values())).parent, "YOLO text files", tags, order)


def _names_of_yolo(near: list[Path]) -> tuple[tuple[str, ...], Path]:
    for path in (folder / name for folder in near for name in NAMES_OF_YOLO):
        if not path.is_file():
            continue
        if path.suffix != ".yaml":
            return tuple(read_lines(path, "the list of class names")), path
        try:
            names = yaml.safe_load(path.read_text("utf-8"))["names"]
            if isinstance(names, dict):
                if names and max(map(int, names)) >= MOST:
                    raise ValueError(f"their numbers go beyond {MOST}")
                names = [names.get(k, f"class {k}") for k in range(max(map(int, names)) + 1)] if names else []
            if not isinstance(names, list):
                raise ValueError(f"there is {names!r}")
        except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise WsssError(f"{nice(path)}: names no classes under 'names' ({error})") from None
        return tuple(normal(str(one)) for one in names), path
    places = ", ".join(dict.fromkeys(nice(one) for one in near))
    raise WsssError(f"no names of YOLO's classes in {places}; put a file classes.txt there, a name per line, or YOLO's "
                    "data.yaml")  # fmt: skip


def read_folders(photos: Path, files: dict[str, list[Path]]) -> Annotations | None:
    """Photos in folders named after their class, perhaps below ``train`` and ``val``; None where they lie otherwise."""
    tags: dict[str, tuple[str, ...]] = {}
    for id in files:
        parts = list(PurePosixPath(id).parts[:-1])
        if parts and parts[0].lower() in SPLITS:
            parts = parts[1:]
        if not parts:
            return None
        tags[id] = (normal(parts[0]),)
    return Annotations(photos, "folders named after classes", tags) if len(set(tags.values())) > 1 else None


def splits_of(ids: list[str]) -> dict[str, tuple[str, ...]]:
    """Training and validation ids, where every photo lies below a folder ``train``, ``val`` or ``test``; else nothing.
    Those to test on are in neither, unless there are none to validate on."""
    parts: dict[str, list[str]] = {}
    for id in ids:
        first = PurePosixPath(id).parts[0].lower() if "/" in id else ""
        if first not in SPLITS:
            return {}
        parts.setdefault(SPLITS[first], []).append(id)
    val = parts.get("val") or parts.get("test")
    return {"train": tuple(parts["train"]), "val": tuple(val)} if val and "train" in parts else {}
