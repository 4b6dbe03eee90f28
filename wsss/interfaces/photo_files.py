"""Photos by what somebody names: folders, single files, patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from wsss.data.images import SUFFIXES
from wsss.data.kinds.folder import photos_below
from wsss.data.lists import normal
from wsss.errors import WsssError


def photo_files(named: Sequence[Path | str], outside: Path | None = None) -> tuple[dict[str, list[Path]], Path]:
    """Files of the photos by id, and the folder that they all lie below.

    An id is the path below a folder that was named, or the name of a file, without the suffix; files of one id stand in
    one list. A pattern (``photos/*.jpg``, ``**`` for any folders) stands for the photos that match it.

    Args:
        named: Folders, files and patterns.
        outside: A folder whose files are passed over.

    Raises:
        WsssError: Nothing of that name, a file that is no photo, or no photo at all.
    """
    inside = None if outside is None else os.path.abspath(outside) + os.sep
    found: dict[str, list[Path]] = {}
    roots = []
    for one in named:
        files, root = _folder(Path(one)) if Path(one).is_dir() else _files(one)
        for id, paths in files.items():
            kept = [path for path in paths if inside is None or not os.path.abspath(path).startswith(inside)]
            known = found.setdefault(id, []) if kept else []
            known += [path for path in kept if path not in known]
        roots.append(os.path.abspath(root))
    if not found:
        raise WsssError(f"{' '.join(map(str, named))}: holds no photo ({', '.join(SUFFIXES)})")
    root = Path(named[0]) if len(named) == 1 and Path(named[0]).is_dir() else Path(os.path.commonpath(roots))
    return dict(sorted(found.items())), root


def _folder(folder: Path) -> tuple[dict[str, list[Path]], Path]:
    return photos_below(folder), folder


def _files(named: Path | str) -> tuple[dict[str, list[Path]], Path]:
    """A single photo, or those that match a pattern."""
    path = Path(named)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise WsssError(f"{path}: is a file, but no photo ({', '.join(SUFFIXES)})")
        paths = [path]
    elif glob.has_magic(str(named)):
        matches = [Path(one) for one in sorted(glob.glob(str(named), recursive=True))]
        paths = [one for one in matches if one.is_file() and one.suffix.lower() in SUFFIXES]
        if not paths:
            raise WsssError(f"{named}: no photo matches this pattern ({', '.join(SUFFIXES)})")
    else:
        raise WsssError(f"{path}: there is no such folder or photo")
    found: dict[str, list[Path]] = {}
    for one in paths:
        found.setdefault(normal(one.stem), []).append(one)
    return found, Path(os.path.commonpath([os.path.abspath(one.parent) for one in paths]))
