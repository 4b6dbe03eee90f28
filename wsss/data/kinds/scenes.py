"""Generated scenes: the bundled data, drawn in seconds from a seed, with exact masks.

They are made so that what tells training objectives apart on real photos can be seen in minutes on a CPU:

- **The part and the body.** An object is a large irregular body of any colour. Its class shows in a small salient patch
  (a figure on a coloured ground, some tenth of the area) and, weakly, in a low-contrast texture all over the body. A
  plain classifier is content with the patch, and its maps cover little else: recall of the object is low. Objectives
  that erase what was found (OC-CSE, P-OC, P-NOC) have to look for the rest, and reconstruction over tiles (Puzzle-CAM)
  has to find the class in tiles without the patch: their maps grow over the body.
- **Context.** A strip of ripples lies in the lower part of most images of one class (``CONTEXT_CLASS``) and of hardly
  any others; it is background. Maps that take it in lose precision on that class alone: see its row in the scores.
- **Labels together, occlusion, several instances.** 1 to 4 classes an image, each with one or two objects, which cover
  one another: tells maps of the right class from maps of any object. An object that is nearly hidden is left out, and
  then so is its label: labels and masks always agree.
- **Clutter.** Bodies without texture, some with a plain patch, belong to no class: texture and figure count, not colour
  or shape. They punish salience without class.
- **Edges** are soft by one pixel and shaded: there is something for a dense CRF to hold on to.

``difficulty`` turns all of it at once: fainter texture, more noise, more overlap, more clutter, the patch out of sight
more often. Image i of a split depends on the seed, the split and i alone, so asking for more images changes none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.data.index import SPLITS
from wsss.data.kinds import scene_drawing as draw
from wsss.data.palette import write_mask
from wsss.data.validate import Collected, Entry
from wsss.settings import ScenesSettings

VERSION = 1
# Strengths as (difficulty 0, difficulty 1); between them they go linearly.
TEXTURE = (0.26, 0.10)  # amplitude of the body texture as a share of the body's brightness; 0.1 is about the grain
GRAIN = (0.012, 0.05)  # deviation of the pixel noise, brightness 0..1
MOTTLE = (0.03, 0.07)  # blotches on bodies and background alike, so that blotches say nothing
OVERLAP = (0.10, 0.45)  # share of its radius by which an object may reach into another
PART_HIDDEN = (0.0, 0.12)  # chance that an object shows no patch: a reason to know the body a little
HUE_SPREAD = (0.015, 0.05)  # deviation of the patch's hue about its class's; neighbours are 1/8 apart
CLUTTER = (0.3, 1.8)  # mean number of bodies without a class
CLUTTER_PATCH = (0.0, 0.5)  # chance that such a body carries a patch without a figure
CONTRAST = (1.0, 0.85)  # of the figure against its ground

LABELS = (0.42, 0.34, 0.17, 0.07)  # chance of 1, 2, 3, 4 classes in an image
SECOND = 0.25  # chance of a second object of a class
RADIUS = (0.17, 0.30)  # of a single object, image side = 1; several together are smaller
PART_AREA = (0.08, 0.14)  # of the patch, as a share of the visible body
MIN_SEEN = 0.45  # an object of which less can be seen is left out
MIN_AREA = 0.012  # and so is one of less than this share of the image (110 pixels of 96 x 96)
CONTEXT_CLASS = 1
CONTEXT_WITH, CONTEXT_WITHOUT = 0.8, 0.03  # chance of ripples in images with and without that class


@dataclass
class Body:
    """An object, or clutter (kind -1)."""

    kind: int
    centre: tuple[float, float]
    radius: float
    window: tuple[slice, slice]
    """The part of the image that ``depth``, ``opacity`` and ``seen`` speak of."""
    depth: np.ndarray
    opacity: np.ndarray
    seen: np.ndarray
    """bool: its pixels that nothing covers."""


def scene(settings: ScenesSettings, split: str, i: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Draw image i of a split.

    Returns:
        RGB uint8 (S, S, 3), mask uint8 (S, S) with 0 and class + 1, and the classes present, ascending.
    """
    rng = np.random.default_rng((settings.seed, SPLITS.index(split), i))
    strength = _Strengths(settings.difficulty)
    size = settings.size
    bodies = _bodies(rng, settings, strength)
    present = {body.kind for body in bodies if body.kind >= 0}
    mask = np.zeros((size, size), np.uint8)
    for body in bodies:
        mask[body.window][body.seen] = body.kind + 1

    image = _background(rng, size, strength)
    if rng.random() < (CONTEXT_WITH if CONTEXT_CLASS in present else CONTEXT_WITHOUT):
        _ripples(rng, image)
    light = rng.uniform(0, 2 * np.pi)
    for body in bodies:
        _paint(rng, image, body, light, strength)
    x, y = draw.grid(size)
    slope = rng.uniform(0.05, 0.3) * ((x - 0.5) * np.cos(light) + (y - 0.5) * np.sin(light))
    image *= (1 + slope + 0.05 * draw.noise(rng, x.shape, (2, 2)))[..., None]
    image *= rng.uniform(0.93, 1.07, 3) * rng.uniform(0.88, 1.08)
    grain = rng.standard_normal((size, size, 1)) + 0.5 * rng.standard_normal((size, size, 3))
    image += strength(GRAIN) * grain
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), mask, tuple(sorted(present))


