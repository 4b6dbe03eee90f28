"""Stages of a backbone on one grid, against a cell by cell twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.encoder import create_encoder
from wsss.models.stage_features import StageFeatures
from wsss.models.wide_encoder import StageInfo


class Drawn(nn.Module):
    """An encoder whose maps are drawn at random, by the size of what it sees."""

    def __init__(self, channels, strides):
        super().__init__()
        self.feature_info = StageInfo(channels, strides)

    def forward(self, images):
        generator = torch.Generator().manual_seed(0)
        height, width = images.shape[-2:]
        pairs = zip(self.feature_info.channels(), self.feature_info.reduction(), strict=True)
        return [torch.randn(len(images), c, height // s, width // s, generator=generator) for c, s in pairs]


def slowly(stage, stride, grid_stride, size):
    """One stage of one image on the grid, from the words of the docstring: (C, h, w) of unit length."""
    height, width = size
    own = -(-height // stride), -(-width // stride)
    rows, columns = -(-height // grid_stride), -(-width // grid_stride)
    stage = stage.double().numpy()
    stage = stage - stage[:, : own[0], : own[1]].mean((1, 2), keepdims=True)
    found = np.zeros((len(stage), rows, columns))
    for y, x in np.ndindex(rows, columns):
        if stride <= grid_stride:
            n = grid_stride // stride
            cell = stage[:, y * n : min((y + 1) * n, own[0]), x * n : min((x + 1) * n, own[1])].mean((1, 2))
        else:
            cell = np.zeros(len(stage))
            # the centre of the cell in cells of the stage, clamped as bilinear interpolation does
            v, u = (max((p + 0.5) * grid_stride / stride - 0.5, 0.0) for p in (y, x))
            for dy, dx in np.ndindex(2, 2):
                weight = (v % 1 if dy else 1 - v % 1) * (u % 1 if dx else 1 - u % 1)
                at = min(int(v) + dy, stage.shape[1] - 1), min(int(u) + dx, stage.shape[2] - 1)
                cell = cell + weight * stage[:, at[0], at[1]]
        found[:, y, x] = cell / np.linalg.norm(cell)
    return found


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
@pytest.mark.parametrize("grid_stride", [4, 8, 16])
@pytest.mark.parametrize("strides", [[2, 4, 8, 16, 32], [2, 4, 8, 8, 8], [14, 14]])
def test_against_cells_one_by_one(strides, grid_stride, size):
    encoder = Drawn([3, 4, 5, 6, 7][: len(strides)], strides)
    read = [2, 16] if len(strides) == 5 else [14]
    network = StageFeatures(encoder, read, grid_stride)
    found = network(torch.zeros(2, 3, *size))
    multiple = math.lcm(grid_stride, *strides)
    padded = [-(-side // multiple) * multiple for side in size]
    maps = encoder(torch.zeros(2, 3, *padded))
    kept = [0, 3] if len(strides) == 5 else [0, 1]
    for image in range(2):
        parts = [slowly(maps[k][image], strides[k], grid_stride, size) for k in kept]
        np.testing.assert_allclose(found[image].numpy(), np.concatenate(parts) / math.sqrt(2), atol=1e-5)
    torch.testing.assert_close((found**2).sum(1), torch.ones(2, *found.shape[2:]))


@pytest.mark.parametrize(
    "name, stride, stages", [("test_resnet", 32, (4, 8, 16, 32)), ("test_resnet", 8, (16, 32)), ("test_vit", 16, (16,))]
)
@torch.inference_mode()
def test_backbones_of_timm(name, stride, stages):
    torch.manual_seed(0)
    encoder = create_encoder(name, stride, False).eval()
    network = StageFeatures(encoder, stages, 8)
    images = torch.randn(1, 3, 60, 90)
    found = network(images)
    assert found.shape[2:] == (8, 12) and found.isfinite().all()
    torch.testing.assert_close((found**2).sum(1), torch.ones(1, 8, 12))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_stage_that_there_is_not_is_named():
    encoder = create_encoder("test_resnet", 32, False)
    assert timm.is_model("test_vit")
    StageFeatures(encoder, (2, 32), 8)
    with pytest.raises(WsssError, match="none of stride 32; allowed: 16"):
        StageFeatures(create_encoder("test_vit", 16, False), (16, 32), 8)
