"""Maps for the chain from a network that diverged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.explain.seeds import SeedMaker
from wsss.models.classifier import Classifier
from wsss.settings import CamsSettings


def test_maps_of_a_network_that_diverged() -> None:
    network = Classifier("test_resnet", 2).eval()
    torch.nn.init.constant_(network.head.weight, torch.nan)
    maker = SeedMaker(network, CamsSettings(classifier="x"), 2, 0)
    item = Item("a", "train", Path("a.png"), None, 4, 5, (0,), False)
    with pytest.raises(WsssError, match="cam: the map of image 'a' holds NaN or infinity; see that the classifier's"):
        maker(torch.zeros(1, 3, 64, 64), [item])
