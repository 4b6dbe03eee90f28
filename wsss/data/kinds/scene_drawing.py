"""Brushes of the generated scenes: noise, bodies, body textures, parts.

Places are in units of the image side, (0, 0) the upper left corner; x runs right, y runs down. ``pixel`` is the side of
a pixel in the units at hand: edges fade over one pixel. All arrays are float64.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]


def grid(size: int) -> tuple[Array, Array]:
    """x and y of the pixel centres, each (size, size)."""
    centres = (np.arange(size) + 0.5) / size
    return np.broadcast_to(centres, (size, size)), np.broadcast_to(centres[:, None], (size, size))


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Smooth noise (H, W) of mean 0 and deviation about 1, with ``cells`` (down, across) bumps to the side."""
    coarse = rng.standard_normal((cells[0] + 3, cells[1] + 3)).astype(np.float32)
    # the margin keeps the border from being flatter than the middle
    box = (1.5, 1.5, cells[1] + 1.5, cells[0] + 1.5)
    fine = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(fine, np.float64) * 1.35


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: float,
    octaves: int,
    stretch: float = 1.0,
    fall: float = 0.6,
) -> Array:
    """Noise of several octaves, deviation about 1, the first with ``cells`` bumps across the width; ``stretch`` > 1
    draws them out across, < 1 down."""
    total, power = np.zeros(shape), 0.0
    height, width = shape
    for octave in range(octaves):
        n = cells * 2**octave
        down, across = round(n * height / width * stretch**0.5), round(n / stretch**0.5)
        total += fall**octave * noise(rng, shape, (min(height, max(1, down)), min(width, max(1, across))))
        power += fall ** (2 * octave)
    even: Array = total / power**0.5
    return even


def ramp(value: Array, width: float) -> Array:
    """Opacity of a region that is positive inside: 0 to 1 over ``width`` about its edge."""
    return np.clip(value / width + 0.5, 0.0, 1.0)


def blend(image: Array, colour: Array, opacity: Array) -> None:
    """Lay a colour, (3,) or (H, W, 3), over ``image`` in place."""
    image += opacity[..., None] * (colour - image)


def hsv(hue: float, saturation: float, value: float) -> Array:
    """RGB in [0, 1], (3,)."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1))))


# --- bodies -------------------------------------------------------------------------------------------------------

_ANGLES = np.linspace(-np.pi, np.pi, 361)


@dataclass(frozen=True)
class Lobe:
    """A star-shaped outline: radius ``radii`` at the angles from -pi to pi about ``centre``."""

    centre: tuple[float, float]
    radii: Array

    def depth(self, x: Array, y: Array) -> Array:
        """Distance from the centre as a share of the outline's radius: 0 in the middle, 1 on the outline."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        return np.hypot(dx, dy) / np.interp(np.arctan2(dy, dx), _ANGLES, self.radii)


def outline(rng: np.random.Generator, radius: float) -> Array:
    """Radii of an irregular smooth outline of about the area of a disc of that radius."""
    turned = _ANGLES + rng.uniform(-np.pi, np.pi)
    aspect = rng.uniform(1.0, 1.75) ** 0.5
    across, along = np.cos(turned) / aspect, np.sin(turned) * aspect
    kind = rng.integers(3)
    if kind == 2:
        # a polygon of 3 to 6 corners, rounded by mixing it with the ellipse
        corners = int(rng.integers(3, 7))
        phase = (turned % (2 * np.pi / corners)) - np.pi / corners
        radii = 0.62 * np.cos(np.pi / corners) ** 0.5 / np.cos(phase) + 0.38 / np.hypot(across, along)
    else:
        power = 2.0 if kind == 0 else rng.uniform(2.6, 4.5)
        radii = (np.abs(across) ** power + np.abs(along) ** power) ** (-1 / power)
    for waves in range(2, 7):
        radii = radii * (1 + rng.normal(0, 0.16 / waves) * np.cos(waves * _ANGLES + rng.uniform(0, 2 * np.pi)))
    scaled: Array = radii * radius / np.sqrt(np.mean(radii**2))
    return scaled


def lobes(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> list[Lobe]:
    """One body: a trunk, and now and then one or two smaller lobes grown together with it."""
    body = [Lobe(centre, outline(rng, radius))]
    for _ in range(rng.choice(3, p=(0.45, 0.4, 0.15))):
        angle, share = rng.uniform(-np.pi, np.pi), rng.uniform(0.4, 0.65)
        reach = np.interp(angle, _ANGLES, body[0].radii)
        place = (centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle))
        body.append(Lobe(place, outline(rng, radius * share)))
    return body


