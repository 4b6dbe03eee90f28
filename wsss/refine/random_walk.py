"""Random walk of maps over pixel affinities: x T^t without ever building T.

With W the affinities of ``wsss.refine.affinities`` (1 on the diagonal), A = W^beta entry by entry and s_j = sum_i A_ij,
the transition matrix T = A / s has columns that sum to 1, and a map x after t steps is x T^t (AffinityNet, Ahn and Kwak
2018; IRN, Ahn et al. 2019). A step is (x T)_j = (A x)_j / s_j, and A has at most 2 D + 1 entries a row: a stencil of D
directions, applied to all maps at once, in memory that grows linearly with the number of cells.

T is similar to a symmetric matrix with eigenvalues in [-1, 1], so the power is written in Chebyshev polynomials,

    lambda^t = sum_k c_k T_k(lambda),    c_k = 2^(1-t) binomial(t, (t-k)/2) for k of the parity of t, c_0 halved,

whose coefficients are a binomial distribution: those beyond about sqrt(2 t ln(2 / tolerance)) do not matter. 256 steps
need degree 80 for 1e-6. (T_k: T_0 = 1, T_1 = lambda, T_(k+1) = 2 lambda T_k - T_(k-1).)

On a CPU the expansion runs in C++ (``native/_wsss_walk``) where that is built, else in torch as on a GPU.
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType

import torch

from wsss.provenance.native import check
from wsss.refine.affinities import neighbour_affinities
from wsss.system.log import log

VERSION = 1
TOLERANCE = 1e-6
"""Sum of the coefficients that are left out, relative to 1."""


@cache
def built() -> ModuleType:
    """The extension module. Raises ``ImportError`` where it is not built, or from other source than this."""
    import _wsss_walk

    return check(_wsss_walk)


@cache
def usual_backend(device: str) -> str:
    """What walks on a type of device: ``native`` on a CPU where it is built, else ``torch``, which is said once."""
    if device != "cpu":
        return "torch"
    try:
        built()
    except ImportError as error:
        what = f"the random walk's own code is not built ({error}); run 'pip install .' again"
        log.warning("%s. torch does its work, only slower", what)
        return "torch"
    return "native"


@cache
def chebyshev(steps: int, tolerance: float = TOLERANCE) -> tuple[float, ...]:
    """c_0 ... c_K of lambda^steps, with K the smallest degree whose tail is at most ``tolerance``.

    They are scaled to sum to 1, so that a constant map stays constant; the error on [-1, 1] is at most twice the
    tolerance.

    Examples:
        >>> [round(c, 6) for c in chebyshev(2)]  # lambda^2 = 1/2 + T_2 / 2
        [0.5, 0.0, 0.5]
        >>> len(chebyshev(256))
        79
    """
    total = math.lgamma(steps + 1) - (steps - 1) * math.log(2)
    coefficients: list[float] = []
    while sum(coefficients) < 1 - tolerance and len(coefficients) <= steps:
        k = len(coefficients)
        if (steps - k) % 2:
            coefficients.append(0.0)
            continue
        below, above = (steps - k) // 2, (steps + k) // 2
        value = math.exp(total - math.lgamma(below + 1) - math.lgamma(above + 1))
        coefficients.append(value / 2 if k == 0 else value)
    return tuple(c / sum(coefficients) for c in coefficients)


Stencil = list[tuple[int, torch.Tensor]]
"""Weights of pairs of neighbours: the distance o of partners in a map laid out as h w values, and (B, 1, h w - o)
non-negative, where entry i belongs to the cells i and i + o and is 0 if they are no pair. Each pair stands there once,
and every cell has weight 1 with itself."""


class SymmetricWalk:
    """T = A / s for a batch of images of one size, of symmetric weights A given as a stencil in fp32.

    Args:
        stencil: A, on ``device``.
        shape: (B, h, w).
        device: Where maps walk.

    Examples:
        >>> stencil = [(1, torch.tensor([[[1.0, 0.5]]]))]  # three cells in a row
        >>> walk = SymmetricWalk(stencil, torch.Size((1, 1, 3)), torch.device("cpu"))
        >>> walk.steps(torch.tensor([[[1.0, 0.0, 0.0]]]), steps=1)  # the sums s are 2, 2.5 and 1.5
        tensor([[[0.5000, 0.4000, 0.0000]]])
    """

    def __init__(self, stencil: Stencil, shape: torch.Size, device: torch.device) -> None:
        self.shape, self.stencil = shape, stencil
        batch, height, width = shape
        # in double: an error here acts the same way in every step
        total = torch.ones((batch, 1, height * width), dtype=torch.float64, device=device)
        for offset, weights in self.stencil:
            total[..., :-offset] += weights
            total[..., offset:] += weights
        self.inverse = (1 / total).float()

    def spread(self, maps: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """A x of ``maps``, float32 (B, K, h w), into ``out``, another tensor of that shape."""
        out.zero_()
        for offset, weights in self.stencil:
            out[..., offset:].addcmul_(weights, maps[..., :-offset])
            out[..., :-offset].addcmul_(weights, maps[..., offset:])
        # a cell's own value last: small summands would be lost one by one in the large one (8 times the error)
        return out.add_(maps)

    def steps(self, maps: torch.Tensor, steps: int) -> torch.Tensor:
        """x T^steps, step by step: what ``power`` is compared with."""
        now, spare = maps.clone(), torch.empty_like(maps)
        for _ in range(steps):
            self.spread(now, spare).mul_(self.inverse)
            now, spare = spare, now
        return now

    def power(self, maps: torch.Tensor, steps: int, tolerance: float = TOLERANCE) -> torch.Tensor:
        """x T^steps by the Chebyshev expansion; differs from ``steps`` by less than 1e-4 of the maximum (2e-5 seen)."""
        coefficients = chebyshev(steps, tolerance)
        if usual_backend(maps.device.type) == "native":
            return self._native(maps, coefficients)
        before, now = maps.clone(), torch.empty_like(maps)
        total = coefficients[0] * maps
        if len(coefficients) > 1:
            self.spread(before, now).mul_(self.inverse)
            total.add_(now, alpha=coefficients[1])
        spare, twice = torch.empty_like(maps), 2 * self.inverse
        for coefficient in coefficients[2:]:
            self.spread(now, spare).mul_(twice).sub_(before)
            before, now, spare = now, spare, before
            if coefficient:
                total.add_(now, alpha=coefficient)
        return total

    def _native(self, maps: torch.Tensor, coefficients: tuple[float, ...]) -> torch.Tensor:
        found = torch.empty_like(maps)
        for number in range(len(maps)):
            stencil = [(offset, weights[number, 0].numpy()) for offset, weights in self.stencil]
            inverse = self.inverse[number, 0].numpy()
            found[number] = torch.from_numpy(built().power(maps[number].numpy(), stencil, inverse, coefficients))
        return found


class Transition(SymmetricWalk):
    """T of the affinities between edges.

    Args:
        edges: (B, h, w) in [0, 1]: the probability of an edge at each cell; any float type, CPU or GPU.
        radius: Reach R of one step in cells: neighbours closer than R.
        beta: Exponent of the affinities.

    Examples:
        >>> transition = Transition(torch.tensor([[[0.0, 0.5, 0.0]]]), radius=2, beta=1.0)
        >>> transition.steps(torch.ones(1, 1, 3), steps=10)  # a constant map stays constant
        tensor([[[1., 1., 1.]]])
    """

    def __init__(self, edges: torch.Tensor, radius: int, beta: float) -> None:
        stencil = [(o, w.pow_(beta)) for o, w in neighbour_affinities(edges.float(), radius)]
        super().__init__(stencil, edges.shape, edges.device)


@torch.inference_mode()
def random_walk(
    maps: torch.Tensor,
    edges: torch.Tensor,
    *,
    radius: int = 5,
    beta: float = 10.0,
    steps: int = 256,
    tolerance: float = TOLERANCE,
    plain: bool = False,
) -> torch.Tensor:
    """Spread maps within what edges enclose: (x (1 - e)) T^steps.

    Args:
        maps: (B, K, h, w), non-negative; images with fewer classes are filled up with zeros.
        edges: (B, h, w) in [0, 1], on the same grid.
        radius: Reach R of one step in cells.
        beta: Exponent of the affinities.
        steps: Length of the walk.
        tolerance: Of the Chebyshev expansion, relative to the largest value.
        plain: Apply T ``steps`` times instead.

    Returns:
        float32 (B, K, h, w), non-negative, on the device of ``edges``. No value exceeds the largest of its map (but for
        the tolerance).

    Examples:
        >>> edges = torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]])  # a wall in the middle of a row
        >>> maps = torch.tensor([[[[1.0, 0.0, 0.0, 0.0, 0.0]]]])
        >>> random_walk(maps, edges, radius=2, steps=64)  # the map fills the left part alone
        tensor([[[[0.5000, 0.5000, 0.0000, 0.0000, 0.0000]]]])
    """
    batch, kinds, height, width = maps.shape
    start = (maps.float() * (1 - edges.float())[:, None]).reshape(batch, kinds, height * width)
    transition = Transition(edges, radius, beta)
    result = transition.steps(start, steps) if plain else transition.power(start, steps, tolerance)
    return result.clamp_(min=0).view(batch, kinds, height, width)
