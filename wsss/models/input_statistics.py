"""Pretrained weights for images that are normalised with ImageNet's statistics, whatever they were trained with.

Every image of this project is normalised with the mean and deviation of ImageNet's colours. Many networks of timm were
trained with others: EfficientNet-Lite and most transformers with 0.5 and 0.5, CLIP's with its own. Their first
convolution sees too much contrast then, and features get worse in silence. So it is changed when weights are loaded:
with x' = (x - m') / s' given in place of x = (x - m) / s, per colour c

    W' = W s' / s,    b' = b + sum over c, i, j of W_cij (m'_c - m_c) / s_c

gives the same sums (but at the image's edge, where the padding now stands for ImageNet's mean colour). Without a bias,
the running mean of the batch normalisation that follows takes the offset.
"""

from __future__ import annotations

import logging

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from wsss.data.transforms import MEAN, STD

VERSION = 1
SMALL = 0.05
"""Differences of the mean colour up to this, in deviations, are not worth a bias: CLIP's is 0.02."""

log = logging.getLogger(__name__)


@torch.no_grad()
def take_imagenet_statistics(network: nn.Module, name: str) -> None:
    """Change the first convolution of a network, in place, so that it can be given images normalised as ours are.

    Once after weights that timm's ``name`` says were loaded. A network that was trained with ImageNet's statistics, or
    that timm does not know, stays as it is. One whose first layer is no plain convolution does, too, and the log says
    so.
    """
    about = timm.get_pretrained_cfg(name)
    if about is None:
        return
    mean, std, ours, our_std = (torch.tensor(v, dtype=torch.float64) for v in (about.mean, about.std, MEAN, STD))
    factor, offset = our_std / std, (ours - mean) / std
    if bool((factor - 1).abs().max() < 1e-3) and bool(offset.abs().max() < 1e-3):
        return
    modules = list(network.modules())
    seeing = [i for i, m in enumerate(modules) if isinstance(m, nn.Conv2d) and m.in_channels == 3 and m.groups == 1]
    if not seeing or any(type(modules[i]) not in (nn.Conv2d, Conv2dSame) for i in seeing):
        log.warning(_unfit(name, about.mean, about.std))
        return
    for place in seeing:
        conv = modules[place]
        assert isinstance(conv, nn.Conv2d)
        weight = conv.weight.double()
        bias = (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3))
        behind = next((m for m in modules[place + 1 :] if not isinstance(m, nn.Sequential)), None)
        if conv.bias is not None:
            conv.bias.add_(bias)
        elif isinstance(behind, nn.modules.batchnorm._BatchNorm) and behind.running_mean is not None:
            behind.running_mean.sub_(bias)
        elif bool(offset.abs().max() > SMALL):
            log.warning(_unfit(name, about.mean, about.std))
            return
        conv.weight.copy_(weight * factor.view(1, 3, 1, 1))


def _unfit(name: str, mean: object, std: object) -> str:
    return (
        f"backbone {name} was trained on images normalised with mean {mean} and deviation {std}, and its first layer "
        "cannot be changed to ImageNet's; its features may be worse than they could be"
    )
