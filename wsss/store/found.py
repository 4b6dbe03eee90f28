"""What a search found: the file ``ranked.json`` of its artefact, and the recipe that a rank stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.store.manifest import read_manifest

RANKED = "ranked.json"
SAMPLE = 12
"""Networks at even distances from the best to the worst."""


def read_found(folder: Path) -> dict[str, Any]:
    """What ``ranked.json`` holds (``docs/formats.md``). Raises ``WsssError`` for a folder that is no whole search."""
    read_manifest(folder)
    try:
        found: dict[str, Any] = json.loads((folder / RANKED).read_text("utf-8"))
        found["networks"], found["sample"]
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(f"{folder}: no whole search ({error!r}); run stages/search.py again") from None
    return found


def position_of(folder: Path, found: dict[str, Any], rank: int | str) -> int:
    """The rank, from 0, that a recipe's ``rank`` means. Raises ``WsssError`` where the search has fewer networks."""
    if isinstance(rank, int):
        number, there, what = rank, len(found["networks"]), "networks"
    else:
        number, there, what = int(rank.removeprefix("sample-")), len(found["sample"]), "networks in its sample"
    if number >= there:
        raise WsssError(f"{folder}: rank {rank} is asked for, and this search has {there} {what}, counted from 0")
    return number if isinstance(rank, int) else int(found["sample"][number])


def recipe_of(folder: Path, rank: int | str) -> dict[str, Any]:
    """What a search decides in place of a recipe of ``segmenters`` (``wsss.settings.OF_SEARCH``), for a rank."""
    found = read_found(folder)
    recipe: dict[str, Any] = found["networks"][position_of(folder, found, rank)]["recipe"]
    rates = {"atrous_rates": tuple(recipe["atrous_rates"])} if "atrous_rates" in recipe else {}
    return {**recipe, **rates}
