"""Datasets of HDF5 files that others may have made: what is read is in the file itself, and takes no more memory than
the file has bytes."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

BROKEN = (OSError, LookupError, ValueError, TypeError, RuntimeError, ArithmeticError, AttributeError)
"""What the library raises for files that are damaged, or are not what they should be."""


def dataset(file: h5py.File, name: str, kind: str, ndim: int) -> h5py.Dataset:
    """A dataset of a file, of which nothing is read yet.

    Args:
        file: Opened for reading.
        name: Its name.
        kind: ``int``, ``float`` or ``text``.
        ndim: Number of its dimensions.

    Raises:
        ValueError: It is not there, is a link or lies in other files, has another kind or number of dimensions, is
            compressed, or declares more values than are stored.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} is missing, or a link")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.ndim != ndim:
        raise ValueError(f"{name!r} is no dataset of {ndim} dimension{'s' * (ndim != 1)}")
    kinds = {"int": "iu", "float": "f", "text": ""}[kind]
    if found.dtype.kind not in kinds if kinds else h5py.check_string_dtype(found.dtype) is None:
        raise ValueError(f"{name!r} is of the type {found.dtype}, not {kind}")
    checksums = int(found.fletcher32)  # a filter too, which changes no value
    if found.is_virtual or found.external or found.id.get_create_plist().get_nfilters() > checksums:
        raise ValueError(f"{name!r} is compressed, or lies in other files")
    size = found.size * found.dtype.itemsize
    if size > min(found.id.get_storage_size(), file.id.get_filesize()):
        raise ValueError(f"{name!r} declares {found.size} values, more than are stored")
    return found


def values(file: h5py.File, name: str, kind: str, ndim: int) -> np.ndarray:
    """All values of a ``dataset`` of numbers. Raises as that."""
    found: np.ndarray = dataset(file, name, kind, ndim)[()]
    return found


def texts(file: h5py.File, name: str) -> list[str]:
    """All values of a one-dimensional ``dataset`` of texts. Raises as that, and where one is not UTF-8."""
    found: Any = dataset(file, name, "text", 1)[()]
    return [value.decode("utf-8") for value in found]
