"""The rows of a segmentation network's last layer, one per class: closed for classes that it does not know, opened for
those that it is to learn.

A closed class has the weights 0 and the bias ``LEAST`` and so a probability of 0 everywhere, wherever the network is
used. Its row stays so while the loss is taken over the known classes alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.models.segmenter import Segmenter
from wsss.store.weights import described

LEAST = -1e4
"""Logit of a class that is not known."""


def last_layer(network: Segmenter) -> nn.Conv2d:
    """The convolution whose outputs are the classes."""
    head = network.network.get_submodule("segmentation_head.0")
    if not isinstance(head, nn.Conv2d) or head.bias is None:
        raise WsssError(f"the last layer of {type(network.network).__name__} is no convolution with a bias")
    return head


@torch.no_grad()
def close_rows(network: Segmenter, classes: Iterable[int]) -> None:
    """Make object classes, from 0, unknown to a network."""
    head = last_layer(network)
    assert head.bias is not None  # last_layer sees to it
    for row in (c + 1 for c in classes):
        head.weight[row] = 0
        head.bias[row] = LEAST


@torch.no_grad()
def open_rows(network: Segmenter, classes: Iterable[int]) -> None:
    """Let object classes, from 0, begin as the background is: that is what it said of their objects so far."""
    head = last_layer(network)
    assert head.bias is not None
    for row in (c + 1 for c in classes):
        head.weight[row] = head.weight[0]
        head.bias[row] = head.bias[0]


def steps_of(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Names of the object classes that the network of an artefact learnt in each of its steps; one step of all of them
    for a network that learnt them together."""
    about = described(folder / "model.safetensors")
    steps = about.get("steps") or [about.get("classes", [])]
    return tuple(tuple(step) for step in steps)
