"""Explainers under the call of pytorch-grad-cam."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.explain.nets import Deep, Pixels, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Regions, Scalars, Subject, find
from wsss.explain.adapter import Cam, OneEach
from wsss.explain.postprocess import pgc


def deep() -> Subject:
    network = seeded(Deep)
    network.neck[0].inplace = False
    return Subject(network.eval(), "body")


class Named:
    """A stand-in, called and built like theirs."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        return output[self.category] if output.ndim == 1 else output[:, self.category]


def output_target(category: int) -> object:
    return type("ClassifierOutputTarget", (Named,), {})(category)


def test_maps_are_those_of_the_explainer_under_pgc():
    subject, x = pooled(), images(3)
    for name in ("cam", "minmax-cam", "gradient", "score-cam"):
        made = find(name)()(subject, x, Classes("pred", only=range(4)))
        maps = made.maps.abs().amax(1) if name == "gradient" else made.maps
        expected = pgc(maps, (16, 16)).view(3, 4, 16, 16)[range(3), [2, 0, 3]]
        with Cam(name, subject) as cam:
            for targets in ([2, 0, 3], [output_target(c) for c in (2, 0, 3)], np.array([2, 0, 3])):
                shown = cam(input_tensor=x, targets=targets)
                assert isinstance(shown, np.ndarray) and shown.dtype == np.float32 and shown.shape == (3, 16, 16)
                np.testing.assert_allclose(shown, expected.numpy(), atol=1e-5)
        torch.testing.assert_close(cam.outputs, made.output)
        assert 0 <= shown.min() and 0.9 < shown.max() <= 1 and cam.model is subject.network


def test_without_targets_the_highest_class_is_explained():
    subject, x = pooled(), images(4)
    cam = Cam(find("grad-cam")(), subject)
    shown = cam(x)
    best = cam.outputs.argmax(1).tolist()
    np.testing.assert_array_equal(shown, cam(x, best))
    assert cam.explanations[0].class_idx.tolist() == best and not np.allclose(
        shown, cam(x, [(c + 1) % 4 for c in best])
    )
    assert cam.explanations[0].about["only"] == [(c + 1) % 4 for c in best]


def test_functions_and_targets_of_this_package():
    subject, x = deep(), images(2)
    cam = Cam("grad-cam", subject)
    difference = cam(x, [lambda output: output[0] - output[1]] * 2)
    made = find("grad-cam")()(subject, x, Scalars(lambda output: output[0] - output[1]))
    np.testing.assert_allclose(difference, pgc(made.maps, (16, 16)).numpy(), atol=1e-6)
    pixels = Subject(seeded(Pixels, kernel=3), "body")
    whole = Cam("seg-grad-cam", pixels)(x, Regions([1]))
    made = find("seg-grad-cam")()(pixels, x, Regions([1]))
    np.testing.assert_allclose(whole, pgc(made.maps, (16, 16)).numpy(), atol=1e-6)


def test_several_layers_are_averaged():
    x = images(2)
    network = seeded(Deep)
    network.neck[0].inplace = False
    both = [Subject(network, layer) for layer in ("body", "neck")]
    made = [find("grad-cam")()(each, x, OneEach(classes=[1, 2])).maps for each in both]
    np.testing.assert_allclose(Cam("grad-cam", both)(x, [1, 2]), pgc(made, (16, 16)).numpy(), atol=1e-6)
    with pytest.raises(WsssError, match="layers of one network"):
        Cam("grad-cam", [both[0], deep()])


def test_smoothing_over_augmentations():
    subject, x = deep(), images(2)
    cam = Cam("grad-cam", subject)
    parts = [cam(x * factor, [1, 3]) for factor in (0.9, 1, 1.1)]
    parts += [cam(x.flip(-1) * factor, [1, 3])[..., ::-1] for factor in (0.9, 1, 1.1)]
    shown = cam(x, [1, 3], aug_smooth=True)
    np.testing.assert_allclose(shown, np.mean(parts, 0), atol=1e-6)
    assert not np.allclose(shown, cam(x, [1, 3]), atol=1e-3)


