"""timm's weights on this machine: where they lie, and what they are. Stages load them from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, try_to_load_from_cache

from wsss.errors import WsssError
from wsss.store.weights_cache import UNKNOWN, Cached, cached, digest, fetch_command, is_kept

FILE = "model.safetensors"
"""What the hub calls the weights of timm's models."""


def kept_weights(name: str) -> Cached | None:
    """The weights of a timm model: of the cache that ``wsss fetch`` fills, else of the hub's own; None where neither
    has them.

    Raises:
        WsssError: The file in the cache is not the one that was fetched.
    """
    if is_kept("timm", name, "default"):
        return cached("timm", name, "default")
    about = timm.get_pretrained_cfg(name)
    if about is None or not about.hf_hub_id:
        return None
    found = try_to_load_from_cache(about.hf_hub_id, about.hf_hub_filename or FILE)
    if not isinstance(found, str):
        return None
    source = f"https://huggingface.co/{about.hf_hub_id}"
    return Cached(Path(found), digest(Path(found)), source, about.license or UNKNOWN)


def hub_options(name: str) -> dict[str, Any]:
    """Arguments of ``timm.create_model`` for a model with its weights: of a file on this machine where there is one. If
    not, timm fetches them, unless HF_HUB_OFFLINE is set.

    Raises:
        WsssError: They are not here, and the network is not to be touched; with the command that fetches them.
    """
    if (found := kept_weights(name)) is not None:
        return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(found.path)}}
    if constants.HF_HUB_OFFLINE:
        raise WsssError(
            f"backbone {name}: its weights are not on this machine, and HF_HUB_OFFLINE forbids to fetch them: run "
            f"`{fetch_command('timm', name, 'default')}` where there is a network"
        )
    return {"pretrained": True}


def told_weights(name: str) -> dict[str, str]:
    """For a manifest: ``model``, ``source``, ``licence`` and ``sha256`` of the weights that a network was just built
    with; empty where no file of them is found."""
    found = kept_weights(name)
    if found is None:
        return {}
    return {"model": name, "source": found.source, "licence": found.licence, "sha256": found.sha256}
