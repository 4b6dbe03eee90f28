"""Maps of CLIP by what the classes are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from wsss.compute.devices import choose_device, prepare_cpu
from wsss.data.index import Index, Item
from wsss.inference.text_cams import text_maps
from wsss.inference.words import Words, words_of
from wsss.models.clip_tower import ClipTower, find_weights, load_clip
from wsss.models.hub import told_weights
from wsss.models.patch_features import PatchFeatures
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.provenance.outputs import PARTS
from wsss.runtime.run import Run
from wsss.settings import TextCamsSettings
from wsss.store.map_shards import Maps
from wsss.system.files import read_json, write_json
from wsss.system.log import log
from wsss.text import count, listed


def make(run: Run) -> None:
    """Write the maps of every image of the splits as HDF5 shards.

    Facts for the manifest: ``text``, with the weights (``sha256``, ``source``, ``licence``), the ``templates``, the
    texts of the ``classes``, the ``background`` words that were used and those that were ``dropped``, and the pairs of
    classes whose texts are ``alike``.

    Raises:
        WsssError: open_clip is not installed; the weights are missing, or do not go with the model; or no background
            word is left.
    """
    settings: TextCamsSettings = run.settings
    index = Index.load(run.inputs["index"])
    items = items_of(run, index)
    weights = find_weights(settings.model, settings.weights)
    told = run.out / PARTS / run.identity / "words.json"

    def towers() -> tuple[ClipTower, Words, torch.device]:
        prepare_cpu(run.args.threads)
        device = choose_device(run.args.device)
        tower = load_clip(settings.model, settings.weights, weights.path, device)
        words = words_of(tower, index.classes, settings)
        say(words.told)
        write_json(told, words.told)
        return tower, words, device

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        tower, words, device = towers()
        proxy, stride = None, tower.patch
        if settings.method == "proxy":
            torch.manual_seed(run.args.seed)  # weights where there are none: the same in every shard
            proxy = PatchFeatures(settings.proxy_backbone, settings.proxy_pretrained).to(device)
            stride = proxy.grid_stride

        def maps_of(part: list[Item]) -> Iterator[Maps]:
            return text_maps(tower, words, part, settings, device, run.args.threads, proxy)

        return Format((1.0,), False, stride, 1, {"relative": 0}), maps_of

    if write_maps(run, items, begin) is None:
        return
    words: dict[str, Any] = read_json(told) or towers()[1].told
    about = {"sha256": weights.sha256, "source": weights.source, "licence": weights.licence}
    if settings.method == "proxy" and settings.proxy_pretrained is True:
        run.note(weights=told_weights(settings.proxy_backbone))
    run.note(supervision=list(settings.supervision), text={"weights": about, **words})


def say(told: dict[str, Any]) -> None:
    """Tell which background words were dropped, and which classes will be confused."""
    if told["dropped"]:
        dropped = told["dropped"]
        log.warning(f"{count(len(dropped), 'background word')} dropped: {listed(dropped.values(), '; ')}")
    for a, b, cosine in told["alike"]:
        log.warning(f"the texts of {a} and {b} have a cosine of {cosine:.3f}: their maps will hardly differ")
