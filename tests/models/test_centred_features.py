"""Centred features: the module beside the formula image by image, and classifiers that have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.errors import WsssError
from wsss.explain import Classes, find, subject_of
from wsss.models.centred_features import CentredFeatures, centred
from wsss.models.classifier import Classifier, build_classifier, load_classifier, load_judge, logits
from wsss.settings import LinearSettings, VanillaSettings
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights

SMALL = {"backbone": "test_resnet", "output_stride": 16, "pretrained": False}


def slowly(maps: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The docstring's formula for one image, (D, h, w), cell by cell in double precision."""
    depth, height, width = maps.shape
    cells = [maps[:, y, x].astype(np.float64) for y in range(height) for x in range(width)]
    cells = [cell / np.linalg.norm(sum(cells) / len(cells)) for cell in cells]
    rest = np.linalg.norm(sum(cells) / len(cells) - centre)
    cells = [(cell - centre) / rest for cell in cells]
    return np.stack(cells, 1).reshape(depth, height, width)


def test_each_image_by_itself_as_the_formula_says():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 7, 4, 5, generator=generator) * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1, 1)
    module = CentredFeatures(7)
    module.centre.copy_(torch.rand(7, generator=generator) / 7)
    made = module(maps)
    for image, found in zip(maps.numpy(), made.numpy(), strict=True):
        np.testing.assert_allclose(found, slowly(image, module.centre.double().numpy()), atol=1e-5)
    torch.testing.assert_close(made.mean((2, 3)).norm(dim=1), torch.ones(3))
    assert module(maps.half()).dtype == torch.float16
    assert torch.equal(module(torch.zeros(1, 7, 2, 2)).isfinite(), torch.ones(1, 7, 2, 2, dtype=torch.bool))


def test_pooled_features_are_centred_alike():
    rows = np.random.default_rng(0).random((9, 5), dtype=np.float32)
    made, centre = centred(rows)
    module = CentredFeatures(5)
    module.centre.copy_(torch.from_numpy(centre))
    np.testing.assert_allclose(module(torch.from_numpy(rows)[:, :, None, None])[..., 0, 0].numpy(), made, atol=1e-6)


def network(**more) -> Classifier:
    torch.manual_seed(0)
    made = Classifier("test_resnet", 3, 16, features="centred", **more).eval()
    with torch.no_grad():
        made.centring.centre.uniform_(0, 0.1)
        made.head.bias.uniform_(-1, 1)
    return made


@pytest.mark.parametrize("head", ["linear", "kur"])
def test_the_head_is_linear_in_what_it_sees(head):
    """Methods that read the head's weights hold: the mean of the map is the logit, bias and all."""
    made = network(head=head)
    images = torch.randn(2, 3, 64, 64)
    subject = subject_of(made)
    weight, bias = subject.class_weights()
    with torch.inference_mode():
        torch.testing.assert_close(logits(made(images)), made.seen(images).mean((2, 3)) @ weight.T + bias)
    found = find("cam")()(subject, images, Classes("pred", only=range(3)))
    torch.testing.assert_close(found.maps.mean((1, 2)) + bias.repeat(2), found.output.flatten(), atol=1e-5, rtol=1e-4)


def test_files_keep_the_centre_and_say_that_there_is_one(tmp_path):
    made, images = network(), torch.randn(1, 3, 64, 64)
    about = {"kind": "classifier", "backbone": "test_resnet", "output_stride": 16, "classes": ["a", "b", "c"]}
    save_weights(tmp_path / "model.safetensors", made.state_dict(), about | {"features": "centred"})
    write_manifest(tmp_path, {})
    for loaded in (load_classifier(tmp_path)[0], load_judge(tmp_path, 3)):
        assert torch.equal(loaded.eval()(images), made(images))
    warm = build_classifier(VanillaSettings(**SMALL, features="centred", warm_start="w"), 3, tmp_path)
    assert torch.equal(warm.centring.centre, made.centring.centre)
    assert "centring.centre" not in dict(warm.named_parameters())
    with pytest.raises(WsssError, match="for 'features: centred', this recipe has 'features: plain'"):
        build_classifier(VanillaSettings(**SMALL, warm_start="w"), 3, tmp_path)
    assert build_classifier(LinearSettings(**SMALL, features="centred"), 3).head.bias is not None
    assert build_classifier(LinearSettings(**SMALL), 3).head.bias is None
