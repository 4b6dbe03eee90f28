"""Weights that a configuration names, fetched into the cache where stages look for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.config.loader import Config
from wsss.errors import WsssError
from wsss.models.backbone import OWN
from wsss.models.clip_tower import open_clip
from wsss.models.hub import FILE
from wsss.settings import NetworkSettings, SearchSettings, Settings, TextCamsSettings
from wsss.settings.text import is_file
from wsss.store.weights_cache import UNKNOWN, Cached, fetch_command, keep

LICENCES = {"openai": "MIT (the repository openai/CLIP)"}
"""Tag -> licence of CLIP's, where it is known; timm tells that of its own, and for the rest the source."""


@dataclass(frozen=True)
class Wanted:
    """Weights to fetch: ``kind`` ``clip`` (of open_clip's list) or ``timm``."""

    kind: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """From ``clip:ViT-B-16-quickgelu:openai`` or ``timm:NAME:default``.

        Raises:
            WsssError: It has another form.
        """
        parts = text.split(":")
        if len(parts) != 3 or parts[0] not in SOURCES or not all(parts):
            raise WsssError(
                f"{text!r}: wanted is KIND:MODEL:TAG, as in clip:ViT-B-16-quickgelu:openai or "
                "timm:vit_small_patch14_dinov2.lvd142m:default"
            )
        return cls(*parts)


def wanted_by(config: Config) -> Iterator[Wanted]:
    """The weights that recipes of a configuration name and that lie in no file of the user's own, each once."""
    found: dict[Wanted, None] = {}
    for recipes in config.recipes.values():
        for settings in recipes.values():
            if isinstance(settings, TextCamsSettings):
                if not is_file(settings.weights):
                    found[Wanted("clip", settings.model, settings.weights)] = None
                if settings.method == "proxy" and settings.proxy_pretrained is True:
                    found[Wanted("timm", settings.proxy_backbone, "default")] = None
            if isinstance(settings, SearchSettings):
                names = [name for name, weights in settings.space.backbone.items() if weights is True]
            else:
                names = [settings.backbone] if starts_from_hub(settings) else []
            found |= {Wanted("timm", name, "default"): None for name in names if name not in OWN}
    yield from found


def starts_from_hub(settings: Settings) -> bool:
    """Whether a recipe builds a network with timm's own weights: not where another network's take their place, or where
    the network is a classifier's."""
    return (
        isinstance(settings, NetworkSettings)
        and settings.pretrained is True
        and getattr(settings, "warm_start", None) is None
        and getattr(settings, "supervision", None) != "classifier"
        and getattr(settings, "architecture_from", None) is None
    )


def address(wanted: Wanted) -> str:
    """Where weights come from. Raises ``WsssError`` where no list has them."""
    return SOURCES[wanted.kind][0](wanted)


def fetch(wanted: Wanted) -> Cached:
    """Fetch weights and put them into the cache.

    Raises:
        WsssError: They cannot be had, with the address and what to do.
    """
    source = address(wanted)
    with tempfile.TemporaryDirectory(prefix="wsss-fetch-") as folder:
        try:
            file = SOURCES[wanted.kind][1](wanted, folder)
        except Exception as error:  # the hub's clients raise many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0]
            command = fetch_command(wanted.kind, wanted.model, wanted.tag)
            raise WsssError(
                f"{source} could not be fetched ({reason}); run `{command}` where there is a network (after "
                "`huggingface-cli login`, if the weights are behind a licence), or give the recipe the path of a file"
            ) from None
        about = {"source": source, "licence": licence(wanted)}
        return keep(wanted.kind, wanted.model, wanted.tag, Path(file), about)


def licence(wanted: Wanted) -> str:
    """The licence of weights, as far as a list tells."""
    known = _timm_config(wanted).license if wanted.kind == "timm" else LICENCES.get(wanted.tag)
    return known or UNKNOWN


def _clip_config(wanted: Wanted) -> dict[str, Any]:
    found: dict[str, Any] = open_clip().get_pretrained_cfg(wanted.model, wanted.tag)
    if not found:
        raise WsssError(f"open_clip's list has no weights {wanted.tag!r} for {wanted.model!r}")
    return found


def _clip_address(wanted: Wanted) -> str:
    about = _clip_config(wanted)
    return f"https://huggingface.co/{about['hf_hub'].rstrip('/')}" if about.get("hf_hub") else str(about["url"])


def _clip_file(wanted: Wanted, folder: str) -> str:
    from open_clip import download_pretrained

    return str(download_pretrained(_clip_config(wanted), cache_dir=folder))


def _timm_config(wanted: Wanted) -> Any:
    import timm

    found = timm.get_pretrained_cfg(wanted.model)
    if found is None or not found.hf_hub_id:
        raise WsssError(f"timm knows no weights on a hub for {wanted.model!r}")
    return found


def _timm_address(wanted: Wanted) -> str:
    return f"https://huggingface.co/{_timm_config(wanted).hf_hub_id}"


def _timm_file(wanted: Wanted, folder: str) -> str:
    from huggingface_hub import hf_hub_download

    about = _timm_config(wanted)
    return str(hf_hub_download(about.hf_hub_id, about.hf_hub_filename or FILE, cache_dir=folder))


SOURCES = {"clip": (_clip_address, _clip_file), "timm": (_timm_address, _timm_file)}
"""Kind of weights -> their address, and what fetches them into a folder."""
