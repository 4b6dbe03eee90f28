"""CLIP's two towers, of open_clip, opened up: tokens of an image block by block, and vectors of texts.

Vision transformers of CLIP's own form alone (class token, learnt position embedding, ``nn.MultiheadAttention``), with
the text tower beside them. Nothing is fetched here: weights are a local file, or lie in the cache that ``wsss fetch``
fills.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.settings.text import is_file
from wsss.store.weights import load_weights
from wsss.store.weights_cache import cached, digest
from wsss.text import listed, nearest

PROMPTS = 64
"""Texts that the text tower sees at once. Fixed, as with another number the last bits would differ."""


def open_clip() -> Any:
    """The library. Raises ``WsssError`` where it is not installed."""
    try:
        import open_clip as found
    except ImportError:
        raise WsssError(
            "source: text needs the package open_clip_torch, which is not installed: pip install '.[foundation]'"
        ) from None
    return found


class Weights(NamedTuple):
    """A file of weights, and what is known of it."""

    path: Path
    sha256: str
    source: str
    licence: str


def find_weights(model: str, weights: str) -> Weights:
    """The file that ``weights`` of a model stands for, checked beside the model.

    Args:
        model: A name of open_clip's list, or ``local-dir:`` and a folder with its ``open_clip_config.json``.
        weights: A tag of open_clip's list for this model, or a path.

    Raises:
        WsssError: Model or tag are unknown; the model's activation is not the one that the weights were trained with;
            or the file is missing, and then how to fetch it.
    """
    library = open_clip()
    _config(model)
    if not is_file(weights):
        tags = library.list_pretrained_tags_by_model(model)
        if weights not in tags:
            _refuse_activation(library, model, weights)
            raise WsssError(
                f"weights {weights!r} are none of open_clip's for {model}{nearest(weights, tags)} (allowed: "
                f"{listed(tags)}; or a path)"
            )
    _refuse_activation(library, model, weights)
    if is_file(weights):
        path = Path(weights)
        if not path.is_file():
            raise WsssError(
                f"{path}: no such file of weights; check the path (it is relative to the working directory)"
            )
        return Weights(path, digest(path), str(path), "not stated")
    return Weights(*cached("clip", model, weights))


def _config(model: str) -> dict[str, Any]:
    """What open_clip knows of a model. Raises ``WsssError`` where that is nothing."""
    library = open_clip()
    if model.startswith("hf-hub:"):
        raise WsssError(
            f"model {model!r} would be fetched while a stage runs; name one of open_clip's list, or a folder "
            "(local-dir:PATH)"
        )
    try:
        config: dict[str, Any] | None = library.get_model_config(model)
    except (OSError, ValueError) as error:
        raise WsssError(f"model {model!r}: its open_clip_config.json cannot be read ({error})") from None
    if config is None:
        raise WsssError(f"model {model!r} is none of open_clip's{nearest(model, library.list_models())}")
    return config


def _refuse_activation(library: Any, model: str, weights: str) -> None:
    """Weights that were trained with QuickGELU lose accuracy in silence with GELU, and the other way round."""
    quick = bool(_config(model).get("quick_gelu", False))
    wanted = _trained_with_quick_gelu(library, model, weights)
    if wanted is None or wanted == quick:
        return
    bare = model.removesuffix("-quickgelu")
    names = {True: "QuickGELU", False: "GELU"}
    other = f"{bare}-quickgelu" if wanted else bare
    raise WsssError(
        f"weights {weights!r} were trained with {names[wanted]}, and {model} computes {names[quick]}: maps would be "
        f"worse without a word; use model: {other}"
    )


def _trained_with_quick_gelu(library: Any, model: str, weights: str) -> bool | None:
    """What open_clip's list says of a tag, or of the tag that a file's path names; None where nothing tells."""
    bare = model.removesuffix("-quickgelu")
    tags = library.list_pretrained_tags_by_model(bare)
    if not is_file(weights):
        named = [weights] if weights in tags else []
    else:
        plain = re.sub(r"[^a-z0-9]+", "_", weights.lower())
        named = [tag for tag in tags if re.search(rf"(^|_){re.escape(tag)}(_|$)", plain)]
    found = {bool(library.get_pretrained_cfg(bare, tag).get("quick_gelu", False)) for tag in named}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class ClipTower:
    """Both towers of a CLIP, in evaluation mode, gradients of the weights off.

    Attributes:
        model: open_clip's network.
        tokenizer: Texts to tokens.
        patch: Side of a patch in pixels.
        mean, std: Colour statistics of the images, of values in [0, 1].
    """

    model: nn.Module
    tokenizer: Any
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def visual(self) -> Any:
        """The image tower."""
        return self.model.visual

    @property
    def blocks(self) -> Sequence[Any]:
        """The blocks of the image tower."""
        blocks: Sequence[Any] = self.visual.transformer.resblocks
        return blocks

    @cached_property
    def colours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``mean`` and ``std`` where the towers are, float32 (3, 1, 1) each."""
        mean, std = torch.tensor([self.mean, self.std], device=self.visual.proj.device)[..., None, None]
        return mean, std

    @property
    def scale(self) -> torch.Tensor:
        """What cosines of image and text are multiplied with."""
        logit_scale: Any = self.model.logit_scale
        found: torch.Tensor = logit_scale.exp()
        return found

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors of texts, float32 (n, d), each of length 1."""
        device = self.visual.proj.device
        parts = [texts[first : first + PROMPTS] for first in range(0, len(texts), PROMPTS)]
        model: Any = self.model
        return torch.cat([F.normalize(model.encode_text(self.tokenizer(list(p)).to(device)), dim=-1) for p in parts])

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """What the first block is given: (B, 1 + N, D), the class token first, of normalised images (B, 3, H, W) with
        sides that the patch divides. The position embedding is resized to their grid (bilinear, as published)."""
        visual = self.visual
        patches = visual.conv1(images)
        place = visual.positional_embedding
        height, width = visual.grid_size
        if patches.shape[-2:] != (height, width):
            grid = place[1:].T.reshape(1, -1, height, width)
            grid = F.interpolate(grid, size=patches.shape[-2:], mode="bilinear", align_corners=False)
            place = torch.cat([place[:1], grid.flatten(2)[0].T])
        first = visual.class_embedding.expand(len(images), 1, -1)
        tokens: torch.Tensor = visual.ln_pre(torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + place)
        return tokens

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (..., D) after the last block, brought to the space of the texts, (..., d)."""
        projected: torch.Tensor = self.visual.ln_post(tokens) @ self.visual.proj
        return projected