def window(body: list[Lobe], size: int) -> tuple[slice, slice]:
    """Rows and columns of an image that hold a body and its shadow (depth below 1.25)."""
    # lobes that run into one another bulge by up to a seventh
    reach = [1.45 * lobe.radii.max() for lobe in body]
    spans = []
    for axis in (1, 0):
        low = min(lobe.centre[axis] - r for lobe, r in zip(body, reach, strict=True))
        high = max(lobe.centre[axis] + r for lobe, r in zip(body, reach, strict=True))
        spans.append(slice(max(0, int(low * size)), min(size, int(np.ceil(high * size)))))
    return spans[0], spans[1]


def depth(body: list[Lobe], x: Array, y: Array) -> Array:
    """Depth of a body: 1 on its outline, less inside; lobes run smoothly into one another."""
    sharp = 9.0
    parts = [np.exp(-sharp * np.minimum(lobe.depth(x, y), 6.0)) for lobe in body]
    together: Array = np.sum(parts, axis=0)
    return -np.log(together) / sharp


# --- the weak evidence: a texture all over the body -----------------------------------------------------------------

# (angles in degrees, waves across the image side). Stripes lie along the axes or come in mirrored pairs, so that a
# mirrored or slightly turned image keeps its class.
TEXTURES: tuple[tuple[tuple[float, ...], float], ...] = (
    ((90.0,), 17.0),
    ((0.0,), 17.0),
    ((45.0, 135.0), 15.0),
    ((90.0,), 8.5),
    ((0.0,), 8.5),
    ((45.0, 135.0), 8.0),
    ((0.0, 90.0), 15.0),
    ((0.0, 90.0), 8.0),
)


def texture(rng: np.random.Generator, kind: int, x: Array, y: Array) -> Array:
    """Body texture of a class at the places x and y, in [-1, 1]: waves, slightly turned, scaled and bent."""
    angles, waves = TEXTURES[kind]
    turn, scale = np.deg2rad(rng.normal(0, 6)), waves * np.exp(rng.normal(0, 0.08))
    bend = 0.45 * noise(rng, x.shape, (2, 2))
    total = np.ones(x.shape)
    for angle in angles:
        direction = np.deg2rad(angle) + turn
        along = x * np.cos(direction) + y * np.sin(direction)
        total = total * np.cos(2 * np.pi * scale * along + bend + rng.uniform(0, 2 * np.pi))
    # the product of two waves is weaker than one
    return np.tanh(total * (1.0 if len(angles) == 1 else 1.6))


# --- the strong evidence: a small part ------------------------------------------------------------------------------


def _ring(u: Array, v: Array) -> Array:
    return 0.2 - np.abs(np.hypot(u, v) - 0.56)


def _cross(u: Array, v: Array) -> Array:
    long, wide = 0.8, 0.2
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(long - u, wide - v), np.minimum(wide - u, long - v))


def _stripes(u: Array, v: Array) -> Array:
    return 0.15 * np.cos(2 * np.pi * 1.35 * u)


def _dots(u: Array, v: Array) -> Array:
    angle = np.round(np.arctan2(v, u) / (np.pi / 2.5)) * (np.pi / 2.5)
    around = np.hypot(u - 0.58 * np.cos(angle), v - 0.58 * np.sin(angle))
    return 0.22 - np.minimum(around, np.hypot(u, v))


def _star(u: Array, v: Array) -> Array:
    turn = np.abs((np.arctan2(u, -v) * 5 / (2 * np.pi) + 0.5) % 1 - 0.5) * 2
    return 0.85 - 0.52 * turn - np.hypot(u, v)


def _crescent(u: Array, v: Array) -> Array:
    return np.minimum(0.78 - np.hypot(u, v), np.hypot(u - 0.38, v) - 0.62)


def _checker(u: Array, v: Array) -> Array:
    return 0.18 * np.sin(np.pi * 1.6 * u) * np.sin(np.pi * 1.6 * v)


def _triangle(u: Array, v: Array) -> Array:
    return 0.4 - np.maximum(v, np.abs(u) * 0.866 - v * 0.5)


GLYPHS: dict[str, Callable[[Array, Array], Array]] = {
    "ring": _ring,
    "cross": _cross,
    "stripes": _stripes,
    "dots": _dots,
    "star": _star,
    "crescent": _crescent,
    "checker": _checker,
    "triangle": _triangle,
}
"""The part of each class: positive where the figure is, on the unit disc (u right, v down)."""


def glyph(kind: int, u: Array, v: Array, pixel: float) -> Array:
    """Opacity of the figure of a class."""
    return ramp(list(GLYPHS.values())[kind](u, v), pixel)
