"""What a file of annotations says of photos, and which photo a name in it means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from wsss.data.images import SUFFIXES
from wsss.data.lists import normal
from wsss.data.validate import Problem
from wsss.errors import WsssError
from wsss.text import listed, nice

UPLOADED = re.compile(r"[0-9a-f]{6,8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""
SHOWN = 5


@dataclass(frozen=True)
class Annotations:
    """Which classes which photos show."""

    source: Path
    """The file or folder that says it."""
    format: str
    """Its format, in words."""
    tags: dict[str, tuple[str, ...]]
    """Class names of each id (none: an empty tuple). An id without a photo is one that the source alone knows."""
    order: tuple[str, ...] = ()
    """Class names in the order of the source, where it has one; some may have no photo."""
    separator: str = ";"
    """Between class names, where the source is a table that a configuration can name as it is."""
    as_is: bool = False
    """Whether it is such a table."""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


class PhotoIds:
    """The ids of some photos, found by names that others gave them: with a suffix, with other folders before them, in
    another case, as an address, or as the last part of the path alone."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = tuple(ids)
        self._exact = frozenset(self.ids)
        self._folded: dict[str, list[str]] = {}
        self._last: dict[str, list[str]] = {}
        for id in self.ids:
            self._folded.setdefault(id.casefold(), []).append(id)
            self._last.setdefault(PurePosixPath(id).name.casefold(), []).append(id)

    def find(self, name: str) -> list[str]:
        """The ids that a name may mean: none, one, or several with the same last part."""
        spelt = list(spellings(name))
        for one in spelt:
            if one in self._exact:
                return [one]
            if len(self._folded.get(one.casefold(), ())) == 1:
                return self._folded[one.casefold()]
        for one in spelt:
            if "/" not in one and one.casefold() in self._last:
                return self._last[one.casefold()]
        return []


def spellings(name: str) -> Iterator[str]:
    """What an id may be by a name: whole, then with ever fewer folders before it, each with and without a suffix of
    images; a path of Windows, an address, and an upload to Label Studio (a code before the name) are understood."""
    text = name.replace("\\", "/")
    if "?d=" in text:  # a local file of Label Studio
        text = unquote(text.partition("?d=")[2])
    elif "://" in text:
        text = unquote(urlsplit(text).path)
    parts = [part for part in normal(text).split("/") if part not in ("", ".")]
    uploaded = [UPLOADED.sub("", parts[-1], count=1)] if parts and UPLOADED.match(parts[-1]) else []
    for last in [parts[-1:], uploaded]:
        for start in range(len(parts) if last else 0):
            path = "/".join([*parts[start:-1], *last])
            yield path
            if PurePosixPath(path).suffix.lower() in SUFFIXES:
                yield normal(PurePosixPath(path).with_suffix("").as_posix())


def gathered(
    source: Path, rows: Iterable[tuple[str, Iterable[str]]], ids: PhotoIds
) -> tuple[dict[str, tuple[str, ...]], int]:
    """Names and classes of a source by id: classes of several rows of a photo are put together. Names without a photo
    stand under what their id would be.

    Returns:
        Classes of each id, and the number of rows beyond the first of their photo.

    Raises:
        WsssError: A name means several photos, or two names mean the same one.
    """
    tags: dict[str, dict[str, None]] = {}
    named: dict[str, str] = {}
    again = 0
    for name, classes in rows:
        found = ids.find(name)
        if len(found) > 1:
            raise WsssError(
                f"{nice(source)}: {name!r} may be {len(found)} photos ({listed(found[:SHOWN])}); write the path below "
                "the folder of photos there"
            )
        bare = _bare(name)
        id = found[0] if found else bare
        if named.setdefault(id, bare) != bare:
            raise WsssError(
                f"{nice(source)}: {named[id]!r} and {bare!r} would both be the photo {id!r}; write the paths below the "
                "folder of photos there, or restore the photo that is missing"
            )
        again += id in tags
        tags.setdefault(id, {}).update(dict.fromkeys(one for one in map(normal, classes) if one))
    return {id: tuple(names) for id, names in tags.items()}, again


def _bare(name: str) -> str:
    """A name as it stands, without a suffix of images."""
    text = normal(name.replace("\\", "/"))
    path = PurePosixPath(text)
    return normal(path.with_suffix("").as_posix()) if path.suffix.lower() in SUFFIXES else text


def used_in_order(order: Iterable[str], tags: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Class names in an order, those that no tag has among them, and behind them what it lacks."""
    lacking = Counter(name for names in tags.values() for name in names)
    return tuple(dict.fromkeys([*map(normal, order), *sorted(lacking)]))
