"""Maps of CLIP for the tags of an image: CLIP-ES's seeds, and dense comparisons of patches and texts.

Sources, each written from the paper's equations: CLIP-ES (Lin et al. 2023) for ``grad-cam``; MaskCLIP (Zhou et al.
2022), SCLIP (Wang et al. 2024), ClearCLIP (Lan et al. 2024), NACLIP (Hajimiri et al. 2025) and ProxyCLIP (Lan et al.
2024) for the dense methods. That the softmax of the dense methods is over the tags and the background alone is this
project's.

Each image goes through the network alone, so its maps have the same bits whichever images are made beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.nn import functional as F

from wsss.compute.devices import loader_workers
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, inference_loader
from wsss.inference.words import Words
from wsss.models.clip_tower import ClipTower, after_attention, attended
from wsss.models.patch_features import PatchFeatures
from wsss.refine.attention_affinity import attention_affinity, scaled, spread
from wsss.settings import TextCamsSettings
from wsss.store.map_shards import Maps
from wsss.system.progress import Progress

VERSION = 1
SHORT_SIDE = 336
"""Of images for the dense methods, in pixels, as published."""


def text_maps(
    tower: ClipTower,
    words: Words,
    items: list[Item],
    settings: TextCamsSettings,
    device: torch.device,
    threads: int,
    proxy: PatchFeatures | None = None,
) -> Iterator[Maps]:
    """The maps of each item's tags, in no particular order; an image without tags has none.

    ``proxy``: the network whose patches say what is alike, for ``method: proxy``.

    Yields:
        The item, its classes, and its maps float32 (n, h, w) in [0, 1]. They cover the image exactly, whatever the size
        at which the network saw it.
    """
    with Progress(len(items), what="text maps") as progress:
        for item in items:
            if not item.labels:
                yield item, [], []
                progress.advance()
        tagged = [item for item in items if item.labels]
        loader = inference_loader(
            ScaledBatches([[item] for item in tagged], (1.0,), settings.max_side), loader_workers(threads, device)
        )
        for (item,), (view,) in loader:
            pixels = view.to(device).float()
            if settings.method == "grad-cam":
                maps = grad_cam_maps(tower, _seen(tower, pixels, settings), words, item.labels, settings)
            else:
                alike = None if proxy is None else proxy.of_pixels(_at_short_side(pixels, settings))[0]
                maps = dense_maps(tower, _seen(tower, pixels, settings), words, item.labels, settings, alike)
            yield item, item.labels, [maps.cpu().numpy()]
            progress.advance()


def _at_short_side(pixels: torch.Tensor, settings: TextCamsSettings) -> torch.Tensor:
    """Pixels (1, 3, H, W) with the shorter side as the settings have it, but no side above ``max_side``."""
    height, width = pixels.shape[-2:]
    short = settings.short_side or (min(height, width) if settings.method == "grad-cam" else SHORT_SIDE)
    factor = min(short / min(height, width), settings.max_side / max(height, width))
    return resized(pixels, (max(1, round(height * factor)), max(1, round(width * factor))))


def resized(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pixels (1, 3, H, W) from 0 to 255 at another size (bicubic, antialiased)."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 255)


def _seen(tower: ClipTower, pixels: torch.Tensor, settings: TextCamsSettings) -> torch.Tensor:
    """What the image tower sees: sides stretched to the next multiple of the patch, colours normalised."""
    pixels = _at_short_side(pixels, settings)
    height, width = (-(-side // tower.patch) * tower.patch for side in pixels.shape[-2:])
    mean, std = tower.colours
    return (resized(pixels, (height, width)) / 255 - mean) / std


def _rows(words: Words, labels: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
    """Vectors of the tags' words, tag by tag, and of all background words, (n, d), and how many each tag has."""
    each = [words.of_class[label] for label in labels]
    chosen = [row for rows in each for row in rows] + list(words.background)
    return words.vectors[chosen], [len(rows) for rows in each]