def collect(settings: ScenesSettings, out: Path, threads: int | None = None) -> Collected:
    """Draw all images and masks into ``out/images`` and ``out/masks``."""
    classes = tuple(draw.GLYPHS)[: settings.classes]
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    entries = []
    for split, count in (("train", settings.train), ("val", settings.val)):
        for i in range(count):
            id = f"{split}-{i:05d}"
            image, mask, labels = scene(settings, split, i)
            files = out / "images" / f"{id}.png", out / "masks" / f"{id}.png"
            # little is gained by packing noise harder, and it takes most of the time
            Image.fromarray(image).save(files[0], compress_level=2)
            write_mask(files[1], mask)
            entries.append(Entry(id, split, *files, tuple(classes[c] for c in labels)))
    return Collected(classes, entries, extra={"context": {"class": classes[CONTEXT_CLASS], "share": CONTEXT_WITH}})


class _Strengths:
    """The value of each strength at one difficulty."""

    def __init__(self, difficulty: float) -> None:
        self.difficulty = difficulty

    def __call__(self, ends: tuple[float, float]) -> float:
        return ends[0] + (ends[1] - ends[0]) * self.difficulty


def _bodies(rng: np.random.Generator, settings: ScenesSettings, strength: _Strengths) -> list[Body]:
    """What lies in the scene, from back to front, with what is seen of it."""
    shares = np.array(LABELS[: settings.classes])
    count = 1 + rng.choice(len(shares), p=shares / shares.sum())
    kinds = [int(kind) for kind in rng.choice(settings.classes, count, replace=False)]
    kinds += [kind for kind in kinds if rng.random() < SECOND]
    shrink = len(kinds) ** -0.28
    kinds += [-1] * min(4, rng.poisson(strength(CLUTTER)))
    x, y = draw.grid(settings.size)
    bodies: list[Body] = []
    for kind in kinds:
        radius = rng.uniform(*RADIUS) * shrink * (1.0 if kind >= 0 else rng.uniform(0.5, 0.9))
        centre = _place(rng, bodies, radius, strength(OVERLAP))
        lobes = draw.lobes(rng, centre, radius)
        window = draw.window(lobes, settings.size)
        depth = draw.depth(lobes, x[window], y[window])
        opacity = draw.ramp((1 - depth) * radius, 1 / settings.size)
        bodies.append(Body(kind, centre, radius, window, depth, opacity, opacity > 0.5))
    bodies = [bodies[k] for k in rng.permutation(len(bodies))]

    covered = np.zeros((settings.size, settings.size), bool)
    kept = []
    for body in reversed(bodies):
        own = body.seen
        body.seen = own & ~covered[body.window]
        area = body.seen.sum()
        # own.sum() knows only what lies in the image; the disc's area knows of the rest
        whole = max(own.sum(), 0.8 * np.pi * (body.radius * settings.size) ** 2)
        if area >= MIN_SEEN * whole and area >= MIN_AREA * settings.size**2:
            kept.append(body)
            covered[body.window] |= own
    if not any(body.kind >= 0 for body in kept):
        # clutter hid all: take it away
        return _bodies(rng, settings, strength)
    return kept[::-1]


def _place(rng: np.random.Generator, others: list[Body], radius: float, overlap: float) -> tuple[float, float]:
    """A place that keeps off the others, or the one of a dozen that does so best."""
    margin = min(0.45, 0.8 * radius)
    best, least = (0.5, 0.5), np.inf
    for x, y in rng.uniform(margin, 1 - margin, (12, 2)):
        apart = (np.hypot(x - o.centre[0], y - o.centre[1]) / (radius + o.radius) for o in others)
        reach = 1 - min(apart, default=2.0)
        if reach < least:
            best, least = (float(x), float(y)), reach
        if least <= overlap:
            break
    return best


def _background(rng: np.random.Generator, size: int, strength: _Strengths) -> np.ndarray:
    """Two or three quiet colours flowing into one another, blotched at several scales; float64 (S, S, 3)."""
    hue = rng.random()
    colours = [draw.hsv(hue + rng.normal(0, 0.09), rng.uniform(0.08, 0.45), rng.uniform(0.35, 0.8)) for _ in range(3)]
    image = np.broadcast_to(colours[0], (size, size, 3)).copy()
    for colour in colours[1:]:
        stretch = float(np.exp(rng.normal(0, 0.7)))
        blob = draw.fractal(rng, (size, size), 3, 3, stretch)
        draw.blend(image, colour, draw.ramp(blob - rng.normal(0, 0.4), rng.uniform(0.5, 2.5)))
    cells, stretch = rng.uniform(6, 16), float(np.exp(rng.normal(0, 0.6)))
    rough = draw.fractal(rng, (size, size), cells, 3, stretch, 0.8)
    image *= (1 + 1.4 * strength(MOTTLE) * rough)[..., None]
    return image


