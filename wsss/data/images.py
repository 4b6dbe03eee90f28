"""Reading image and mask files as they are met in real life."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from wsss.errors import WsssError
from wsss.system.packs import AnyFile

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
"""Suffixes of image files, in any case."""
LARGEST = 178_956_970
"""Pixels of an image; Pillow opens no larger one."""
UNREADABLE = (
    *(
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        LookupError,
        TypeError,
        ArithmeticError,
        AttributeError,
        RuntimeError,
    ),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises for damaged files: besides its own errors those that its parsers trip over."""

_SWAPS_SIDES = (5, 6, 7, 8)
"""Values of EXIF's tag 274 (orientation) at which width and height change places."""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # Pillow raises whatever its parser trips over; a damaged EXIF block leaves the pixels sound
        return 1


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale one channel of more than 8 bits to 0..255 by the range of its type, never by its own extremes."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"its values run from {low:g} to {high:g}; 0..1, 0..255 and 0..65535 can be read")
    return values


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        grey = np.rint(_eight_bits(np.asarray(image)) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        values = _eight_bits(np.asarray(image))
        factor = 255.0 if values.max() <= 1 else 1.0 if values.max() <= 255 else 1 / 257
        return np.repeat(np.rint(values * factor).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def read_image(path: Path | str | BinaryIO) -> np.ndarray:
    """Read a picture as RGB, upright.

    EXIF rotation is applied. Grey is repeated; palettes are looked up; CMYK is converted; transparency is laid over
    white; 16-bit grey is divided by 257 and floating-point grey by its type's range (0..1, 0..255 or 0..65535). Of
    several frames the first is taken.

    Returns:
        uint8 (H, W, 3), writable.

    Raises:
        WsssError: no such file, truncated, or not an image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            image.load()
            with contextlib.suppress(Exception):  # a damaged EXIF block leaves the pixels sound
                ImageOps.exif_transpose(image, in_place=True)
            return np.array(_rgb(image))
    except FileNotFoundError:
        raise WsssError(f"{path}: no such image; restore it or build the index again") from None
    except UNREADABLE as error:
        reason = _first_line(error)
        raise WsssError(f"{path}: cannot be read as an image ({reason}); copy it again or leave it out") from None


def read_upright(path: Path | str, size: tuple[int, int]) -> np.ndarray:
    """As ``read_image``, of an image that the index has as ``size`` = (height, width). Raises ``WsssError`` if it is
    not of this size any more."""
    image = read_image(path)
    if image.shape[:2] != size:
        raise WsssError(
            f"{path} is now {image.shape[0]} x {image.shape[1]}, in the index {size[0]} x {size[1]}; build the index "
            "again"
        )
    return image


def check_image(data: bytes) -> tuple[int, int]:
    """Decode an image file's bytes, for its errors only.

    JPEG is decoded at an eighth of its size, which still reads every byte.

    Returns:
        Height and width in pixels of the upright picture.

    Raises:
        ValueError: why it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if image.format == "JPEG":
                image.draft(None, (max(1, width // 8), max(1, height // 8)))
                image.load()
            else:
                image.load()
                width, height = image.size
            swaps = _orientation(image) in _SWAPS_SIDES
            if image.mode.startswith("I") or image.mode == "F":
                _eight_bits(np.asarray(image))
            elif image.mode == "LAB":
                raise ValueError("its colours are CIE L*a*b*; save it as RGB")
    except UNREADABLE as error:
        raise ValueError(_first_line(error)) from None
    return (width, height) if swaps else (height, width)


def _mask(image: Image.Image) -> np.ndarray:
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8)
        raise ValueError(f"its values run from {values.min()} to {values.max()}; a mask has 0..255")
    raise ValueError(f"it has the colour mode {image.mode}; a mask has one 8-bit channel (palette or grey)")


def check_mask(data: bytes) -> np.ndarray:
    """Decode a mask file's bytes. Returns uint8 (H, W). Raises ``ValueError``: why it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _mask(image)
    except UNREADABLE as error:
        raise ValueError(_first_line(error)) from None


def read_mask(path: AnyFile | str) -> np.ndarray:
    """Read a mask: 0 background, c + 1 for object class c, 255 ignore.

    Returns:
        uint8 (H, W), writable.

    Raises:
        WsssError: no such file, truncated, or not one 8-bit channel.
    """
    try:
        return check_mask((Path(path) if isinstance(path, str) else path).read_bytes())
    except FileNotFoundError:
        raise WsssError(f"{path}: no such mask; restore it or build the index again") from None
    except (OSError, ValueError) as error:
        reason = _first_line(error)
        raise WsssError(f"{path}: cannot be read as a mask ({reason}); save it as 8-bit palette PNG") from None


def _first_line(error: BaseException) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    # Pillow prints the address of the buffer it read from
    return "not an image of a known kind" if "cannot identify image file" in text else text
