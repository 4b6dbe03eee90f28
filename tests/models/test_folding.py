"""Folded batch normalisation: the same outputs, and only where it may be folded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wsss.models.classifier import Classifier
from wsss.models.disentangler import Disentangler
from wsss.models.edge_network import EdgeNetwork
from wsss.models.folding import fold_batch_norm
from wsss.models.poolnet import PoolNet
from wsss.models.segmenter import Segmenter


def with_statistics(network: nn.Module) -> nn.Module:
    """As after a training: no statistic and no affine parameter is what it is at the beginning."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            size = module.running_mean.shape
            module.running_mean.copy_(torch.randn(size, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
            if module.affine:
                module.weight.data.copy_(torch.rand(size, generator=generator) + 0.5)
                module.bias.data.copy_(torch.randn(size, generator=generator) * 0.1)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


NETWORKS = {
    "mobilenetv2": (lambda: Classifier("mobilenetv2_100", 3), 0),
    "resnet": (lambda: Classifier("test_resnet", 3, 8), 0),
    "resnest": (lambda: Classifier("resnest14d", 3), 0),
    "vit, which has none": (lambda: Classifier("test_vit", 3, 16), 0),
    "wide resnet, which normalises before it convolves": (lambda: Classifier("wide_resnet38d", 2, 8), None),
    "disentangler": (lambda: Disentangler("test_resnet"), 0),
    "edges": (lambda: EdgeNetwork("test_resnet"), 0),
    "poolnet": (lambda: PoolNet("test_resnet", 32), 0),
    "deeplabv3plus": (lambda: Segmenter("deeplabv3plus", "test_resnet", 3), 0),
    "unet": (lambda: Segmenter("unet", "test_resnet", 3), 0),
}


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay(name):
    torch.manual_seed(0)
    make, left = NETWORKS[name]
    with torch.inference_mode(False):
        network = with_statistics(make()).double()  # in fp32 rounding differs between processors
    before = norms(network)
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    leaves = torch.utils._pytree.tree_leaves
    plain = leaves(network(images))
    folded = fold_batch_norm(network, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    assert norms(network) == before - folded
    assert left is None or norms(network) == left
    for one, other in zip(plain, leaves(network(images)), strict=True):
        assert (one - other).abs().max() <= 1e-9 * one.abs().max()


class Net(nn.Module):
    """One convolution and one batch normalisation, put together in ``how``."""

    def __init__(self, how) -> None:
        super().__init__()
        self.conv, self.norm, self.how = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), how

    def forward(self, x):
        return self.how(self, x)


def collected(net, x):
    y = net.conv(x)
    return [y, net.norm(y)]


def gated(net, x):
    y = net.conv(x)
    return net.norm(y) * y


def in_place(net, x):
    y = net.conv(x)
    y.relu_()
    return net.norm(y)


@torch.no_grad()
@pytest.mark.parametrize(
    "how, pairs",
    [
        (lambda net, x: net.norm(net.conv(x)), 1),
        (lambda net, x: net.norm(net.conv(x)) + x.shape[1] + net.conv.weight.shape[0], 1),
        (collected, 0),
        (gated, 0),
        (in_place, 0),
        (lambda net, x: net.norm(net.conv(net.conv(x))), 0),
        (lambda net, x: net.norm(net.norm(net.conv(x))), 0),
        (lambda net, x: net.norm(net.conv(x).relu()), 0),
        (lambda net, x: net.conv(net.norm(x)), 0),
    ],
)
def test_only_what_nobody_else_sees(how, pairs):
    torch.manual_seed(0)
    net, x = with_statistics(Net(how)), torch.randn(2, 3, 5, 7)
    plain = net(x)
    assert fold_batch_norm(net, torch.zeros(1, 3, 4, 4)) == pairs
    for one, other in zip(plain if isinstance(plain, list) else [plain], net(x), strict=False):
        torch.testing.assert_close(one if isinstance(plain, list) else plain[0], other, atol=1e-5, rtol=1e-5)


def test_batch_statistics_cannot_be_folded():
    net = Net(lambda net, x: net.norm(net.conv(x)))
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norm(net, torch.zeros(1, 3, 4, 4))
    net.eval().norm.train()
    assert fold_batch_norm(net, torch.zeros(2, 3, 4, 4)) == 0
