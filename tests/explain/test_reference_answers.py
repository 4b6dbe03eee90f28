"""Answers of the authors' own code, run unmodified under TensorFlow: lucasdavid/minmax-cam (be94495) and
lucasdavid/keras-explainable (6ceae98) on a tiny network of random weights with 12 images of 0 to 4 detections.

The file lies in ``../shared/data/explain-reference`` and is no part of this repository; without it all is skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss.explain import Classes, Subject, find
from wsss.explain.metrics import ExplainedBatch, Metrics, measure
from wsss.explain.postprocess import relu_minmax
from wsss.models.kernel_usage import KernelUsageHead

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "explain-reference" / "tf.npz"
CLASSES = 5
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="needs ../shared/data/explain-reference/tf.npz")


class Net(nn.Module):
    """The network whose weights the file has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, eps=1e-5)
        self.second, self.last = nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = F.avg_pool2d(self.norm(self.first(images)).relu(), 4)
        return self.fc(self.last(self.second(middle)).mean((2, 3)))


class Answers:
    """The file's arrays as fp32 tensors; the network, images, and which classes are detected."""

    def __init__(self) -> None:
        self.arrays = np.load(FILE, allow_pickle=False)
        network = Net().eval()
        with torch.no_grad():
            for ours, theirs in ((network.first, "c1"), (network.second, "c2")):
                ours.weight.copy_(self[f"w_{theirs}_0"].permute(3, 2, 0, 1))
                ours.bias.copy_(self[f"w_{theirs}_1"])
            norm = network.norm
            for number, tensor in enumerate((norm.weight, norm.bias, norm.running_mean, norm.running_var)):
                tensor.copy_(self[f"w_b1_{number}"])
            network.fc.weight.copy_(self["w_predictions_0"].T)
            network.fc.bias.copy_(self["w_predictions_1"])
            self.images = self.channels_first("x")
            self.scores = network(self.images)
        self.subject, self.detected = Subject(network, "last", "fc"), self.scores > 0

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.arrays[name])).float()

    def channels_first(self, name: str) -> torch.Tensor:
        return self[name].permute(0, 3, 1, 2).contiguous()

    def maps(self, name: str, **options: object) -> torch.Tensor:
        """Raw maps (B, C, h, w) of every class; those detected are considered present."""
        made = find(name)(**options)(self.subject, self.images, Classes("pred", only=range(CLASSES)))
        return made.maps.unflatten(0, (len(self.images), CLASSES))


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


def agree(ours: torch.Tensor, theirs: torch.Tensor, within: float) -> None:
    """Differences as a share of the largest value."""
    assert ours.shape == theirs.shape and len(theirs) > 5
    assert float((ours.double() - theirs.double()).abs().max()) <= within * float(theirs.abs().max())


def test_the_network_is_theirs(answers: Answers) -> None:
    agree(answers.scores, answers["logits"], 1e-5)
    counts = answers.detected.sum(1).tolist()
    assert len(counts) == 12 and min(counts) == 0 and max(counts) >= 2


@pytest.mark.parametrize(
    ("name", "theirs", "options", "every"),
    [
        ("minmax-cam", "minmaxcam", {}, False),
        ("minmax-cam", "minmaxcam", {"reference_divisor": True}, True),
        ("minmax-grad-cam", "minmax_gradcam", {}, False),
        ("minmax-grad-cam", "minmax_gradcam", {"reference_divisor": True}, True),
        ("d-minmax-cam", "d_minmaxcam", {}, False),
        ("d-minmax-grad-cam", "d_minmax_gradcam", {}, False),
    ],
)
def test_contrasted_maps(answers: Answers, name: str, theirs: str, options: dict[str, object], every: bool) -> None:
    """Those of detected classes; with ``reference_divisor`` those of every class."""
    which = torch.ones_like(answers.detected) if every else answers.detected
    agree(relu_minmax(answers.maps(name, **options))[which], answers[theirs][which], 1e-5)


def test_maps_of_one_class(answers: Answers) -> None:
    agree(answers.maps("cam"), answers.channels_first("ke_cam"), 1e-5)
    agree(answers.maps("grad-cam"), answers.channels_first("ke_gradcam"), 1e-5)
    theirs = answers.channels_first("ke_gradcampp") / answers.scores.exp()[..., None, None]
    agree(answers.maps("grad-cam-plus-plus"), theirs, 5e-5)


def test_kernel_usage_regularisation(answers: Answers) -> None:
    """Logits, loss and gradients of the published layer, whose alpha is 1 and which has a bias."""
    head = KernelUsageHead(12, CLASSES, alpha=1.0, bias=True)
    with torch.no_grad():
        head.weight.copy_(answers["kur_W"].T[..., None, None])
        head.bias.copy_(answers["kur_b"])
    made = head(answers["kur_g"][..., None, None])[..., 0, 0]
    loss = F.binary_cross_entropy_with_logits(made, answers["kur_y"])
    loss.backward()
    agree(made.detach(), answers["kur_o"], 1e-5)
    assert loss.item() == pytest.approx(float(answers.arrays["kur_loss"]), abs=1e-6)
    agree(head.weight.grad[..., 0, 0].T, answers["kur_dk"], 1e-5)
    torch.testing.assert_close(head.bias.grad, answers["kur_db"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [12, 5, 1])
@pytest.mark.parametrize(
    ("name", "theirs", "options"), [("minmax-cam", "minmaxcam", {"reference_divisor": True}), ("cam", "ke_cam", {})]
)
def test_metrics(answers: Answers, name: str, theirs: str, options: dict[str, object], size: int) -> None:
    """The metric cells of the COCO notebook: sums over detections of a class, and F-scores, in percent."""
    x = answers.images
    batches = [ExplainedBatch(x[first : first + size]) for first in range(0, len(x), size)]
    tally = measure(find(name)(**options), answers.subject, batches, CLASSES, Metrics("pred"))
    assert tally.detections.tolist() == answers[f"met_{theirs}_n"].long().tolist()
    ours = tally.class_values("reference")
    for metric in ("ic", "ad", "ar", "ado", "aro"):
        expected = 100 * answers[f"met_{theirs}_{metric}"].double() / answers[f"met_{theirs}_n"].double()
        torch.testing.assert_close(ours[metric], expected, atol=1e-3, rtol=0, equal_nan=True)
    for beta in ("0.5", "1", "2"):
        for sign in "+-":
            expected = answers[f"met_{theirs}_f{beta}{sign}"].double()
            found = ours[f"f{beta}{sign}"]
            torch.testing.assert_close(found.nan_to_num(), expected.nan_to_num(), atol=1e-3, rtol=0)