def attended(block: Any, normed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a block's attention makes of ``ln_1(x)``, (B, L, D), and its weights, the mean over heads, (B, L, L)."""
    found, weights = block.attn(normed, normed, normed, need_weights=True)
    return found, weights


def after_attention(block: Any, tokens: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """A block's output, given its input and what its attention made of it."""
    tokens = tokens + block.ls_1(found)
    result: torch.Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return result


def load_clip(model: str, weights: str, path: Path, device: torch.device) -> ClipTower:
    """CLIP with the weights of a file.

    Args:
        model, weights: As for ``find_weights``.
        path: The file that it found.
        device: Where it computes.

    Raises:
        WsssError: The model is no vision transformer of CLIP's own form, or the weights do not fit it.
    """
    library, config = open_clip(), _config(model)
    text = config.get("text_cfg", {})
    if text.get("hf_tokenizer_name") or text.get("hf_model_name") or config.get("custom_text"):
        raise WsssError(f"model {model}: its text tower is not CLIP's own; take a ViT such as ViT-B-16-quickgelu")
    with _quiet():
        network = library.create_model(model, load_weights=False, precision="fp32", device="cpu")
        tokenizer = library.get_tokenizer(model)
    _check_form(model, network.visual)
    loaded, _ = load_weights(path)
    found = {name.removeprefix("module."): tensor for name, tensor in loaded.items()}
    try:
        network.load_state_dict(found, strict=True)
    except RuntimeError as error:
        first = [*str(error).splitlines()[1:2], str(error)][0].strip()
        raise WsssError(f"{path}: these weights do not fit {model} ({first})") from None
    network.to(device).float().eval().requires_grad_(False)
    about = library.get_pretrained_cfg(model, weights)
    mean = about.get("mean") or network.visual.image_mean
    std = about.get("std") or network.visual.image_std
    return ClipTower(network, tokenizer, network.visual.patch_size[0], tuple(mean), tuple(std))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library says at the root logger that weights are missing, which here are loaded afterwards; where nobody
    listens there, it would also begin to print what every other logger says."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(nobody)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(nobody)


def _check_form(model: str, visual: nn.Module) -> None:
    blocks: Any = getattr(getattr(visual, "transformer", None), "resblocks", ())
    whole = all(
        hasattr(visual, name) for name in ("conv1", "class_embedding", "positional_embedding", "ln_pre", "proj")
    )
    plain = len(blocks) > 1 and all(isinstance(block.attn, nn.MultiheadAttention) for block in blocks)
    if not whole or not plain or getattr(visual, "attn_pool", None) is not None:
        raise WsssError(
            f"model {model}: its image tower is no vision transformer of CLIP's own form; take one such as ViT-B-16"
        )