def test_what_cannot_be_asked():
    subject, x = pooled(), images(2)
    cam = Cam("minmax-cam", subject)
    for targets, message in (
        ([1], "1 targets for 2 images"),
        ([1, 4], "class 4 is asked for"),
        ([1, -1], "class -1 is asked for"),
        (["cat", "dog"], "targets are class numbers"),
        ([1, lambda output: output[0]], "targets are class numbers"),
        ([True, False], "targets are class numbers"),
        (Classes("pred", only=[0, 1]), "4 maps for 2 images"),
    ):
        with pytest.raises(WsssError, match=message):
            cam(x, targets)
    with pytest.raises(WsssError, match="eigen_smooth needs"):
        cam(x, [1, 1], eigen_smooth=True)
    for name in ("cam", "minmax-cam"):  # a function's number is no class
        with pytest.raises(WsssError, match="its target is Classes"):
            Cam(name, subject)(x, [lambda output: output[2]] * 2)
    function = Cam("ablation-cam", subject)(x, [lambda output: output[2]] * 2)
    np.testing.assert_allclose(function, Cam("ablation-cam", subject)(x, [2, 2]), atol=1e-3)


def test_the_context_hides_no_error_and_leaves_nothing():
    subject, x = pooled(), images(1)
    hooks = [dict(module._forward_hooks) for module in subject.network.modules()]
    with pytest.raises(IndexError), Cam("grad-cam", subject) as cam:
        cam(x, [1])
        [][0]
    assert hooks == [dict(module._forward_hooks) for module in subject.network.modules()]
    assert subject.network.training and all(p.grad is None for p in subject.network.parameters())


def test_it_works_where_pytorch_grad_cam_is_not_installed():
    code = (
        "import sys; sys.modules['pytorch_grad_cam'] = None\n"
        "from tests.explain.nets import images, pooled\n"
        "from wsss.explain.adapter import Cam\n"
        "import wsss.explain.metrics\n"
        "with Cam('minmax-cam', pooled()) as cam: print(cam(images(2), [0, 1], aug_smooth=True).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 16, 16)"


# Beside pytorch-grad-cam


@pytest.mark.parametrize("name, theirs", [("grad-cam", "GradCAM"), ("hires-cam", "HiResCAM")])
@pytest.mark.parametrize("smooth", [False, True])
def test_maps_are_theirs(name, theirs, smooth):
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget

    subject, x = deep(), images(3)
    network = subject.network
    for targets in (
        [ClassifierOutputTarget(c) for c in (2, 0, 3)],
        [ClassifierOutputSoftmaxTarget(c) for c in (2, 0, 3)],
        None,
    ):
        for layers in (["body"], ["body", "neck"]):
            shown = Cam(name, [Subject(network, each) for each in layers])(x, targets, aug_smooth=smooth)
            with getattr(library, theirs)(network, [network.get_submodule(each) for each in layers]) as cam:
                expected = cam(input_tensor=x, targets=targets, aug_smooth=smooth)
            np.testing.assert_allclose(shown, expected, atol=1e-3)
            assert shown.dtype == expected.dtype and shown.max() > 0.5


def test_their_metrics_and_overlay_take_our_maps():
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    subject, x = pooled(), images(3)
    network, targets = subject.network.eval(), [ClassifierOutputTarget(c) for c in (2, 0, 3)]
    with Cam("minmax-cam", subject) as cam:
        shown = cam(input_tensor=x, targets=targets)
    kept, whole = (network(y).detach()[range(3), [2, 0, 3]] for y in (x * torch.from_numpy(shown)[:, None], x))
    drop = DropInConfidence()(x, shown, targets, network)
    np.testing.assert_allclose(drop, (whole - kept).clamp(min=0).numpy(), atol=1e-5)
    risen = IncreaseInConfidence()(x, shown, targets, network)
    np.testing.assert_array_equal(risen, (kept > whole).float().numpy())
    assert drop.any() or risen.any()
    photo = np.random.default_rng(0).random((16, 16, 3), np.float32)
    overlay = show_cam_on_image(photo, shown[0], use_rgb=True)
    assert overlay.shape == (16, 16, 3) and overlay.dtype == np.uint8
    flat = show_cam_on_image(photo, np.zeros((16, 16), np.float32), use_rgb=True)
    assert not np.array_equal(overlay, flat)


def test_their_arcc_calls_our_explainer():
    arcc = pytest.importorskip("pytorch_grad_cam.metrics.arcc")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    subject, x = pooled(), images(2)
    targets = [ClassifierOutputTarget(c) for c in (2, 0)]
    cam = Cam("gradient", subject)
    shown = cam(x, targets)
    found = arcc.Coherency()(x, shown, targets, subject.network.eval(), cam)
    again = cam(x * torch.from_numpy(shown)[:, None], targets)
    expected = [(np.corrcoef(a.ravel(), b.ravel())[0, 1] + 1) / 2 for a, b in zip(shown, again, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.isfinite(arcc.ARCC(cam, [50])(x, shown, targets, subject.network)).all()
