"""Training views of an image: random size, flip, colour, RandAugment, crop, cutout.

Every draw comes from a generator that the caller made from (seed, epoch, index), so a view does not depend on the
number of loader processes, on the order of the others, or on where a training was resumed.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from wsss.data.strong_augmentations import RECOLOUR, cutout_region, jitter

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
IGNORE = 255

CUT_OUT_SIDE = 16  # pixels; FixMatch's pool always ends with one black square


def normalise(image: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) uint8 to float32 (3, H, W): ``(x / 255 - mean) / std`` with ImageNet's statistics; 0 is the
    mean colour."""
    scaled = (image.astype(np.float32) - 255 * MEAN) * (1 / (255 * STD))
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def resize_long_side(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """The image with its longer side at ``side`` pixels and the same aspect."""
    width, height = image.size
    scale = side / max(width, height)
    return image.resize((max(1, round(width * scale)), max(1, round(height * scale))), resample)


def resize_square(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """The image with both sides at ``side`` pixels, whatever its aspect."""
    return image.resize((side, side), resample)


RESIZE = {"long-side": resize_long_side, "square": resize_square}
"""By value of the setting ``resize``."""


def colour_jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation by up to 30 %, hue by up to 0.1 of the circle, in random order."""
    return jitter(image, rng, 0.3, 0.1)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


# FixMatch's pool (Sohn et al. 2020, table 12): what an operation does at a strength v in {1..9}, with sign +-1 drawn
_POOL = (
    lambda i, v, sign: ImageOps.autocontrast(i),
    lambda i, v, sign: ImageEnhance.Brightness(i).enhance(0.09 * v + 0.05),
    lambda i, v, sign: ImageEnhance.Color(i).enhance(0.09 * v + 0.05),
    lambda i, v, sign: ImageEnhance.Contrast(i).enhance(0.09 * v + 0.05),
    lambda i, v, sign: ImageEnhance.Sharpness(i).enhance(0.09 * v + 0.05),
    lambda i, v, sign: ImageOps.equalize(i),
    lambda i, v, sign: i,
    lambda i, v, sign: ImageOps.posterize(i, int(0.4 * v) + 4),
    lambda i, v, sign: i.rotate(sign * int(3 * v)),
    lambda i, v, sign: _affine(i, (1, sign * 0.03 * v, 0, 0, 1, 0)),
    lambda i, v, sign: _affine(i, (1, 0, 0, sign * 0.03 * v, 1, 0)),
    lambda i, v, sign: ImageOps.solarize(i, 256 - int(25.6 * v)),
    lambda i, v, sign: _affine(i, (1, 0, sign * 0.03 * v * i.width, 0, 1, 0)),
    lambda i, v, sign: _affine(i, (1, 0, 0, 0, 1, sign * 0.03 * v * i.height)),
)


def randaugment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """FixMatch's RandAugment, two operations of magnitude up to 9, each applied with probability 1/2, then a cut-out.

    Source: Cubuk et al. 2020; the pool and the square of Sohn et al. 2020, as the P-NOC line of work uses them.
    """
    for operation in rng.integers(len(_POOL), size=2):
        strength, sign = int(rng.integers(1, 10)), int(rng.choice((-1, 1)))
        if rng.random() < 0.5:
            image = _POOL[operation](image, strength, sign)
    x, y = int(rng.integers(image.width)), int(rng.integers(image.height))
    half = CUT_OUT_SIDE // 2
    image = image.copy()
    ImageDraw.Draw(image).rectangle((x - half, y - half, x + half - 1, y + half - 1), fill=(0, 0, 0))
    return image


def crop_together(
    image: np.ndarray, mask: np.ndarray | None, layers: np.ndarray | None, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """A random square of an image (C, H, W), of its mask (H, W) and of further layers (M, H, W).

    Where the image is smaller than the square it lies at a random place in a canvas of 0; the mask's canvas is 255
    (ignore), that of layers 0. Returns (C, side, side), of the image's type and order of axes in memory, uint8
    (side, side) or None, and uint8 (M, side, side) or None.
    """
    source, place = [], []
    for length in image.shape[1:]:
        free = length - side
        start = int(rng.integers(abs(free) + 1))
        n = min(length, side)
        source.append(slice(start, start + n) if free > 0 else slice(0, n))
        place.append(slice(0, n) if free > 0 else slice(start, start + n))

    def cropped(array: np.ndarray, fill: int) -> np.ndarray:
        canvas = np.full_like(array, fill, shape=(*array.shape[:-2], side, side))
        canvas[..., place[0], place[1]] = array[..., source[0], source[1]]
        return canvas

    labels = None if mask is None else cropped(mask, IGNORE)
    return cropped(image, 0), labels, None if layers is None else cropped(layers, 0)


def training_view(
    image: np.ndarray,
    mask: np.ndarray | None,
    rng: np.random.Generator,
    *,
    crop: int,
    long_side: tuple[int, int],
    augment: tuple[str, ...] = (),
    resize: str = "long-side",
    soft: bool = False,
    soft_targets: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """One random training view and its targets.

    Args:
        image: RGB uint8 (H, W, 3).
        mask: uint8 (H, W) or None; follows the geometry of the image.
        rng: Source of every draw.
        crop: Side S of the result in pixels.
        long_side: Range of the longer side after the random resize, in pixels, both ends included.
        augment: Any of ``colour-jitter``, ``strong-jitter``, ``grey``, ``blur``, ``randaugment`` (which moves pixels,
            so not together with a mask) and ``cutout``; they are applied in this order, in whatever order they are
            listed. What is cut out is 0 in the view and 255 in the mask.
        resize: ``long-side`` keeps the aspect, ``square`` does not.
        soft: The mask holds strengths 0 to 254 in place of labels: it is resized bilinearly, not to the nearest.
        soft_targets: uint8 (M, h, w) or None: maps of any size of the whole image (``wsss.refine.soft_targets``); they
            are resized bilinearly and follow its geometry.

    Returns:
        uint8 (S, S, 4), RGB and whether a pixel is of the image (255) or not (0: around it, and where it is cut out);
        uint8 (S, S) or None; uint8 (M, S, S) or None, which are all 0 where no image is. The draws are the same with
        and without targets.

    Raises:
        ValueError: ``randaugment`` together with a mask.
    """
    if mask is not None and "randaugment" in augment:
        raise ValueError("randaugment moves the pixels of an image away from its mask; use colour-jitter or nothing")
    side = int(rng.integers(long_side[0], long_side[1] + 1))
    picture = RESIZE[resize](Image.fromarray(image), side, Image.Resampling.BICUBIC)
    near = Image.Resampling.BILINEAR if soft else Image.Resampling.NEAREST
    target = None if mask is None else RESIZE[resize](Image.fromarray(mask), side, near)
    layers = None if soft_targets is None else resized_layers(soft_targets, picture.size)
    if rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
        target = None if target is None else ImageOps.mirror(target)
        layers = None if layers is None else layers[..., ::-1]
    if "colour-jitter" in augment:
        picture = colour_jitter(picture, rng)
    for name, recolour in RECOLOUR.items():
        if name in augment:
            picture = recolour(picture, rng)
    if "randaugment" in augment:
        picture = randaugment(picture, rng)
    pixels = np.asarray(picture.convert("RGBA")).transpose(2, 0, 1)
    view, labels, shares = crop_together(pixels, None if target is None else np.asarray(target), layers, crop, rng)
    if "cutout" in augment and (region := cutout_region(crop, crop, rng)) is not None:
        view[3, *region] = 0
        if labels is not None:
            labels[region] = IGNORE
        if shares is not None:
            shares[:, *region] = 0
    return view.transpose(1, 2, 0), labels, shares


def resized_layers(layers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps uint8 (M, h, w) at another size (W, H), bilinear and one by one; uint8 (M, H, W)."""
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in layers])
