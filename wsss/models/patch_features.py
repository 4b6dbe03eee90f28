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
from wsss.models.hub import kept_weights
from wsss.store.weights_cache import cached


class PatchFeatures(nn.Module):
    """What a timm transformer says of each patch, each of length 1, without class token and registers: the patch tokens
    after its last normalisation, or the keys of its last attention, all heads side by side (TokenCut, Wang et al.
    2022).

    Args:
        name: timm name, such as ``vit_small_patch14_dinov2.lvd142m``.
        pretrained: ``True``: its weights from the cache that ``wsss fetch`` fills, or the hub's own; a path; ``False``:
            random.
        keys: Keys in place of tokens.

    Attributes:
        grid_stride: Side of a patch in pixels.
        round_to: 1, as in ``wsss.store.views.decode_full``: the grid covers the image exactly.

    Raises:
        WsssError: Unknown name, no transformer of this form, or weights that are missing or do not fit.
    """

    round_to = 1

    def __init__(self, name: str, pretrained: bool | str, keys: bool = False) -> None:
        super().__init__()
        check_name(name)
        try:
            network: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True)
            self.prefix, (self.grid_stride, _) = network.num_prefix_tokens, network.patch_embed.patch_size
            last = network.blocks[-1].attn.qkv if keys else None
        except (TypeError, AttributeError) as error:
            raise WsssError(f"{name}: no vision transformer with patches ({error}); take one of DINO's") from None
        if pretrained:
            if isinstance(pretrained, bool):
                found = kept_weights(name) or cached("timm", name, "default")  # which says how to get them
                pretrained = str(found.path)
            load_pretrained(network, name, pretrained)  # fits it to ImageNet's colour statistics
        self.network = network.eval().requires_grad_(False)
        self.seen: torch.Tensor | None = None
        if last is not None:
            last.register_forward_hook(self._note)
        self.keys = keys
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for key, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(key, torch.from_numpy(values)[:, None, None], persistent=False)

    def _note(self, module: nn.Module, given: Any, found: torch.Tensor) -> None:
        self.seen = found

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (B, D, h, w) of normalised images (B, 3, H, W), as of their pixels."""
        return self.of_pixels((images * self.std + self.mean) * 255)

    def of_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 (B, D, h, w) of images (B, 3, H, W) from 0 to 255, with h = ceil(H / patch) and so on: images are
        stretched to that size."""
        grid = [-(-side // self.grid_stride) for side in pixels.shape[-2:]]
        if tuple(pixels.shape[-2:]) != (size := tuple(self.grid_stride * side for side in grid)):
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 255)
        tokens = self.network.forward_features((pixels / 255 - self.mean) / self.std)
        if self.keys:
            assert self.seen is not None
            tokens, self.seen = self.seen.chunk(3, -1)[1], None
        patches = F.normalize(tokens[:, self.prefix :].float(), dim=-1)
        return patches.transpose(1, 2).reshape(len(patches), -1, *grid)
