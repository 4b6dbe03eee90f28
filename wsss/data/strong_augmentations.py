"""Strong augmentations of student networks: colour jitter, greyscale, blur, cutout.

Source: the strong set of ST++ (Yang et al., CVPR 2022), whose student sees what its teacher labelled in harder views:
colour jitter (0.5, 0.5, 0.5, 0.25) with probability 0.8, greyscale 0.2, Gaussian blur 0.5, cutout 0.5. The first three
leave every pixel where it is; what cutout takes away is 255 in the mask.

This project's: the rectangle is filled with the mean colour, which is also that of the canvas around small images, in
place of noise; a rectangle that would not fit is not drawn again, which would favour small ones, but its aspect is
drawn among those that fit.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

JITTER_P, GREY_P, BLUR_P, CUTOUT_P = 0.8, 0.2, 0.5, 0.5
"""How often each of them is applied."""
SIGMA = (0.1, 2.0)
"""Standard deviation of the blur in pixels of the view."""
AREA = (0.02, 0.4)
"""Share of the crop that cutout takes."""
ASPECT = 1 / 0.3
"""Height over width of its rectangle is at most this, and at least one over it."""


def jitter(image: Image.Image, rng: np.random.Generator, spread: float, hue: float) -> Image.Image:
    """Brightness, contrast and saturation times a factor in [1 - spread, 1 + spread) each, hue moved by up to ``hue``
    of the circle, in random order."""
    from torchvision.transforms.v2 import functional as F  # not with the file: most programs augment nothing

    factors = rng.uniform(1 - spread, 1 + spread, 3)
    turn = rng.uniform(-hue, hue)
    steps = (
        lambda i: F.adjust_brightness(i, factors[0]),
        lambda i: F.adjust_contrast(i, factors[1]),
        lambda i: F.adjust_saturation(i, factors[2]),
        lambda i: F.adjust_hue(i, turn),
    )
    for k in rng.permutation(4):
        image = steps[k](image)
    return image


def strong_jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """``jitter`` by up to 50 % and a quarter of the circle, with probability 0.8."""
    return jitter(image, rng, 0.5, 0.25) if rng.random() < JITTER_P else image


def grey(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The luma of the image (ITU-R 601) in all three channels, with probability 0.2."""
    return image.convert("L").convert("RGB") if rng.random() < GREY_P else image


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gaussian blur of a standard deviation uniform in ``SIGMA``, with probability 0.5.

    Pillow's filter, three box filters one after the other that have the Gaussian's variance: from a standard deviation
    of 1 on and away from the border within 5 grey levels of its convolution, on noise, the hardest case.
    """
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(*SIGMA))) if rng.random() < BLUR_P else image


RECOLOUR = {"strong-jitter": strong_jitter, "grey": grey, "blur": blur}
"""By value of the setting ``augment``, in the order in which they are applied."""


def cutout_region(height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice] | None:
    """Rows and columns that are cut out of a view (height, width), or, with probability 0.5, None.

    The area is a uniform share in ``AREA``, the aspect log-uniform among those within ``ASPECT`` for which the
    rectangle fits, the place uniform among all where it does. Sides are rounded to whole pixels, at least one.
    """
    if rng.random() >= CUTOUT_P:
        return None
    area = rng.uniform(*AREA)
    widest = math.log(min(ASPECT, 1 / area))
    aspect = math.exp(rng.uniform(-widest, widest))
    found = []
    for length, share in ((height, math.sqrt(area * aspect)), (width, math.sqrt(area / aspect))):
        side = min(length, max(1, round(share * length)))
        start = int(rng.integers(length - side + 1))
        found.append(slice(start, start + side))
    return found[0], found[1]
