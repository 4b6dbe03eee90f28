"""Ways to normalise maps: exact values, and what sets them apart."""

from __future__ import annotations

import pytest
import torch

from wsss.errors import WsssError
from wsss.explain import postprocess

MAPS = torch.tensor([[[-2.0, 1.0], [3.0, 5.0]], [[2.0, 4.0], [6.0, 10.0]], [[-1.0, -2.0], [-3.0, 0.0]]])


def test_exact_values():
    expected = torch.tensor([[[0, 0.2], [0.6, 1]], [[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]])
    torch.testing.assert_close(postprocess.relu_minmax(MAPS), expected)
    expected = torch.tensor([[[0, 0.2], [0.6, 1]], [[0.2, 0.4], [0.6, 1]], [[0, 0], [0, 0]]])
    torch.testing.assert_close(postprocess.relu_max(MAPS), expected, atol=1e-5, rtol=0)
    assert postprocess.relu_max(MAPS)[0].max() == torch.tensor(5.0) / (torch.tensor(5.0) + 1e-5)
    expected = torch.tensor([[[0.25, 0], [0.5, 1]], [[0, 0.25], [0.5, 1]], [[1 / 3, 2 / 3], [1, 0]]])
    torch.testing.assert_close(postprocess.abs_minmax(MAPS), expected)


def test_order_of_resizing_and_normalising():
    raw = torch.zeros(1, 4, 4)
    raw[0, 1, 1], raw[0, 2, 2] = 4.0, -4.0
    later = postprocess.resize(postprocess.relu_minmax(raw), (8, 8))
    assert later.max() < 1
    assert postprocess.sgc(raw, (8, 8)).max() == 1
    # a negative neighbour pulls the resized map down only if the ReLU comes afterwards
    assert postprocess.sgc(raw, (8, 8)).sum() < (later / later.max()).sum()
    shown = postprocess.pgc(raw, (8, 8))
    assert shown.shape == (1, 8, 8) and shown.min() == 0 and shown.max() == pytest.approx(1, abs=1e-6)
    two = postprocess.pgc([raw, 3 * raw], (8, 8))
    torch.testing.assert_close(two, shown)  # a layer's scale does not count


@pytest.mark.parametrize("name", ["relu_minmax", "relu_max", "abs_minmax"])
def test_flat_maps_give_zeros(name):
    made = getattr(postprocess, name)(torch.zeros(2, 3, 3))
    assert torch.equal(made, torch.zeros(2, 3, 3))
    for flat in (postprocess.pgc(-torch.ones(2, 3, 3), (4, 4)), postprocess.sgc(-torch.ones(2, 3, 3), (4, 4))):
        assert torch.equal(flat, torch.zeros(2, 4, 4))


def test_channels_and_the_strongest_pixels():
    maps = torch.tensor([1.0, -3.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    values = {how: postprocess.reduce_channels(maps, how)[0, 0, 0].item() for how in postprocess.CHANNELS}
    assert values == pytest.approx({"max_abs": 3, "mean_abs": 5 / 3, "sum_abs": 5, "sum": -1})
    with pytest.raises(WsssError, match="'mean': there are max_abs"):
        postprocess.reduce_channels(maps, "mean")
    assert postprocess.strongest(MAPS[:1], 0.5).tolist() == [[[0, 0], [3, 5]]]
