"""Weights that were fetched once: a cache of files with checksum, source and licence beside each.

``wsss fetch`` fills it, with the network; stages only read it. A folder ``KIND/MODEL/TAG`` below the cache holds one
file of weights and ``source.json``, which is written last: without it nothing is there.

The cache is the folder that WSSS_WEIGHTS names, or ``~/.cache/wsss/weights``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from wsss.errors import WsssError
from wsss.system.files import atomic_path, read_json, write_json

ABOUT = "source.json"
UNKNOWN = "see the source"
"""Licence that no list tells."""


class Cached(NamedTuple):
    """A file of weights, its SHA-256, the address that it came from, and its licence."""

    path: Path
    sha256: str
    source: str
    licence: str


def cache_folder() -> Path:
    """Where fetched weights lie."""
    return Path(os.environ.get("WSSS_WEIGHTS") or Path.home() / ".cache" / "wsss" / "weights")


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(kind: str, model: str, tag: str) -> Path:
    """The folder of a model's weights in the cache."""
    parts = [re.sub(r"[^A-Za-z0-9._-]+", "_", part) for part in (kind, model, tag)]
    return cache_folder().joinpath(*parts)


def fetch_command(kind: str, model: str, tag: str) -> str:
    """What fetches them."""
    return shlex.join(["wsss", "fetch", f"{kind}:{model}:{tag}"])


def is_kept(kind: str, model: str, tag: str) -> bool:
    """Whether the cache has them, whole or not."""
    return bool(read_json(place(kind, model, tag) / ABOUT))


def cached(kind: str, model: str, tag: str, address: str = "") -> Cached:
    """Fetched weights.

    Raises:
        WsssError: They are not there, and then the command that fetches them; or the file is not the one that was
            fetched.
    """
    folder = place(kind, model, tag)
    about = read_json(folder / ABOUT)
    command = fetch_command(kind, model, tag)
    if not about:
        where = f" from {address}" if address else ""
        raise WsssError(
            f"the weights {tag} of {model} are not in {cache_folder()}, and a stage fetches nothing: run `{command}` "
            f"where there is a network, which gets them{where}"
        )
    path = folder / about["file"]
    if not path.is_file() or digest(path) != about["sha256"]:
        state = "is missing" if not path.is_file() else "is not the file that was fetched (its SHA-256 differs)"
        raise WsssError(f"{path} {state}; run `{command}` again")
    return Cached(path, about["sha256"], about["source"], about["licence"])


def keep(kind: str, model: str, tag: str, file: Path, about: Mapping[str, str]) -> Cached:
    """Put a file into the cache. ``about``: ``source`` and ``licence``."""
    folder = place(kind, model, tag)
    (folder / ABOUT).unlink(missing_ok=True)
    target = folder / f"weights{file.suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)
    found = Cached(target, digest(target), about["source"], about["licence"])
    told = {"model": model, "tag": tag, "file": target.name, "bytes": target.stat().st_size, **about}
    write_json(folder / ABOUT, {**told, "sha256": found.sha256})
    return found
