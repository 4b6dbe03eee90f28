"""ROAD by pytorch-grad-cam."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.explain.nets import images, pooled
from tests.explain.test_metrics import Given, rows_of, several
from wsss.errors import WsssError
from wsss.explain import Classes, find
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.metrics import ExplainedBatch, Metrics, measure, road
from wsss.explain.metrics.road import ranks

TWO = Classes("pred", only=[1, 3])


def test_ranks_are_the_order_of_the_pixels():
    made = ranks(torch.tensor([[[3.0, 1.0], [1.0, 5.0]]]))
    assert made.flatten().tolist() == pytest.approx([2 / 3, 1 / 3, 0, 1])  # of equals the upper left comes first


def test_road_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam.metrics.road", None)
    subject, x = pooled(), images(2)
    made = find("cam")()(subject, x, TWO)
    with pytest.raises(WsssError, match=r"ROAD needs pytorch-grad-cam: install wsss\[gradcam\]"):
        road(subject, x, TWO, made.rows, made.maps)
    with pytest.raises(WsssError, match="ROAD needs"):
        measure(find("cam")(), subject, [], 4, Metrics(road=(50,)))
    assert measure(find("cam")(), subject, [ExplainedBatch(x)], 4).images == 2


def test_road_is_theirs():
    theirs = pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    subject, x = pooled(), images(2)
    maps = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(2))  # no two pixels alike
    made = find("cam")()(subject, x, TWO)
    state = torch.get_rng_state()
    found = road(subject, x, TWO, made.rows, maps, percentiles=(30, 70), ids=["a", "b"], score="logit")
    assert torch.equal(torch.get_rng_state(), state) and subject.network.training
    network = subject.network.eval()
    shown = (maps - maps.amin((1, 2), keepdim=True)) / 10
    forward = ForwardPass(subject, x, TWO, ["a", "b"])
    for row, (image, c) in enumerate(zip(made.image_idx.tolist(), made.class_idx.tolist(), strict=True)):
        given = (x[image : image + 1], shown[row : row + 1].numpy(), [ClassifierOutputTarget(c)], network)
        for name, metric in (
            ("road_morf", theirs.ROADMostRelevantFirstAverage([30, 70])),
            ("road_lerf", theirs.ROADLeastRelevantFirstAverage([30, 70])),
        ):
            torch.manual_seed(forward.generator(image).initial_seed())  # their noise is global, ours is the image's
            assert found[name][row].item() == pytest.approx(float(metric(*given)[0]), abs=1e-6)
    assert found["road_morf"].abs().max() > 1e-3
    torch.testing.assert_close(found["road"], (found["road_lerf"] - found["road_morf"]) / 2)
    again = road(subject, x[1:], TWO, made.rows.of(1, 1), maps[2:], percentiles=(30, 70), ids=["b"], score="logit")
    assert torch.equal(again["road"], found["road"][2:])
    assert not torch.equal(road(subject, x, TWO, made.rows, maps, percentiles=(30, 70), seed=1)["road"], found["road"])


def test_road_of_maps_with_equal_pixels():
    pytest.importorskip("pytorch_grad_cam.metrics.road")
    subject, x = several()
    tally, found = rows_of(subject, x[:3], road=(10, 90), method=Given(torch.zeros(3, 4, 4)))
    assert found and all(-1 <= row[name] <= 1 for row in found for name in ("road", "road_morf", "road_lerf"))
    weighted = tally.summary()["weighted"]
    assert weighted["road"] == pytest.approx((weighted["road_lerf"] - weighted["road_morf"]) / 2)
    with pytest.raises(WsssError, match="between 0 and 100"):
        rows_of(subject, x[:3], road=(0, 50))


def test_road_tells_a_good_order_from_its_reverse():
    pytest.importorskip("pytorch_grad_cam.metrics.road")
    subject, x = several()
    made = find("occlusion")(window=4, stride=4)(subject, x[:4], Classes("pred"))
    best, worst = (road(subject, x[:4], Classes("pred"), made.rows, sign * made.maps, percentiles=(50,))["road"].mean()
                   for sign in (1, -1))  # fmt: skip
    assert best > worst