@torch.no_grad()
def grad_cam_maps(
    tower: ClipTower, image: torch.Tensor, words: Words, labels: Sequence[int], settings: TextCamsSettings
) -> torch.Tensor:
    """CLIP-ES's seeds, spread by attention.

    With A the normalised input of the last block and s the softmax over the tags and the background,

        M_k = relu(A w_k),  w_k = mean over patches of ds_k / dA,

    scaled to [0, 1], and spread by the attention of the last blocks (``wsss.refine.attention_affinity``). The image's
    vector is the mean over its patches, not the class token.

    Args:
        tower: CLIP.
        image: (1, 3, H, W), as the tower sees it.
        words: Each class has one text here.
        labels: The tags, K of them.
        settings: ``affinity``, ``affinity_blocks`` and ``box_threshold`` count.

    Returns:
        float32 (K, h, w) in [0, 1], with a cell for each patch.
    """
    height, width = (side // tower.patch for side in image.shape[-2:])
    tokens, weights = tower.tokens(image), []
    *before, last = tower.blocks
    for block in before:
        found, each = attended(block, block.ln_1(tokens))
        tokens = after_attention(block, tokens, found)
        weights.append(each)
    texts, _ = _rows(words, labels)
    with torch.enable_grad():
        normed = last.ln_1(tokens).detach().requires_grad_()
        found, each = attended(last, normed)
        out = after_attention(last, tokens, found)
        vector = F.normalize(tower.project(out[:, 1:]).mean(1), dim=-1)
        scores = (tower.scale * vector @ texts.T).softmax(-1)[0, : len(labels)]
        (slopes,) = torch.autograd.grad(
            scores, normed, torch.eye(len(labels), device=scores.device), is_grads_batched=True
        )
    weights.append(each.detach())
    channels = slopes[:, 0, 1:].mean(1)  # (K, D)
    seeds = scaled((channels @ normed.detach()[0, 1:].T).relu().view(-1, height, width))
    if not settings.affinity:
        return seeds
    mean = torch.stack([each[0, 1:, 1:] for each in weights[-settings.affinity_blocks :]]).mean(0)
    return spread(seeds, attention_affinity(mean), settings.box_threshold)


@torch.no_grad()
def dense_maps(
    tower: ClipTower,
    image: torch.Tensor,
    words: Words,
    labels: Sequence[int],
    settings: TextCamsSettings,
    alike: torch.Tensor | None = None,
) -> torch.Tensor:
    """Probability of each tag in each patch: softmax over the words of the tags and of the background alone, of which a
    class takes its largest.

    With q, k, v of the last block's attention on the patches, a method replaces its weights by w, and

        o = out_proj(w v),  vectors = normalise(ln_post(o) proj),  logits = temperature vectors . texts;

    the residual path and the MLP of the block are left out, but for ``sclip``, which is published with them.

    Args:
        tower: CLIP.
        image: (1, 3, H, W), as the tower sees it.
        words: Classes may have several texts.
        labels: The tags, K of them.
        settings: ``method``, ``temperature``, ``sigma``, ``proxy_beta`` and ``proxy_gamma`` count.
        alike: For ``proxy``: features (D, h', w'), each cell of length 1; the maps are on their grid.

    Returns:
        float32 (K, h, w) in [0, 1]; over the tags they sum to at most 1, what is left is the background's.
    """
    grid = tuple(side // tower.patch for side in image.shape[-2:])
    tokens = tower.tokens(image)
    *before, last = tower.blocks
    for block in before:
        tokens = after_attention(block, tokens, attended(block, block.ln_1(tokens))[0])
    patches = tokens[:, 1:]
    attention = last.attn
    packed = F.linear(last.ln_1(patches)[0], attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = (part.view(len(packed), attention.num_heads, -1).transpose(0, 1) for part in packed.chunk(3, -1))
    if settings.method == "proxy":
        if alike is None:
            raise ValueError("method proxy needs the features of another network")
        v = v.transpose(1, 2).reshape(v.shape[0], v.shape[2], *grid)
        grid = tuple(alike.shape[1:])
        v = F.interpolate(v, size=grid, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
        mixed = proxy_weights(alike, settings.proxy_beta, settings.proxy_gamma) @ v
    else:
        mixed = WEIGHTS[settings.method](q, k, v, grid, settings.sigma)
    out = attention.out_proj(mixed.transpose(0, 1).flatten(1))
    if settings.method == "sclip":
        out = after_attention(last, patches[0], out)
    vectors = F.normalize(tower.project(out), dim=-1)
    texts, counts = _rows(words, labels)
    probabilities = (settings.temperature * vectors @ texts.T).softmax(-1)
    each = torch.split(probabilities[:, : sum(counts)], counts, dim=1)
    return torch.stack([of_tag.amax(1) for of_tag in each]).view(-1, *grid)


Grid = tuple[int, ...]


def _weighted(logits: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = logits.softmax(-1) @ v
    return found


def _alike_self(q: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = q @ q.transpose(1, 2) / q.shape[-1] ** 0.5
    return logits


def _maskclip(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, sigma: float) -> torch.Tensor:
    """w = identity."""
    return v


def _clearclip(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, sigma: float) -> torch.Tensor:
    """w = softmax(q q^T / sqrt(d))."""
    return _weighted(_alike_self(q), v)


def _sclip(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, sigma: float) -> torch.Tensor:
    """w = softmax(q q^T / sqrt(d)) + softmax(k k^T / sqrt(d))."""
    return _weighted(_alike_self(q), v) + _weighted(_alike_self(k), v)


def _naclip(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, sigma: float) -> torch.Tensor:
    """w = softmax(k k^T / sqrt(d) + g), g_ij = exp(-|p_i - p_j|^2 / (2 sigma^2)), places p in patches."""
    return _weighted(_alike_self(k) + nearness(grid, sigma, k.device), v)


WEIGHTS: dict[str, Callable[..., torch.Tensor]] = {
    "maskclip": _maskclip,
    "clearclip": _clearclip,
    "sclip": _sclip,
    "naclip": _naclip,
}
"""Dense method -> w v of q, k, v (heads, N, d), the grid of the N patches, and sigma."""


def nearness(grid: Grid, sigma: float, device: torch.device | None = None) -> torch.Tensor:
    """g of ``naclip``: float32 (N, N), 1 on the diagonal, on a device (None: the CPU).

    Examples:
        >>> nearness((1, 3), sigma=1.0)  # exp(-1/2), exp(-4/2)
        tensor([[1.0000, 0.6065, 0.1353],
                [0.6065, 1.0000, 0.6065],
                [0.1353, 0.6065, 1.0000]])
    """
    rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in grid)
    down, across = (((a[:, None] - a) ** 2) for a in (rows, columns))
    squared = down[:, None, :, None] + across[None, :, None, :]
    count = len(rows) * len(columns)
    return (-squared.reshape(count, count) / (2 * sigma**2)).exp()


def proxy_weights(features: torch.Tensor, beta: float, gamma: float) -> torch.Tensor:
    """w of ``proxy`` (ProxyCLIP): with S the cosines, softmax of gamma (S - beta mean(S)) over those that are not
    negative.

    Args:
        features: (D, h, w), each cell of length 1.
        beta, gamma: As above.

    Returns:
        float32 (h w, h w); rows sum to 1. A cell that is like none, not even itself, keeps its own value.

    Examples:
        >>> proxy_weights(torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]), beta=1.2, gamma=3.0)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    flat = features.float().flatten(1)
    cosines = flat.T @ flat
    shifted = (cosines - beta * cosines.mean()) * gamma
    own = torch.eye(len(shifted), dtype=torch.bool, device=shifted.device)
    alone = ((shifted < 0).all(1))[:, None]
    return shifted.masked_fill((shifted < 0) & ~(own & alone), float("-inf")).softmax(-1)
