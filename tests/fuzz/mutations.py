"""Damage to files: blind in their bytes, and behind what formats guard them with (checksums, lengths, indentation),
where blind damage rarely gets."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import h5py
import numpy as np
import yaml

Mutation = Callable[[Random, bytes], bytes]
"""Makes damaged bytes of good ones."""
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
"""Numbers at which counters and lengths go wrong."""
VALUES = (
    *(None, True, False, 0, -1, 1, 3, 2**31, -(2**31), 2**53, 2**64, 10**40, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", " ", "a", "0", "-1", "../a", "/etc", "a\x00b", "\ud800", "é", "x" * 3000, "{}", "*", [], {}),
    *([[]], [None], [[[[[]]]]], {"": None}, {"a": {"a": {}}}, ["a", "a"], list(range(300))),
)
"""What may stand where something else is meant."""
TOKENS = (
    *(
        ",",
        ";",
        '"',
        "'",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\0",
        "\ufeff",
        "\u2028",
        "&a ",
        "*a",
        "!!python/object:os.system ",
    ),
    *(
        "<",
        ">",
        "&amp;",
        "&#0;",
        "<!--",
        "]]>",
        "{",
        "}",
        "[",
        "]",
        ":",
        "- ",
        "? ",
        "| ",
        "1e999",
        "-1",
        "9" * 60,
        "ß",
    ),
    *("<<: ", "%", "NaN", "0x", "É", "\x1b[2J", "../", "=cmd()", "!", "@", "`", "#"),
)
"""What formats of text give a meaning to."""


def of_bytes(rng: Random, data: bytes) -> bytes:
    """One to four of: bits turned, bytes or numbers put in, pieces cut out, doubled or swapped, the end cut off."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(made) + 1), rng.choice((1, 2, 4, 8, 32))
        match rng.randrange(8):
            case 0 if made:
                made[min(at, len(made) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                made[at : at + size] = rng.randbytes(size)
            case 2:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice(EDGES) % (1 << 8 * width)
                made[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
            case 3:
                del made[at : at + size]
            case 4:
                made[at:at] = made[at : at + size] * rng.randint(1, 3)
            case 5:
                other = rng.randrange(len(made) + 1)
                made[at : at + size] = made[other : other + size]
            case 6:
                made[at:at] = rng.randbytes(size)
            case 7 if rng.random() < 0.3:
                del made[at:]
    return bytes(made)


def of_text(rng: Random, data: bytes) -> bytes:
    """Signs with a meaning put in, lines doubled, dropped or swapped; else blind damage."""
    if rng.random() < 0.3:
        return of_bytes(rng, data)
    text = data.decode("utf-8")
    for _ in range(rng.randint(1, 4)):
        at, lines = rng.randrange(len(text) + 1), text.splitlines(keepends=True)
        match rng.randrange(4):
            case 0 | 1:
                text = text[:at] + rng.choice(TOKENS) * rng.choice((1, 1, 1, 2, 400)) + text[at + rng.randint(0, 3) :]
            case 2 if lines:
                one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[one] = lines[other] * rng.choice((1, 2))
                text = "".join(lines)
            case 3 if lines:
                del lines[rng.randrange(len(lines))]
                text = "".join(lines)
    return text.encode("utf-8", "surrogatepass")


def of_value(rng: Random, value: Any) -> Any:
    """A structure of JSON in which one to three places hold something else, or nothing, or are there twice."""
    made = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        stack = [made]
        while stack:
            one = stack.pop()
            inside = (
                list(one.items()) if isinstance(one, dict) else list(enumerate(one)) if isinstance(one, list) else []
            )
            places += [(one, key) for key, _ in inside]
            stack += [each for _, each in inside]
        if not places or rng.random() < 0.02:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 2:
                other, name = rng.choice(places)
                holder[key] = json.loads(json.dumps(other[name]))
            case 3 if isinstance(holder[key], str):
                holder[key] = of_text(rng, holder[key].encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
            case _:
                holder[key] = rng.choice(VALUES)
    return made


def of_json(rng: Random, data: bytes) -> bytes:
    """Damage to what JSON says; sometimes to how."""
    match rng.randrange(10):
        case 0:
            return of_text(rng, data)
        case 1:
            return rng.choice((b"[", b'{"a":')) * rng.choice((10, 5000, 200000))
        case 2:
            return data.replace(b"1", b"1" * rng.choice((20, 5000)), 1)
    return json.dumps(of_value(rng, json.loads(data)), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def of_yaml(rng: Random, data: bytes) -> bytes:
    """Damage to what YAML says, or to how."""
    if rng.random() < 0.4:
        return of_text(rng, data)
    made = of_value(rng, yaml.safe_load(data))
    return yaml.safe_dump(made, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def of_png(rng: Random, data: bytes) -> bytes:
    """Damage to the chunks of a PNG file, with the checksums that fit; else blind."""
    if rng.random() < 0.3:
        return of_bytes(rng, data)
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.randint(1, 2)):
        number = rng.randrange(len(chunks))
        kind, inside = chunks[number]
        match rng.randrange(6):
            case 0:
                width, height = (rng.choice((0, 1, 9, 60000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
                tail = bytes(rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
                chunks[0] = (
                    b"IHDR",
                    struct.pack(">II", width, height) + (tail if rng.random() < 0.5 else chunks[0][1][8:]),
                )
            case 1 if kind == b"IDAT":
                with_more = zlib.decompress(inside)[: rng.choice((0, 9, None))] + bytes(rng.choice((0, 1, 10**7)))
                chunks[number] = kind, zlib.compress(with_more)
            case 2:
                del chunks[number]
            case 3:
                chunks.insert(rng.randrange(len(chunks)), chunks[number])
            case 4:
                extra = rng.choice((b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"zTXt", b"gAMA", b"acTL", b"iTXt", b"pHYs"))
                chunks.insert(1, (extra, rng.randbytes(rng.choice((0, 1, 3, 26, 800)))))
            case _:
                chunks[number] = kind, of_bytes(rng, inside)
        if not chunks:
            break
    body = (
        struct.pack(">I", len(one)) + kind + one + struct.pack(">I", zlib.crc32(kind + one)) for kind, one in chunks
    )
    return data[:8] + b"".join(body)


def of_archive(inside: Callable[[str], Mutation]) -> Mutation:
    """Damage to a part of a ZIP file, packed again with a checksum that fits; else blind. ``inside``: how, by the name
    of the part."""

    def mutate(rng: Random, data: bytes) -> bytes:
        if rng.random() < 0.3:
            return of_bytes(rng, data)
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
            names = old.namelist()
            hit = rng.choice(names)
            for name in names:
                content = old.read(name)
                if name == hit:
                    match rng.randrange(8):
                        case 0:
                            continue
                        case 1:
                            name = rng.choice(("../a", "/a", " ", "a" * 300, "a\\b"))
                        case 2:
                            new.writestr(
                                name, bytes(rng.choice((10**5, 10**6, 10**6, 3 * 10**8))), zipfile.ZIP_DEFLATED, 1
                            )
                            continue
                    content = inside(name)(rng, content)
                new.writestr(name, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        return made.getvalue()

    return mutate


def of_safetensors(rng: Random, data: bytes) -> bytes:
    """Damage to what the head of a file of weights says, with a length that fits; else blind."""
    if rng.random() < 0.4:
        return of_bytes(rng, data)
    (size,) = struct.unpack("<Q", data[:8])
    head = of_json(rng, data[8 : 8 + size])
    return struct.pack("<Q", len(head)) + head + data[8 + size :]


def of_hdf5(rng: Random, data: bytes) -> bytes:
    """Damage to the datasets and attributes of an HDF5 file, through its own library; else blind."""
    if rng.random() < 0.3:
        return of_bytes(rng, data)
    made = io.BytesIO(data)
    with h5py.File(made, "r+") as file:
        for _ in range(rng.randint(1, 2)):
            names = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
            if rng.random() < 0.25:
                key = rng.choice(sorted(file.attrs))
                value = rng.choice(
                    (None, -1, 0, 3, 2**40, 0.5, np.nan, "a", np.arange(5), np.zeros((2, 2)), b"\xff", [-1.0])
                )
                del file.attrs[key]
                if value is not None:
                    file.attrs[key] = value
            elif names:
                _damaged_dataset(rng, file, rng.choice(names))
    return made.getvalue()


def _damaged_dataset(rng: Random, file: h5py.File, name: str) -> None:
    old = file[name]
    if not isinstance(old, h5py.Dataset) or old.size > 1 << 20:
        return
    values, dtype = old[()], old.dtype
    what = rng.randrange(10)
    if what < 3 and np.issubdtype(values.dtype, np.number) and values.size:
        flat = values.reshape(-1).copy()
        odd = (-1, 0, 1, 2, 100) if flat.dtype.kind in "iu" else (np.nan, np.inf, -1.0, 2.0)
        flat[rng.randrange(flat.size)] = np.asarray(rng.choice(odd)).astype(flat.dtype)
        if rng.random() < 0.3 and flat.dtype.kind in "iu":
            flat[rng.randrange(flat.size)] = rng.choice((np.iinfo(flat.dtype).min, np.iinfo(flat.dtype).max))
        old[...] = flat.reshape(values.shape)
        return
    del file[name]
    match what:
        case 3:
            file.create_group(name)
        case 4:
            file[name] = rng.choice(
                (h5py.ExternalLink("other.h5", "/a"), h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"))
            )
        case 5:  # a few bytes that declare very many
            shape = tuple(2**34 if k == 0 else n for k, n in enumerate(values.shape or (1,)))
            file.create_dataset(name, shape, dtype, chunks=True)
        case 6:
            shape = tuple(2**34 if k == 0 else n for k, n in enumerate(values.shape or (1,)))
            file.create_dataset(name, shape, dtype)
        case 7:
            count = len(values) if values.ndim else 1
            kinds = (np.float64, np.int8, np.complex64, np.dtype("S3"), np.bool_)
            file.create_dataset(name, data=rng.choice([["é"] * count, *(np.zeros(count, kind) for kind in kinds)]))
        case 8:
            file.create_dataset(name, data=values[: rng.randrange(len(values) + 1)] if values.ndim else 0, dtype=dtype)
        case 9:
            file.create_dataset(name, data=np.stack([values, values]), dtype=dtype)
