"""Hostile and unlucky folders of photos: ``wsss init`` and ``wsss check`` read them, or say what is wrong.

Nothing may raise, hang, follow a path out of the folder or run anything; what a run could not use is named before it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

pytestmark = pytest.mark.usefixtures("plain_machine")
PHOTO = Path("photos/p0.jpg")
GOOD = [f"p{k},{('cat', 'dog')[k % 2]}" for k in range(12)]


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).convert(mode)


def table(rows: list[str], head: str = "id,labels", encoding: str = "utf-8", end: str = "\n") -> None:
    Path("tags.csv").write_bytes((end.join([head, *rows]) + end).encode(encoding, "surrogateescape"))


def called(id: str, file: str | bytes) -> None:
    """The first photo has another name."""
    os.rename(os.fsencode(PHOTO), b"photos/" + os.fsencode(file))
    table([f"{id},cat", *GOOD[1:]])


def other(suffix: str, image: Image.Image, **options: object) -> None:
    """The first photo is a file of another kind."""
    PHOTO.unlink()
    image.save(PHOTO.with_suffix(suffix), **options)


def bomb() -> None:
    """A few bytes that claim 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    PHOTO.unlink()
    PHOTO.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def masks(values: np.ndarray) -> None:
    Path("masks").mkdir()
    for k in range(12):
        Image.fromarray(values).save(f"masks/p{k}.png")


def folder_of_that_name() -> None:
    PHOTO.unlink()
    PHOTO.with_suffix(".png").mkdir()


def dangling() -> None:
    PHOTO.unlink()
    PHOTO.symlink_to("/nowhere")


def animated(suffix: str) -> None:
    other(suffix, picture(), save_all=True, append_images=[picture("L").convert("RGB")])


READ: dict[str, Callable[[], object]] = {
    "as it should be": lambda: None,
    "16 bits": lambda: other(".png", Image.fromarray(np.full((48, 64), 40000, np.uint16))),
    "CMYK": lambda: picture("CMYK").save(PHOTO),
    "transparency": lambda: other(".png", picture("RGBA")),
    "animated WebP": lambda: animated(".webp"),
    "animated GIF": lambda: animated(".gif"),
    "TIFF": lambda: other(".tif", picture()),
    "a link to the folder itself": lambda: os.symlink(".", "photos/loop"),
    "spaces": lambda: called("a b c", "a b c.jpg"),
    "quotes": lambda: called('"a""b\'"', "a\"b'.jpg"),
    "composed in the table, decomposed on disk": lambda: called("\u00e9", "e\u0301.jpg"),
    "leading dash": lambda: called("-rf", "-rf.jpg"),
    "250 letters": lambda: called("x" * 250, f"{'x' * 250}.jpg"),
    "a shell's command": lambda: called("$(touch pwned)", "$(touch pwned).jpg"),
    "byte order mark": lambda: table(GOOD, encoding="utf-8-sig"),
    "lines of Windows": lambda: table(GOOD, end="\r\n"),
    "a photo without a label": lambda: table(["p0,", *GOOD[1:]]),
    "class of HTML": lambda: table(["p0,<script>alert(1)</script>", *GOOD[1:]]),
    "class with slashes": lambda: table(["p0,../../a", *GOOD[1:]]),
    "class with a comma": lambda: table(['p0,"a,b"', *GOOD[1:]]),
    "class of an emoji": lambda: table(["p0,\U0001f431", *GOOD[1:]]),
    "every photo has every class": lambda: table([f"p{k},cat;dog" for k in range(12)]),
}
if features.check("avif"):
    READ["AVIF"] = lambda: other(".avif", picture())

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "truncated": (lambda: PHOTO.write_bytes(PHOTO.read_bytes()[:300]), "photos/p0.jpg"),
    "empty file": (lambda: PHOTO.write_bytes(b""), "photos/p0.jpg"),
    "decompression bomb": (bomb, "photos/p0.png"),
    "link to nowhere": (dangling, "photos/p0.jpg"),
    "a folder called like a photo": (folder_of_that_name, "p0"),
    "an id out of the folder": (lambda: table(["../../etc/passwd,cat", *GOOD[1:]]), "../../etc/passwd"),
    "two files of one id": (lambda: picture().save("photos/p0.png"), "photos/p0.png"),
    "a row twice": (lambda: table([*GOOD, "p0,dog"]), "p0"),
    "masks of another size": (lambda: masks(np.ones((10, 10), np.uint8)), "p0"),
    "masks of unknown values": (lambda: masks(np.full((48, 64), 77, np.uint8)), "77"),
    "masks in colour": (lambda: masks(np.full((48, 64, 3), 77, np.uint8)), "RGB"),
}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for k in range(12):
        picture().save(f"photos/p{k}.jpg")
    table(GOOD)


@pytest.mark.parametrize("case", READ)
def test_is_read(case: str, photos: None, wsss) -> None:
    READ[case]()
    code, said, _ = wsss("init", "photos", "--quick")
    assert code == 0 and "problem" not in said
    code, said, _ = wsss("check")
    assert code == 0 and "All in order" in said
    assert not Path("pwned").exists()


@pytest.mark.parametrize("case", REFUSED)
def test_is_named(case: str, photos: None, wsss) -> None:
    spoil, name = REFUSED[case]
    spoil()
    assert wsss("init", "photos", "--quick")[0] == 0
    code, *said = wsss("check")
    said = "".join(said)
    assert code == 2 and name in said and "a run stops here" in said


@pytest.mark.parametrize(
    "data, said", [(b"id,labels\np0,caf\xe9\n", "is not UTF-8"), (os.urandom(500) + b"\xff", "tags.csv")]
)
def test_a_table_that_is_none(data: bytes, said: str, photos: None, wsss) -> None:
    Path("tags.csv").write_bytes(data)
    code, _, text = wsss("init", "photos", "--quick")
    assert code == 2 and said in text and "Traceback" not in text
