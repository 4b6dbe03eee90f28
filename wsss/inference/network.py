"""Trained networks on their device, for inference only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from wsss.compute.devices import choose_device, prepare_cpu
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.inference.batches import PROBE
from wsss.models.folding import fold_batch_norm
from wsss.models.heatmaps import INPUT, LAST

Network = TypeVar("Network", bound=torch.nn.Module)


def for_inference(network: Network, device: str, threads: int) -> tuple[Network, torch.device]:
    """The network in evaluation mode on its device, channels last, its batch normalisation folded into convolutions
    (but that of classifiers guided at a layer between).

    ``device``: as for ``wsss.compute.devices.choose_device``; ``threads``: cores that a network on the CPU may use.
    """
    prepare_cpu(threads)
    where = choose_device(device)
    network.to(where).to(memory_format=torch.channels_last).eval()
    if getattr(network, "guidance_layer", LAST) in (LAST, INPUT):  # heatmaps of a layer between want it as it was
        fold_batch_norm(network, torch.zeros(1, 3, PROBE, PROBE, device=where))
    return network, where


def open_network(
    folder: Path, load: Callable[[Path], tuple[Network, tuple[str, ...]]], index: Index, device: str, threads: int
) -> tuple[Network, torch.device]:
    """The trained network of an artefact ``for_inference``. Raises ``WsssError`` where the index has other classes."""
    network, classes = load(folder)
    if classes != index.classes:
        raise WsssError(
            f"{folder}: trained on the classes {', '.join(classes)}, but the index {index.folder} has "
            f"{', '.join(index.classes)}; train it again on this index"
        )
    return for_inference(network, device, threads)
