"""Inference stages that make something of each image that is neither maps nor masks: a text and a few arrays.

Each appears whole, as an HDF5 file of its own in the folder of parts, so that a killed stage resumes and jobs may share
the images. What becomes of them is up to the stage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsss.data.index import Item
from wsss.parts.folder import check_complete, find_parts, log_resumed, open_parts
from wsss.runtime.run import Run
from wsss.system.files import atomic_path
from wsss.system.log import log


@dataclass(frozen=True)
class Unit:
    """What is made of an image: plain values, and arrays by name."""

    told: Any
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_units(
    run: Run, items: list[Item], begin: Callable[[], Callable[[list[Item]], Iterable[tuple[Item, Unit]]]]
) -> dict[str, Path] | None:
    """Make a unit of each of the ``items``, or of this job's share of them.

    ``begin()`` prepares what makes them, and is called only if some are missing: a function that yields every image of
    a list once. What it yields for an image must not depend on which others it is given. Units of a killed run or of
    other jobs are kept if settings, seed, inputs and versions are those that they were made with.

    Returns:
        Id to file, in the order of ``items``, to be read by ``read_unit`` before the stage ends; None for a share.

    Raises:
        Interrupted: A signal asked to stop; what is made stays.
    """
    folder, promised = open_parts(run)
    if run.shard is None:
        for left in folder.glob(".*.tmp"):
            left.unlink()
    mine = items if run.shard is None else run.shard.of(items)
    whole = find_parts(lambda: _whole(folder, mine), lambda found: len(found) < len(mine), promised)
    missing = [item for item in mine if item.id not in whole]
    log_resumed(len(whole), mine)
    if missing:
        for item, unit in begin()(missing):
            whole[item.id] = write_unit(folder, item.id, unit)
            run.check_stop()
        check_complete(run.out, (item for item in mine if item.id not in whole))
    run.note(images=len(mine))
    return None if run.shard is not None else {item.id: whole[item.id] for item in items}


class UnitsOnDemand:
    """Units that are asked for one by one, since which are wanted follows from those before; what is made of them is
    kept when a killed run is started again, as by ``write_units``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.folder, _ = open_parts(run)
        for left in self.folder.glob(".*.tmp"):
            left.unlink()

    def __call__(self, key: str, make: Callable[[], Unit]) -> Unit:
        """The unit of a key, made if it is not there.

        Raises:
            Interrupted: A signal asked to stop; what is made stays.
        """
        path = unit_path(self.folder, key)
        if path.exists():
            try:
                return read_unit(path)
            except (OSError, ValueError, KeyError) as error:
                log.warning(f"{path.name} is made again: {error}")
        unit = make()
        write_unit(self.folder, key, unit)
        self.run.check_stop()
        return unit


def read_unit(path: Path, arrays: bool = True) -> Unit:
    """The unit in a file; without ``arrays`` only what is told. Raises ``OSError`` or ``ValueError`` for a damaged
    file."""
    with h5py.File(path, "r") as file:
        found = {name: file["arrays"][name][()] for name in file["arrays"]} if arrays else {}
        return Unit(json.loads(file["told"][()].tobytes().decode("utf-8")), found)


def unit_path(folder: Path, id: str) -> Path:
    """The file of a unit; ids may hold slashes, and be longer than a name may be."""
    return folder / f"{hashlib.sha256(id.encode()).hexdigest()[:32]}.h5"


def write_unit(folder: Path, id: str, unit: Unit) -> Path:
    """Write a unit, atomically; returns its file."""
    path = unit_path(folder, id)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("told", data=np.frombuffer(json.dumps(unit.told).encode("utf-8"), np.uint8))
        group = file.create_group("arrays")
        for name, array in unit.arrays.items():
            group.create_dataset(name, data=array)
    return path


def _whole(folder: Path, items: Iterable[Item]) -> dict[str, Path]:
    """Id to file of the units that are there and can be read; damaged ones are made again."""
    found = {}
    for item in items:
        path = unit_path(folder, item.id)
        if not path.exists():
            continue
        try:
            read_unit(path, arrays=False)
        except (OSError, ValueError, KeyError) as error:
            log.warning(f"{path.name} is made again: {error}")
        else:
            found[item.id] = path
    return found
