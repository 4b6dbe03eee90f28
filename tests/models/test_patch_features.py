"""What a transformer says of its patches: which tokens, which keys, on which grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wsss.data.transforms import normalise
from wsss.models.patch_features import PatchFeatures


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def by_hand(network, pixels, keys):
    """Block by block: what goes into the last one's attention, and what comes out of the last normalisation."""
    vit = network.network
    x = torch.from_numpy(normalise(pixels))[None]
    tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(x)))
    *before, last = vit.blocks
    for block in before:
        tokens = block(tokens)
    width = tokens.shape[-1]
    found = F.linear(last.norm1(tokens), last.attn.qkv.weight[width : 2 * width], last.attn.qkv.bias[width : 2 * width])
    if not keys:
        found = vit.norm(last(tokens))
    return F.normalize(found[0, vit.num_prefix_tokens :], dim=-1)


@pytest.mark.parametrize(
    ("name", "prefix", "patch"),
    [("test_vit", 1, 16), ("vit_tiny_patch16_224", 1, 16), ("test_vit3", 1, 16)],
)
@pytest.mark.parametrize("keys", [False, True])
@torch.inference_mode()
def test_tokens_and_keys_against_a_walk_through_the_blocks(name, prefix, patch, keys):
    torch.manual_seed(0)
    network = PatchFeatures(name, False, keys)
    assert (network.prefix, network.grid_stride) == (prefix, patch)
    pixels = photo(2 * patch, 3 * patch)
    found = network(torch.from_numpy(normalise(pixels))[None])
    assert found.dtype == torch.float32 and found.shape[2:] == (2, 3)
    expected = by_hand(network, pixels, keys)
    torch.testing.assert_close(found[0].flatten(1).T, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "prefix"), [("vit_small_patch14_reg4_dinov2.lvd142m", 5), ("vit_small_patch16_dinov3.lvd1689m", 5)]
)
@torch.inference_mode()
def test_registers_are_no_patches(name, prefix):
    torch.manual_seed(0)
    network = PatchFeatures(name, False)
    side = network.grid_stride
    assert network.prefix == prefix
    whole = torch.from_numpy(normalise(photo(2 * side, 3 * side)))[None]
    tokens = network.network.forward_features(whole)[0]
    assert len(tokens) == 6 + prefix
    torch.testing.assert_close(network(whole)[0].flatten(1).T, F.normalize(tokens[prefix:], dim=-1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("keys", [False, True])
@torch.inference_mode()
def test_images_of_any_size_alone_or_together(keys):
    torch.manual_seed(0)
    network = PatchFeatures("test_vit", False, keys)
    images = torch.stack([torch.from_numpy(normalise(photo(40, 57, seed))) for seed in range(3)])
    together = network(images)
    assert together.shape[2:] == (3, 4)
    for image, found in zip(images, together, strict=True):
        torch.testing.assert_close(network(image[None])[0], found, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3, 3, 4))
