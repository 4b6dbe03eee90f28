"""Masks as run lengths, in the forms of annotation tools."""

from __future__ import annotations

import numpy as np

SIZES = (3, 4, 8, 16)
"""Bits that Label Studio has for the length of a run."""
CHANNELS = 4
"""Label Studio counts red, green, blue and alpha of each pixel."""


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of equal values begin in a list (N,), N > 0, and how long they are.

    >>> runs(np.array([0, 0, 1, 1, 1]))
    (array([0, 2]), array([2, 3]))
    """
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    return starts, np.diff(starts, append=len(values))


def cvat_rle(region: np.ndarray) -> list[int]:
    """Run lengths of a region, bool (H, W), row by row; the first is of pixels outside, and may be 0 (CVAT for images
    1.1).

    >>> cvat_rle(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    flat = region.ravel().astype(np.uint8)
    lengths: list[int] = runs(flat)[1].tolist()
    return [0, *lengths] if flat[0] else lengths


def label_studio_rle(region: np.ndarray) -> list[int]:
    """The bytes of Label Studio's brush labels of a region, bool (H, W).

    A stream of bits, the highest first: the number of values (32), 8 - 1 bits a value (5), ``SIZES`` less 1 (4 each),
    and then for each run a 1, the place of its size in ``SIZES`` (2), its length less 1, and its value, 0 or 255 (8).
    The values are the pixels row by row, four times each.
    """
    flat = region.ravel().astype(np.uint8)
    starts, lengths = runs(flat)
    parts = [f"{CHANNELS * flat.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    longest = 1 << SIZES[-1]
    for start, length in zip(starts.tolist(), (CHANNELS * lengths).tolist(), strict=True):
        for begun in range(0, length, longest):
            less = min(longest, length - begun) - 1
            place = next(n for n, size in enumerate(SIZES) if less < 1 << size)
            parts.append(f"1{place:02b}{less:0{SIZES[place]}b}{255 * int(flat[start]):08b}")
    bits = np.frombuffer("".join(parts).encode(), np.uint8) - ord("0")
    content: list[int] = np.packbits(bits).tolist()
    return content


def from_label_studio_rle(content: list[int], shape: tuple[int, int]) -> np.ndarray:
    """The region, bool (H, W), of Label Studio's bytes: where alpha is not 0. Runs may also be lists of values.

    Raises:
        ValueError: The bytes end too early, or tell of another number of pixels.
    """
    if not all(type(one) is int and 0 <= one < 256 for one in content):
        raise ValueError("its brush labels are no list of bytes")
    bits = "".join(map("{:08b}".format, content))
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ValueError("its brush labels end too early")
        return int(bits[place - count : place], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    if total != CHANNELS * shape[0] * shape[1]:
        raise ValueError(f"its brush labels have {total // CHANNELS} pixels, the image {shape[0]} x {shape[1]}")
    values = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        same = read(1)
        end = done + read(sizes[read(2)]) + 1
        if end > total:
            raise ValueError("its brush labels have more pixels than they tell")
        if same:
            values[done:end] = min(255, read(word))
        else:
            values[done:end] = [min(255, read(word)) for _ in range(end - done)]
        done = end
    alpha: np.ndarray = values.reshape(*shape, CHANNELS)[..., -1] > 0
    return alpha
