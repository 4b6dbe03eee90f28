"""Grad-CAM of three labels an image, beside libraries that explain one label a call."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision

from benchmarks.frame import Case, Kernel
from wsss.explain import Classes, Subject, find
from wsss.explain.postprocess import pgc

LABELS, SIDE = 3, 224


def case(amount: float, theirs: Callable[..., list[torch.Tensor]], shown: bool) -> Case:
    """ResNet-50 on 4 images of 224 pixels with 3 labels each. ``theirs`` gives maps (B, h, w) of one label of every
    image, a call a label. ``shown``: maps are compared as that library shows them: rectified, resized, in [0, 1]."""
    count, side = max(1, round(4 * amount)), SIDE if amount >= 0.5 else 64
    torch.manual_seed(0)
    network = torchvision.models.resnet50(num_classes=20).eval()
    images = torch.randn(count, 3, side, side)
    labels = torch.stack([torch.randperm(20)[:LABELS].sort().values for _ in range(count)])
    target = Classes("gt", torch.zeros(count, 20).scatter(1, labels, 1))
    subject, method = Subject(network, "layer4", "fc"), find("grad-cam")()

    def ours() -> torch.Tensor:
        return method(subject, images, target).maps.view(count, LABELS, *[-(-side // 32)] * 2)

    def baseline() -> torch.Tensor:
        return torch.stack([theirs(network, images, labels[:, label]) for label in range(LABELS)], 1)

    def difference(a: torch.Tensor, b: torch.Tensor) -> float:
        if shown:
            b = pgc(b.flatten(0, 1), (side, side)).view(a.shape)
        return float((a - b).abs().max() / a.abs().max())

    return Case(baseline, ours, difference)


def captum(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from captum.attr import LayerGradCam

    return LayerGradCam(network, network.layer4).attribute(images, target=labels.tolist()).detach()[:, 0]


def grad_cam(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=network, target_layers=[network.layer4]) as method:
        targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
        return torch.from_numpy(method(input_tensor=images, targets=targets))


KERNELS = (
    Kernel(
        "explain-captum",
        "captum's LayerGradCam, a call a label",
        "Grad-CAM of 4 images with 3 labels each, ResNet-50",
        "maps differ by at most {:.1e} of their maximum",
        lambda amount: case(amount, captum, False),
        needs="captum",
    ),
    Kernel(
        "explain-grad-cam",
        "pytorch-grad-cam's GradCAM, a call a label",
        "Grad-CAM of 4 images with 3 labels each, ResNet-50",
        "maps differ by at most {:.1e} of their maximum, as shown there",
        lambda amount: case(amount, grad_cam, True),
        needs="pytorch_grad_cam",
    ),
)
