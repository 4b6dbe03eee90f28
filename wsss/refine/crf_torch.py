"""The dense CRF in torch, for a GPU: ``import wsss.refine.crf_torch`` makes it known as ``DenseCRF(..., "torch")``.

The permutohedral lattice (Adams, Baek and Davis 2010) of ``native/_wsss_crf`` in whole-array steps: a sort makes keys
unique, bisection finds neighbours, and ``index_add_`` splats. It agrees with the other backends as they do among
themselves. On a GPU sums are taken in any order, so the last bits differ from run to run; on a CPU it is several times
slower than ``native``. It is never chosen by itself: forked workers, which stages use, cannot share a GPU's context.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wsss.errors import WsssError
from wsss.refine.crf_backends import BACKENDS
from wsss.settings import CrfSettings

FARTHEST = 1 << 17
"""Largest lattice coordinate: float32 tells 1 / 64 apart there."""


class Lattice:
    """A Gaussian kernel, normalised symmetrically and times ``cost``, over pixels at ``positions``.

    ``positions``: float32 (N, D) in standard deviations, on any device. Memory: 12 (D + 1) bytes a pixel, 16 (D + 1) a
    lattice point. Raises :class:`WsssError` where 63-bit keys or float32 cannot hold the coordinates.
    """

    def __init__(self, positions: torch.Tensor, cost: float) -> None:
        pixels, dims = positions.shape
        corner = torch.arange(dims + 1, device=positions.device)
        nearest, residual, rank = _simplex(positions)
        if nearest.abs().max() >= FARTHEST:
            raise WsssError("the dense CRF's standard deviations are too small for this image: enlarge them")
        ranked = positions.new_zeros(pixels, dims + 2).scatter_(1, rank, residual)
        self.weight = ranked[:, dims - corner] - ranked[:, dims - corner + 1]
        self.weight[:, 0] = 1 + ranked[:, dims] - ranked[:, 0]
        low = nearest[:, :dims].amin(0).long() - 3 * (dims + 1)
        extent = nearest[:, :dims].amax(0).long() + 3 * (dims + 1) - low + 1
        if np.prod(extent.tolist(), dtype=float) >= 2.0**62:
            raise WsssError("the dense CRF's standard deviations are too small for 63-bit keys: use backend native")
        stride = torch.cat([extent.new_ones(1), extent[:-1].cumprod(0)])
        first = ((nearest[:, :dims].long() - low) * stride).sum(1)
        # corner k: every coordinate k further, and those of the k last ranks D + 1 back
        steps = positions.new_zeros(pixels, dims + 1, dtype=torch.long)
        steps.scatter_(1, rank, torch.cat([stride, stride.new_zeros(1)]).expand(pixels, -1) * (dims + 1))
        back = torch.cat([steps.new_zeros(pixels, 1), steps.flip(1).cumsum(1)[:, :dims]], 1)
        keys, at = torch.unique(first[:, None] + corner * stride.sum() - back, return_inverse=True)
        self.points, self.at = len(keys), at.T.contiguous()
        self.weight = self.weight.T.contiguous()
        self.neighbours = []
        for axis in range(dims + 1):
            step = (stride[axis] * (dims + 1) if axis < dims else 0) - stride.sum()
            self.neighbours.append((self._find(keys, keys + step), self._find(keys, keys - step)))
        norm = self(positions.new_ones(pixels, 1))[:, 0]
        self.weight *= (cost / (norm + 1e-20)).sqrt()

    @staticmethod
    def _find(keys: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Where keys stand in the sorted keys; one past the end for those that are not there."""
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        return torch.where(keys[place] == wanted, place, len(keys))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """float32 (N, C) to K values, (N, C)."""
        table = values.new_zeros(self.points + 1, values.shape[1])
        for at, weight in zip(self.at, self.weight, strict=True):
            table.index_add_(0, at, values * weight[:, None])
        for last, next_ in self.neighbours:
            table[:-1] += 0.5 * (table[last] + table[next_])
        found = torch.zeros_like(values)
        for at, weight in zip(self.at, self.weight, strict=True):
            found.addcmul_(table[at], weight[:, None])
        return found


def _simplex(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The simplex around each position: its corner of remainder 0, float32 (N, D + 1), what the position exceeds it by,
    in units of D + 1, and the rank of that, largest first, int64."""
    dims = positions.shape[1]
    index = torch.arange(dims, device=positions.device, dtype=torch.float32)
    scaled = positions * ((dims + 1) * (2 / 3) ** 0.5 / ((index + 1) * (index + 2)).sqrt())
    above = scaled.flip(1).cumsum(1).flip(1)
    elevated = torch.nn.functional.pad(above, (0, 1))
    elevated[:, 1:] -= scaled * (index + 1)
    nearest = (elevated / (dims + 1)).round() * (dims + 1)
    residual = elevated - nearest
    rank = residual.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    rank += (nearest.sum(1, keepdim=True) / (dims + 1)).round().long()
    turn = ((rank < 0).long() - (rank > dims).long()) * (dims + 1)
    return nearest + turn, (residual - turn) / (dims + 1), rank + turn


class TorchCRF:
    """The mean field of one image on ``device`` (None: a GPU where there is one)."""

    def __init__(self, image: np.ndarray, settings: CrfSettings, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        colours = torch.from_numpy(np.array(image)).to(self._device).float().flatten(0, 1)
        rows, columns = (torch.arange(n, device=self._device, dtype=torch.float32) for n in image.shape[:2])
        places = torch.cartesian_prod(rows, columns).view(-1, 2).flip(1)
        deviation, cost = settings.gaussian
        self._smooth = Lattice(places / deviation, cost)
        deviation, colour, cost = settings.bilateral
        self._bilateral = Lattice(torch.cat([places / deviation, colours / colour], 1), cost)

    @torch.inference_mode()
    def __call__(self, unaries: Sequence[np.ndarray], iterations: int) -> list[np.ndarray]:
        if not unaries:
            return []
        counts = [len(unary) for unary in unaries]
        energies = [torch.from_numpy(np.ascontiguousarray(unary)).to(self._device).flatten(1).T for unary in unaries]
        gains = -torch.cat(energies, 1)

        def softmax(logits: torch.Tensor) -> torch.Tensor:
            return torch.cat([each.softmax(1) for each in torch.split(logits, counts, 1)], 1)

        found = softmax(gains)
        for _ in range(iterations):
            found = softmax(gains + self._smooth(found) + self._bilateral(found))
        planes = found.T.contiguous().cpu().numpy()
        parts = np.split(planes, np.cumsum(counts)[:-1])
        return [part.reshape(unary.shape) for part, unary in zip(parts, unaries, strict=True)]


BACKENDS["torch"] = TorchCRF