def _ripples(rng: np.random.Generator, image: np.ndarray) -> None:
    """The context: water from one shore to the other, below a wavy edge."""
    size = len(image)
    x, y = draw.grid(size)
    top = rng.uniform(0.52, 0.74)
    swing = np.sin(2 * np.pi * (rng.uniform(0.6, 1.6) * x + rng.random()))
    edge = top + 0.03 * swing + 0.012 * draw.noise(rng, x.shape, (2, 7))
    region = draw.ramp(y - edge, 1.5 / size)
    # waves grow towards the viewer
    near = np.clip((y - top) / (1 - top), 0, 1)
    bend = 2.0 * draw.noise(rng, x.shape, (5, 4)) + 1.1 * draw.noise(rng, x.shape, (8, 9))
    wave = np.sin(2 * np.pi * 17.5 * (1 - top) * near**0.75 + bend)
    crest = np.clip(wave, 0, 1) ** 3
    deep = draw.hsv(rng.normal(0.54, 0.03), rng.uniform(0.3, 0.5), rng.uniform(0.4, 0.6))
    water = deep * (1 + 0.18 * wave)[..., None]
    draw.blend(water, np.array((0.93, 0.97, 0.98)), 0.55 * crest)
    draw.blend(image, water, region * 0.92)


def _paint(rng: np.random.Generator, image: np.ndarray, body: Body, light: float, strength: _Strengths) -> None:
    """Paint one body over what is there."""
    size = len(image)
    x, y = (axis[body.window] for axis in draw.grid(size))
    image = image[body.window]
    # a soft shadow where it touches what is behind
    image *= (1 - 0.28 * np.clip((1.25 - body.depth) / 0.25, 0, 1) ** 2)[..., None]
    hue, value = rng.random(), rng.uniform(0.4, 0.85)
    skin = np.broadcast_to(draw.hsv(hue, rng.uniform(0.1, 0.5), value), image.shape).copy()
    other = draw.hsv(hue + rng.normal(0, 0.06), rng.uniform(0.1, 0.5), value * rng.uniform(0.75, 1.2))
    draw.blend(skin, other, draw.ramp(draw.noise(rng, x.shape, (3, 3)), 2.0))
    tone = 1 + strength(MOTTLE) * draw.fractal(rng, x.shape, 9 * x.shape[1] / size, 3, 1.0, 0.8)
    if body.kind >= 0:
        tone += strength(TEXTURE) * draw.texture(rng, body.kind, x, y)
    dx, dy = (x - body.centre[0]) / body.radius, (y - body.centre[1]) / body.radius
    tone += 0.13 * np.clip(dx * np.cos(light) + dy * np.sin(light), -1.2, 1.2)
    tone -= 0.22 * np.clip(body.depth, 0, 1) ** 4
    skin *= tone[..., None]
    hidden = rng.random() < (strength(PART_HIDDEN) if body.kind >= 0 else 1 - strength(CLUTTER_PATCH))
    if not hidden:
        _patch(rng, skin, body, x, y, 1 / size, strength)
    draw.blend(image, skin, body.opacity)


def _patch(
    rng: np.random.Generator,
    skin: np.ndarray,
    body: Body,
    x: np.ndarray,
    y: np.ndarray,
    pixel: float,
    strength: _Strengths,
) -> None:
    """The part: a coloured ground with the figure of the class, somewhere inside the visible body."""
    radius = np.sqrt(rng.uniform(*PART_AREA) * body.seen.sum() / np.pi) * pixel
    inner = body.seen & (body.depth < 1 - 0.9 * radius / body.radius)
    places = np.flatnonzero(inner if inner.any() else body.seen)
    place = places[rng.integers(len(places))]
    turn = rng.normal(0, 0.25)
    u, v = (x - x.flat[place]) / radius, (y - y.flat[place]) / radius
    u, v = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    hue = rng.random() if body.kind < 0 else body.kind / 8 + rng.normal(0, strength(HUE_SPREAD))
    ground, ink = draw.hsv(hue, rng.uniform(0.75, 0.95), rng.uniform(0.75, 0.95)), draw.hsv(hue + 0.5, 0.25, 0.12)
    if rng.random() < 0.5:
        ground, ink = draw.hsv(hue, 0.9, 0.5), draw.hsv(hue, 0.12, 0.98)
    fade = pixel / radius
    disc = draw.ramp(1 - np.hypot(u, v), fade) * draw.ramp((0.97 - body.depth) * body.radius, pixel)
    draw.blend(skin, ground, disc)
    if body.kind >= 0:
        draw.blend(skin, ink, disc * draw.glyph(body.kind, u, v, fade) * strength(CONTRAST))
