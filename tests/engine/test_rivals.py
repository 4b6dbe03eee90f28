"""Tags of an image that compete for its cells, beside the rule written out cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.engine.test_applying import classifier  # noqa: F401  # a fixture
from wsss.data.index import Index
from wsss.inference.cams import rectified, rivalling
from wsss.settings import CamsSettings
from wsss.stages.cams import make as write_cams
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore


def slow(views: np.ndarray, classes: list[int], temperature: float) -> np.ndarray:
    """Loops over views, cells and classes, in double precision."""
    count, _, height, width = views.shape
    total = np.zeros((len(classes), height, width))
    for number in range(count):
        shares = np.zeros_like(total)
        for y, x in np.ndindex(height, width):
            powers = [math.exp(float(views[number, c, y, x]) / temperature) for c in classes]
            for k in range(len(classes)):
                shares[k, y, x] = powers[k] / sum(powers)
        for k, c in enumerate(classes):
            for y, x in np.ndindex(height, width):
                value = max(0.0, float(views[number, c, y, x])) * shares[k, y, x] / shares[k].max()
                total[k, y, width - 1 - x if number else x] += value
    return total


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_cell_by_cell(views: int, temperature: float) -> None:
    maps = 5 * torch.randn(views, 4, 3, 5, generator=torch.Generator().manual_seed(views))
    found = rivalling(maps, torch.tensor([0, 2, 3]), temperature)
    np.testing.assert_allclose(found, slow(maps.numpy(), [0, 2, 3], temperature), rtol=1e-5, atol=1e-6)


def test_one_tag_has_the_same_bits() -> None:
    maps = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rivalling(maps, torch.tensor([1]), 2.0), rectified(maps, torch.tensor([1])))


def test_the_weaker_map_yields() -> None:
    """By its own maximum the second map is nearly as high where the first is strong; in rivalry it is all but gone."""
    maps, both = torch.tensor([[[[8.0, 4.0]], [[1.0, 1.2]]]]), torch.tensor([0, 1])
    plain, rival = (
        (found / found.amax((-2, -1), keepdim=True))[1, 0]
        for found in (rectified(maps, both), rivalling(maps, both, 2.0))
    )
    assert plain[0] > 0.8 and rival[0] < 0.15 and plain[1] == rival[1] == 1


def test_in_the_stage(tiny_index, classifier, make_run) -> None:  # noqa: F811
    found = {}
    for name, rivals in (("plain", None), ("rivals", 2.0)):
        settings = CamsSettings(classifier="x", scales=(0.5, 1.0), rivals=rivals)
        run = make_run(settings, {"index": tiny_index, "classifier": classifier[1]}, name)
        write_cams(run)
        write_manifest(run.out, {})
        found[name] = MapStore(run.out)
    items = Index.load(tiny_index).split("train")
    alone = [item for item in items if len(item.labels) == 1]
    together = [item for item in items if len(item.labels) == 2]
    assert alone and together
    for item in alone:
        assert np.array_equal(found["plain"].full(item.id), found["rivals"].full(item.id))
    assert any(not np.array_equal(found["plain"].full(i.id), found["rivals"].full(i.id)) for i in together)
