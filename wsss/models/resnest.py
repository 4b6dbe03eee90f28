"""ResNeSt (Zhang et al. 2020), dilated as it was published.

Where a stage keeps its resolution in place of halving it, timm's first block leaves out the 3 x 3 average pooling of
the main path and pools the shortcut over 2 x 2 cells. The published network does the opposite, and its weights were
trained so: the main path is pooled over 3 x 3 cells at stride 1, as it is at stride 2, and the shortcut is not pooled.
"""

from __future__ import annotations

from timm.layers.pool2d_same import AvgPool2dSame
from timm.models.resnest import ResNestBottleneck
from torch import nn

VERSION = 1


def dilate_as_published(network: nn.Module) -> None:
    """Change the first blocks of the stages that a ResNeSt dilates, in place; of any other network, nothing."""
    blocks = [module for module in network.modules() if isinstance(module, ResNestBottleneck)]
    pools_first = any(block.avd_first is not None for block in blocks)
    for block in blocks:
        shortcut = block.downsample
        if not isinstance(shortcut, nn.Sequential) or not isinstance(shortcut[0], AvgPool2dSame):
            continue
        shortcut[0] = nn.Identity()
        setattr(block, "avd_first" if pools_first else "avd_last", nn.AvgPool2d(3, 1, padding=1))
