"""The colours of PASCAL VOC masks, and masks as 8-bit palette PNG files.

The colour of index i is made by dealing the bits of i, three at a time, to red, green and blue from their highest bit
down (``VOCdevkit``'s ``VOClabelcolormap``): 0 black, 1 (128, 0, 0), 2 (0, 128, 0), ... 255 (224, 224, 192).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.errors import WsssError

IGNORE = 255
"""Mask value of pixels that are neither scored nor learnt from."""


def voc_palette() -> np.ndarray:
    """Colours of the 256 indices, uint8 (256, 3)."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


VOC_PALETTE = voc_palette()
"""uint8 (256, 3); row i is the colour of mask value i in a file."""
BASIC = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2", "#ffffff")
"""Colours of the first classes in pictures: those of Okabe and Ito, which most eyes keep apart, and white."""


def class_colours(count: int) -> list[str]:
    """A colour for each object class in pictures, where VOC's are too dark to be seen on a photo.

    Beyond eight they are dealt around the circle of hues, in three degrees of lightness; no palette keeps so many apart
    for everyone, so pictures are also named in words."""
    colours = list(BASIC[:count])
    for k in range(len(colours), count):
        colours.append(_hsl(k * 137.508 % 360, 0.65, (0.45, 0.62, 0.78)[k % 3]))
    return colours


def _hsl(hue: float, saturation: float, lightness: float) -> str:
    reach = saturation * min(lightness, 1 - lightness)
    places = [(n + hue / 30) % 12 for n in (0, 8, 4)]
    return "#" + "".join(f"{round(255 * (lightness - reach * max(-1, min(k - 3, 9 - k, 1)))):02x}" for k in places)


CLASS_COLOURS = np.array([(0, 0, 0), *(tuple(bytes.fromhex(c[1:])) for c in class_colours(255))], np.uint8)
"""uint8 (256, 3); row i is the colour of mask value i in overlays, panels, legends and the report."""


def decode_colours(colours: np.ndarray) -> np.ndarray:
    """Turn an image in VOC colours into mask values.

    Args:
        colours: uint8 (H, W, 3).

    Returns:
        uint8 (H, W); the colour (224, 224, 192) becomes 255.

    Raises:
        WsssError: a colour that is not in the palette; the message names it and says how many pixels have it.
    """
    code = (colours[..., 0].astype(np.int64) << 16) | (colours[..., 1].astype(np.int64) << 8) | colours[..., 2]
    table = (VOC_PALETTE.astype(np.int64) * np.array([1 << 16, 1 << 8, 1])).sum(axis=1)
    order = np.argsort(table)
    place: npt.NDArray[np.intp] = order[np.searchsorted(table, code, sorter=order).clip(max=255)]
    strange = table[place] != code
    if strange.any():
        red, green, blue = colours[strange][0]
        count = int(strange.sum())
        raise WsssError(f"colour ({red}, {green}, {blue}) is not in the VOC palette ({count} pixels have such colours)")
    return place.astype(np.uint8)


def encode_mask(mask: np.ndarray) -> bytes:
    """The bytes of an 8-bit palette PNG of ``mask``, uint8 (H, W). The same mask gives the same bytes."""
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 (H, W), not {mask.dtype} {mask.shape}")
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(VOC_PALETTE.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_mask(path: Path | str, mask: np.ndarray) -> None:
    """Write ``mask``, uint8 (H, W), as palette PNG; folders above it are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mask(mask))
