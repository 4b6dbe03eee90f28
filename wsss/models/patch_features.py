"""What a vision transformer trained without labels knows of an image: a feature for each patch."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.transforms import MEAN, STD
from wsss.errors import WsssError
from wsss.models.backbone import check_name, load_pretrained
from wsss.store.weights_cache import cached


class PatchFeatures(nn.Module):
    """The patch tokens of a timm transformer after its last normalisation, without class token and registers, each of
    length 1.

    Args:
        name: timm name, such as ``vit_small_patch14_dinov2.lvd142m``.
        pretrained: ``True``: its weights from the cache that ``wsss fetch`` fills; a path; ``False``: random.

    Raises:
        WsssError: Unknown name, no transformer of this form, or weights that are missing or do not fit.
    """

    def __init__(self, name: str, pretrained: bool | str) -> None:
        super().__init__()
        check_name(name)
        try:
            network: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True)
            self.prefix, (self.patch, _) = network.num_prefix_tokens, network.patch_embed.patch_size
        except (TypeError, AttributeError) as error:
            raise WsssError(f"{name}: no vision transformer with patches ({error}); take one of DINO's") from None
        if pretrained:
            path = pretrained if isinstance(pretrained, str) else str(cached("timm", name, "default").path)
            load_pretrained(network, name, path)  # fits it to ImageNet's colour statistics
        self.network = network.eval().requires_grad_(False)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for key, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(key, torch.from_numpy(values)[:, None, None], persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 (D, h, w) of one image (1, 3, H, W) from 0 to 255, with h = ceil(H / patch) and so on: the image is
        stretched to that size."""
        grid = [-(-side // self.patch) for side in pixels.shape[-2:]]
        if tuple(pixels.shape[-2:]) != (size := tuple(self.patch * side for side in grid)):
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 255)
        tokens = self.network.forward_features((pixels / 255 - self.mean) / self.std)[0, self.prefix :]
        features: torch.Tensor = F.normalize(tokens.float(), dim=-1).T.reshape(-1, *grid)
        return features
