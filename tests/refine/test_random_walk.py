"""The random walk: stencil and Chebyshev expansion against powers of the dense matrix in double."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import wsss.refine.random_walk as walking
from wsss.refine.random_walk import TOLERANCE, Transition, built, chebyshev, random_walk, usual_backend


@pytest.fixture(autouse=True, params=["native", "torch"])
def backend(request, monkeypatch):
    """Everything holds for both."""
    monkeypatch.setattr(walking, "usual_backend", lambda device: request.param)
    return request.param


def dense(edges, radius, beta):
    """T of one image (N, N), from the definition."""
    height, width = edges.shape
    grid = edges.numpy().astype(np.float64)
    weights = np.eye(height * width)
    for i in range(height * width):
        for j in range(i):
            (top, x0), (bottom, x1) = divmod(j, width), divmod(i, width)  # j < i: never below
            down, right = bottom - top, x1 - x0
            if down**2 + right**2 >= radius**2:
                continue
            path = [
                grid[y, x]
                for y in range(top, bottom + 1)
                for x in range(min(x0, x1), max(x0, x1) + 1)
                if abs((y - top) * right - (x - x0) * down) / math.hypot(down, right) < 1 - 1e-9
            ]
            weights[i, j] = weights[j, i] = 1 - max(path)
    powered = weights**beta
    return powered / powered.sum(0, keepdims=True)


def scene(size, seed, sharp=3.0):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.rand(1, *size, generator=generator) ** sharp
    return torch.rand(1, 2, *size, generator=generator), edges


@pytest.mark.parametrize(
    ("size", "radius", "steps"), [((9, 12), 5, 256), ((12, 7), 3, 64), ((6, 6), 5, 5), ((3, 14), 4, 1)]
)
@pytest.mark.parametrize("sharp", [1.0, 3.0, 20.0])
def test_walk_against_the_dense_power(size, radius, steps, sharp):
    maps, edges = scene(size, 0, sharp)
    matrix = dense(edges[0], radius, 10.0)
    np.testing.assert_allclose(matrix.sum(0), 1)
    power = np.linalg.matrix_power(matrix, steps)
    np.testing.assert_allclose(power.sum(0), 1)
    start = (maps * (1 - edges)[:, None]).double().numpy().reshape(2, -1)
    expected = (start @ power).reshape(1, 2, *size)
    for plain in (False, True):
        found = random_walk(maps, edges, radius=radius, beta=10.0, steps=steps, plain=plain)
        assert found.dtype == torch.float32
        assert np.abs(found.numpy() - expected).max() <= 1e-4 * expected.max()


def test_columns_sum_to_one():
    _, edges = scene((6, 8), 3)
    unit = torch.eye(48).view(1, 48, 48)
    transition = Transition(edges, 5, 10.0)
    for power in (transition.steps(unit, 1), transition.power(unit, 256)):
        # row i of the result is e_i T: columns of the whole sum to 1
        torch.testing.assert_close(power[0].sum(0), torch.ones(48), atol=1e-4, rtol=0)


def test_without_edges_constants_stay_and_maxima_never_rise():
    maps = torch.rand(1, 3, 20, 25)
    maps[0, 0] = 0.7
    edges = torch.zeros(1, 20, 25)
    before = maps
    for steps in (1, 4, 16, 64, 256):
        after = random_walk(maps, edges, steps=steps)
        torch.testing.assert_close(after[0, 0], maps[0, 0], atol=1e-5, rtol=0)
        peaks = after.amax((2, 3))
        assert (peaks <= before.amax((2, 3)) + 1e-5).all()
        assert (after.amin((2, 3)) >= before.amin((2, 3)) - 1e-5).all()
        before = after


def test_nothing_is_left_where_all_is_edge():
    maps, _ = scene((10, 11), 1)
    assert not random_walk(maps, torch.ones(1, 10, 11)).any()


def test_nothing_crosses_a_wall():
    maps, edges = torch.zeros(1, 1, 12, 15), torch.zeros(1, 12, 15)
    edges[:, :, 7] = 1
    maps[..., :4] = 1
    after = random_walk(maps, edges)
    assert not after[..., 7:].any() and (after[..., :7] > 0).all()


def test_a_batch_walks_like_each_image_alone():
    scenes = [scene((8, 10), seed) for seed in range(3)]
    maps, edges = (torch.cat(parts) for parts in zip(*scenes, strict=True))
    maps[1, 1] = 0  # an image with fewer classes
    together = random_walk(maps, edges)
    for b in range(3):
        assert torch.equal(together[b], random_walk(maps[b : b + 1], edges[b : b + 1])[0])
    assert not together[1, 1].any()
    assert torch.equal(together[1, 0], random_walk(maps[1:2, :1], edges[1:2])[0, 0])


def test_the_walk_is_of_fp32_whatever_comes_in():
    maps, edges = scene((8, 10), 4)
    after = random_walk(maps.half(), edges.half())
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, random_walk(maps.half().float(), edges.half().float()))


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 256, 1000])
def test_expansion_of_a_power(steps):
    coefficients = chebyshev(steps)
    assert math.fsum(coefficients) == pytest.approx(1, abs=1e-12)
    points = np.cos(np.linspace(0, np.pi, 4001))
    np.testing.assert_allclose(
        np.polynomial.chebyshev.chebval(points, coefficients), points**steps, atol=2 * TOLERANCE, rtol=0
    )
    assert len(coefficients) - 1 <= math.sqrt(2 * steps * math.log(2 / TOLERANCE)) + 2


def test_degree_of_the_usual_walk():
    assert len(chebyshev(256)) - 1 == 78 and len(chebyshev(256, 1e-4)) - 1 == 62
    assert chebyshev(4) == pytest.approx((3 / 8, 0, 1 / 2, 0, 1 / 8))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_tiny_grids(size):
    maps, edges = scene(size, 0)
    expected = (maps * (1 - edges)[:, None]).reshape(2, -1).double() @ torch.from_numpy(
        np.linalg.matrix_power(dense(edges[0], 5, 10.0), 16)
    )
    found = random_walk(maps, edges, steps=16).reshape(2, -1)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_memory_is_linear_in_cells():
    """What a walk holds is one value a cell and direction, and a few a cell and map."""
    held = []
    for size in ((16, 16), (32, 64)):
        transition = Transition(scene(size, 0)[1], 5, 10.0)
        tensors = [transition.inverse, *(weights for _, weights in transition.stencil)]
        held.append(sum(tensor.untyped_storage().nbytes() for tensor in tensors))
        assert held[-1] == (34 + 1) * 4 * size[0] * size[1]
    assert held[1] == 8 * held[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 9), (33, 31), (64, 65)])
def test_both_forms_agree(size, monkeypatch):
    maps, edges = scene(size, 3)
    found = []
    for backend in ("native", "torch"):
        monkeypatch.setattr(walking, "usual_backend", lambda device, b=backend: b)
        found.append(random_walk(maps, edges, steps=37))
    assert (found[0] - found[1]).abs().max() <= 1e-5 * found[1].max()


def test_the_c_code_refuses_what_does_not_fit():
    maps, weights, inverse = np.ones((2, 12), np.float32), np.ones(9, np.float32), np.ones(12, np.float32)
    assert built().power(maps, [(3, weights)], inverse, [1.0]).tolist() == maps.tolist()
    for wrong in (
        (maps[0], [(3, weights)], inverse, [1.0]),
        (maps, [(3, weights)], inverse[1:], [1.0]),
        (maps, [(2, weights)], inverse, [1.0]),
        (maps, [(0, inverse)], inverse, [1.0]),
        (maps, [(3, weights)], inverse, []),
    ):
        with pytest.raises(ValueError):
            built().power(*wrong)


def test_where_it_is_not_built_torch_walks_and_says_so_once(monkeypatch, capsys):
    def missing():
        raise ImportError("no such module")

    monkeypatch.setattr(walking, "built", missing)
    usual_backend.cache_clear()
    try:
        assert [usual_backend("cpu") for _ in range(3)] == ["torch"] * 3
        assert capsys.readouterr().err.count("(no such module); run 'pip install .' again. torch does its work") == 1
        assert usual_backend("cuda") == "torch"
    finally:
        usual_backend.cache_clear()
    monkeypatch.undo()
    assert usual_backend("cpu") == "native"
