"""Networks that cannot be built, and what is said of them, where no other test does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.classifier import Classifier
from wsss.models.encoder import create_encoder
from wsss.models.guided import Guided
from wsss.models.segmenter import Segmenter


@pytest.mark.parametrize("make", [create_backbone, create_encoder])
def test_weights_that_cannot_be_fetched(make: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WsssError, match=r"its weights could not be fetched \(no route to host\)"):
        make("test_resnet", 16, True)


def test_a_stride_that_no_stage_has() -> None:
    with pytest.raises(WsssError, match="output stride 16 or its stages' maps are not offered by this network"):
        create_encoder("vgg11", 16, False)


def test_an_architecture_that_does_not_go_with_the_stride() -> None:
    with pytest.raises(WsssError, match="deeplabv3plus on test_resnet with output stride 32: "):
        Segmenter("deeplabv3plus", "test_resnet", 2, 32)


def test_guidance_at_a_layer_with_channels_last() -> None:
    network = Classifier("test_resnet", 2)
    network.backbone.output_fmt = "NHWC"
    with pytest.raises(WsssError, match="guidance_layer 'backbone.layer3': the layers of this backbone put channels"):
        Guided(network, "backbone.layer3")
