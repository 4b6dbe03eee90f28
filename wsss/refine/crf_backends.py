"""What computes the mean field of the dense CRF: the project's own code in C++, or the package ``pydensecrf``.

Both approximate the Gaussian sums on a permutohedral lattice (Adams, Baek and Davis, Computer Graphics Forum 2010) and
follow Kraehenbuehl and Koltun (NIPS 2011). On real photos they label less than 0.01 % of the pixels differently, and
probabilities differ by 1e-5 on average; by up to 0.05 at single pixels, where rounding decides whether a lattice point
exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from wsss.errors import WsssError
from wsss.provenance.native import check
from wsss.settings import CrfSettings
from wsss.system.log import log

KEPT = 1 << 19
"""Images of up to so many pixels share the smoothness kernel of their size."""


class Backend(Protocol):
    """What computes the mean field of one image."""

    def __call__(self, unaries: Sequence[np.ndarray], iterations: int) -> list[np.ndarray]:
        """float32 energies (L, H, W), L >= 2, of each problem to float32 probabilities (L, H, W)."""


class Native:
    """The project's own: ``native/_wsss_crf``. The same bits on every x86-64 processor, for any number of threads.

    What makes it faster than ``pydensecrf``: one lattice an image, shared by all problems; L - 1 channels, several
    problems side by side; keys packed into one integer; a blur in place, along chains of neighbours; reading the
    lattice, softmax and writing it back in one pass over the pixels. Python's global lock is not held.

    Memory: 100 to 200 bytes a pixel for the lattices, and 20 to 30 bytes a pixel and label, of 16 labels at a time.
    Raises :class:`WsssError` when it is not built, or when the standard deviations are so small beside the image that
    float32 cannot place its pixels (1 / 10,000 of its side, say), where ``pydensecrf`` would be wrong unnoticed.
    """

    def __init__(self, image: np.ndarray, settings: CrfSettings) -> None:
        try:
            module = built()
        except ImportError as error:
            raise WsssError(_unbuilt(error)) from error
        height, width = image.shape[:2]
        grid = _kept_grid if height * width <= KEPT else _grid
        try:
            self._field = module.Field(image, grid(height, width, *settings.gaussian), *settings.bilateral)
        except module.RangeError as error:
            raise WsssError(
                f"the dense CRF cannot place the pixels of a {height} x {width} image ({error}); the standard "
                f"deviations {settings.gaussian[0]:g} (gaussian), {settings.bilateral[0]:g} and "
                f"{settings.bilateral[1]:g} (bilateral) are too small for it: enlarge them"
            ) from None

    def __call__(self, unaries: Sequence[np.ndarray], iterations: int) -> list[np.ndarray]:
        found: list[np.ndarray] = self._field.infer(list(unaries), iterations)
        return found


@cache
def built() -> ModuleType:
    """The extension module. Raises ``ImportError`` where it is not built, or from other source than this."""
    import _wsss_crf

    return check(_wsss_crf)


def _unbuilt(error: ImportError) -> str:
    return f"the dense CRF's own code is not built ({error}); run 'pip install .' again"


def _grid(height: int, width: int, deviation: float, weight: float) -> Any:
    return built().Grid(height, width, deviation, weight)


_kept_grid = lru_cache(maxsize=4)(_grid)


class PyDenseCRF:
    """The reference implementation, ``pydensecrf``. It holds Python's global lock: use processes, not threads."""

    def __init__(self, image: np.ndarray, settings: CrfSettings) -> None:
        try:
            from pydensecrf.densecrf import DenseCRF2D
        except ImportError as error:
            raise WsssError(
                f"the dense CRF needs the package pydensecrf2, which cannot be imported ({error}); install it with "
                "'pip install pydensecrf2' (it is built on the spot and needs a C++ compiler: "
                "'apt install g++' or 'conda install cxx-compiler'), or set 'crf: null' to do without"
            ) from error
        self._new, self._settings = DenseCRF2D, settings
        self._image = np.require(image, requirements=("C", "W"))  # it refuses arrays that it may not write to
        self._lattices: dict[int, Any] = {}

    def __call__(self, unaries: Sequence[np.ndarray], iterations: int) -> list[np.ndarray]:
        return [self._solve(unary, iterations) for unary in unaries]

    def _solve(self, unary: np.ndarray, iterations: int) -> np.ndarray:
        count, height, width = unary.shape
        field = self._lattices.get(count)
        if field is None:
            field = self._lattices[count] = self._new(width, height, count)
            deviation, weight = self._settings.gaussian
            field.addPairwiseGaussian(sxy=deviation, compat=weight)
            deviation, colour, weight = self._settings.bilateral
            field.addPairwiseBilateral(sxy=deviation, srgb=colour, rgbim=self._image, compat=weight)
        field.setUnaryEnergy(np.ascontiguousarray(unary.reshape(count, -1)))
        return np.array(field.inference(iterations), np.float32).reshape(unary.shape)


BACKENDS: dict[str, Callable[[np.ndarray, CrfSettings], Backend]] = {"native": Native, "pydensecrf": PyDenseCRF}
"""Name to a callable (image, settings) -> :class:`Backend`; a further one registers itself here."""


@cache
def usual_backend() -> str:
    """``native`` where it is built, else ``pydensecrf``, which is said once on stderr.

    The choice is no setting: like the device it says how, not what, is computed, and the results agree. Manifests tell.
    """
    try:
        built()
    except ImportError as error:
        log.warning("%s. pydensecrf does its work, only slower", _unbuilt(error))
        return "pydensecrf"
    return "native"
