"""What explainers refuse, in the words that say what to do instead, where no other test does."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.explain.nets import Pixels, Pooled, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find
from wsss.explain.callables import Scalars
from wsss.explain.metrics.measuring import Metrics
from wsss.explain.regions import Regions

EVERY = Classes("pred", only=range(3))


class Pair(nn.Module):
    """Gives two tensors by name, neither of which is called as libraries call scores."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Pooled()
        self.body = nn.Identity()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"a": self.inner(images), "b": images}


class Named(Pooled):
    """Its layer ``named`` gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.named = Pair()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.named(images)["a"]


def pixels() -> Subject:
    return Subject(seeded(Pixels), layer="body", head="head")


def region_scores() -> object:
    target = Regions(classes=(1,))
    rows = target.rows(torch.zeros(1, 3, 4, 4))
    return target.score(torch.zeros(1, 3, 8, 8), rows)


def tokens() -> Subject:
    return Subject(seeded(Pooled), layer="body", grid=lambda tensor: tensor)


MISTAKES: dict[str, Callable[[], object]] = {
    "images are (images, channels, height, width), these are (3, 16, 16)": lambda: find("grad-cam")()(
        pooled(), images(1)[0, :, :16, :16], EVERY
    ),
    "1 ids for 2 images": lambda: find("grad-cam")()(pooled(), images(2), EVERY, ids=["a"]),
    "score 'odds': a function has one value, and no other": lambda: Scalars(torch.sum).score(
        torch.zeros(1, 3), Scalars(torch.sum).rows(torch.zeros(1, 3)), "odds"
    ),
    "score 'odds': for classes there are logit and probability": lambda: EVERY.score(
        torch.zeros(1, 3), EVERY.rows(torch.zeros(1, 3)), "odds"
    ),
    "this method needs class scores of the head itself": lambda: find("cam")()(pixels(), images(1), Scalars(torch.sum)),
    "the explained layer gives dict and no tensor": lambda: find("grad-cam")()(
        Subject(seeded(Named), layer="named"), images(1), EVERY
    ),
    "ablation needs a layer that gives maps itself": lambda: find("ablation-cam")()(tokens(), images(1), EVERY),
    "smooth-grad: n (0) must be at least 1 and sigma (0.15) at least 0": lambda: find("smooth-grad")(n=0),
    "chunk is 0; at least one image goes through": lambda: Metrics(chunk=0),
    "the output is (8, 8) pixels, its regions (4, 4)": region_scores,
    "the network returns dict and not a tensor": lambda: find("gradient")()(Subject(seeded(Pair)), images(1), EVERY),
    "this method looks at a layer: give Subject a 'layer'": lambda: find("grad-cam")()(
        Subject(seeded(Pooled)), images(1), EVERY
    ),
    "body is Sequential: a linear layer or a 1x1 convolution is needed": lambda: find("cam")()(
        Subject(seeded(Pooled), layer="body", head="body"), images(1), EVERY
    ),
}
"""The words -> what provokes them."""


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_named(said: str) -> None:
    with pytest.raises(WsssError, match=re.escape(said)):
        MISTAKES[said]()
