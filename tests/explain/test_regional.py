"""Explanations of segmentation networks, measured: against a slow twin, an image, a class and a step at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.explain.nets import Pixels, images, seeded
from wsss.errors import WsssError
from wsss.explain import Regions, Subject, find, subject_of
from wsss.explain.base import Explainer
from wsss.explain.metrics import ExplainedBatch, RegionMetrics, measure_regions
from wsss.explain.metrics.regional import spreads
from wsss.models.segmenter import Segmenter


def subject() -> Subject:
    return Subject(seeded(Pixels, resize=True), "body")


def measured(method="seg-hires-grad-cam", batches=(slice(0, 3),), truth=None, question=None, **metrics):
    x, rows = images(3), []
    parts = [
        ExplainedBatch(x[part], [f"p{n}" for n in range(3)][part], None, None if truth is None else truth[part])
        for part in batches
    ]
    tally = measure_regions(
        find(method)(), subject(), parts, 2, question, RegionMetrics(**metrics), lambda found: rows.extend(found)
    )
    return tally, rows


def deletion(x, network, raw, region, label, steps, insertion=False):
    """The curve of an image (3, H, W), pixel by pixel: the fill is zero in normalised numbers."""
    size = x.shape[1:]
    saliency = F.interpolate(raw[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    order = sorted(range(saliency.numel()), key=lambda n: (-float(saliency.flatten()[n]), n))
    scores = []
    for step in range(steps + 1):
        shown = x.clone() if not insertion else torch.zeros_like(x)
        for pixel in order[: round(step * len(order) / steps)]:
            y, column = divmod(pixel, size[1])
            shown[:, y, column] = x[:, y, column] if insertion else 0
        with torch.no_grad():
            found = network(shown[None]).argmax(1)[0] == label
        scores.append(float((found & region).sum()) / max(1, float((found | region).sum())))
    return sum((a + b) / 2 for a, b in zip(scores, scores[1:], strict=False)) / steps


def test_equals_the_slow_twin():
    truth = [np.zeros((16, 16), np.uint8) for _ in range(3)]
    for number, mask in enumerate(truth):
        mask[2:9, 3 + number : 12] = 1
        mask[10:, :5] = 2
        mask[0] = 255
    tally, rows = measured(truth=truth, curves=True, fills=("mean", "black"), steps=4)
    one = subject()
    network = one.network.eval()
    x = images(3)
    made = find("seg-hires-grad-cam")()(one, x, Regions())
    assert len(rows) == len(made.rows) >= 3
    for number, row in enumerate(rows):
        image, label = int(made.image_idx[number]), int(made.class_idx[number])
        assert (row["image"], row["class"]) == (f"p{image}", label - 1)
        raw = made.maps[number]
        with torch.no_grad():
            output = network(x[image : image + 1])[0]
        region = output.argmax(0) == label
        assert row["area"] == pytest.approx(region.float().mean().item())
        assert row["p"] == pytest.approx(output.softmax(0)[label][region].mean().item(), abs=1e-5)
        small = raw.relu() - raw.relu().min()
        small = small / small.max() if small.max() > 0 else small
        shown = F.interpolate(small[None, None], size=(16, 16), mode="bilinear", align_corners=False)[0, 0].double()
        whole = float(shown.sum())
        assert row["inside"] == pytest.approx(float(shown[region].sum()) / whole if whole else 0, abs=1e-5)
        valid = torch.from_numpy(truth[image] != 255)
        there = torch.from_numpy(truth[image] == label)
        share = float(shown[there].sum()) / float(shown[valid].sum()) if whole else 0
        assert row["energy"] == pytest.approx(share, abs=1e-5)
        for mode in ("deletion", "insertion"):
            area = deletion(x[image], network, raw, region, label, 4, mode == "insertion")
            assert row[f"{mode}_mean"] == pytest.approx(area, abs=1e-5), (mode, number)
            both = [row[f"{mode}_mean"], row[f"{mode}_black"]]
            assert row[f"{mode}_spread"] == pytest.approx(max(both) - min(both), abs=1e-6)
    assert {row["several"] for row in rows} == {n > 1 for n in torch.bincount(made.image_idx).tolist() if n}
    weighted = tally.summary()["weighted"]
    assert weighted["inside"] == pytest.approx(100 * np.mean([row["inside"] for row in rows]), abs=1e-4)
    assert weighted["deletion_black"] == pytest.approx(np.mean([row["deletion_black"] for row in rows]), abs=1e-6)
    assert "deletion_mean_random" in weighted and "ad" not in weighted


def test_batches_of_any_size():
    whole, rows = measured(curves=True, steps=3)
    single, others = measured(batches=[slice(0, 1), slice(1, 3)], curves=True, steps=3)
    assert len(rows) == len(others)
    for one, other in zip(rows, others, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    for name, value in whole.summary()["weighted"].items():
        assert single.summary()["weighted"][name] == pytest.approx(value, abs=1e-4)


def test_one_fill_has_no_spread():
    areas = {f"{mode}_{fill}": torch.tensor([v]) for mode in ("deletion", "insertion") for fill, v in FILLS.items()}
    assert spreads(areas, ["mean"]) == {}
    assert spreads(areas, ["mean", "black", "noise"])["deletion_spread"].item() == pytest.approx(0.5)


FILLS = {"mean": 0.1, "black": 0.6, "noise": 0.3}


class Nothing(Explainer):
    def explain(self, forward):
        forward.plain()
        return torch.full((len(forward.rows), 4, 4), torch.nan)


def test_maps_of_nan_and_images_without_a_class():
    tally = measure_regions(Nothing(), subject(), [ExplainedBatch(images(3))], 2)
    assert tally.summary()["nan_rate"] == 1 and tally.summary()["weighted"]["inside"] == 0
    asked = measured(question=lambda batch: Regions([2], "box", at=(0, 0, 4, 4)))[1]
    assert [row["class"] for row in asked] == [1, 1, 1] and all(row["area"] == 16 / 256 for row in asked)
    with pytest.raises(WsssError, match="the network has 2 classes, tables were asked for 7"):
        measure_regions(find("seg-grad-cam")(), subject(), [ExplainedBatch(images(1))], 7)


def test_classes_within_the_region():
    labels = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    output = 3.0 * F.one_hot(labels, 4).permute(0, 3, 1, 2)

    def asked(**options):
        return Regions("inside", **options).rows(output).class_idx.tolist()

    assert asked(where="box", at=(0, 0, 1, 3)) == [1] and asked(where="pixel", at=(1, 0)) == [2]
    assert asked(where="pixel", at=(0, 0)) == [] and asked(where="pixel", at=(0, 0), background=True) == [0]
    assert asked(where="image") == asked(where="predicted") == [1, 2]
    assert asked(where="given", masks=torch.tensor([[[3, 3, 255], [0, 1, 1]]])) == [1, 3]
    assert asked(where="given", masks=labels == 2) == [2]


@pytest.mark.parametrize("name", ["seg-hires-grad-cam", "seg-ablation-cam", "score-cam"])
def test_cells_of_the_padding_are_no_part_of_maps(name):
    """A network that pads images of 40 x 72 pixels to 64 x 96: the same map as of the padded image, cut."""
    torch.manual_seed(0)
    network = Segmenter("deeplabv3plus", "test_resnet", 3, 16).eval()
    assert network.padded((40, 72)) == (64, 96) and network.padded((64, 32)) == (64, 32)
    x = torch.randn(1, 3, 40, 72, generator=torch.Generator().manual_seed(1))
    options = {"top_channels": 2} if name == "score-cam" else {}
    target = Regions([1], "box", at=(8, 8, 24, 24))
    made = find(name)(**options)(subject_of(network), x, target)
    assert made.maps.shape == (1, 3, 5)  # of 16 pixels each: 40 / 16 and 72 / 16
    if name != "score-cam":  # whose masks are stretched over what is explained
        whole = find(name)(**options)(subject_of(network), F.pad(x, (0, 24, 0, 24)), target)
        assert whole.maps.shape == (1, 4, 6)
        torch.testing.assert_close(made.maps, whole.maps[:, :3, :5], atol=1e-3 * float(whole.maps.abs().max()), rtol=0)
    pixels = find("gradient")()(subject_of(network), x, target)
    assert pixels.maps.shape == (1, 3, 40, 72)
