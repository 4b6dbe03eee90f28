"""``wsss plan --on``: counts against those by hand, and what the model makes of them."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.cli.finished_run import CONFIG, ROOT
from wsss.cli.cost import Cost, Model, Pass
from wsss.cli.cost_devices import DEVICES, on
from wsss.cli.cost_table import makespan, tell_images
from wsss.cli.counting import Counted, count_pass
from wsss.cli.forecast import History
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job

SMALL = {"backbone": "resnet10t", "pretrained": False, "crop": 64, "batch_size": 4}
TINY = {
    **{key: CONFIG[key] for key in ("dataset", "datasets", "cams", "masks")},
    "classifiers": {
        "vanilla": {"objective": "vanilla", **SMALL},
        "p-noc": {"objective": "p-noc", "ordinary": "vanilla", **SMALL},
    },
    "segmenters": {"p-noc": {"masks": "p-noc", **SMALL}},
}


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 1, bias=False))


FIRST, SECOND = 2 * 2 * 8 * 8 * 4 * 27, 2 * 2 * 8 * 8 * 5 * 4
"""Operations of the layers for two images of 8 x 8 pixels: 2 (a multiplication, an addition) x 2 images x 64 pixels x
outputs x inputs of each output."""


@pytest.mark.parametrize(
    "way, flops", [("forward", FIRST + SECOND), ("train", 2 * FIRST + 3 * SECOND), ("through", 2 * FIRST + 2 * SECOND)]
)
def test_operations_of_two_layers(way, flops):
    """Backwards, a layer computes the gradients of its weights and of its input, but nobody asks for those of the
    images where the weights are trained."""
    found = count_pass(two_layers(), (2, 3, 8, 8), way)
    assert found.flops == flops
    assert found.weights == 4 * 27 + 4 + 20 and found.trained == (found.weights if way == "train" else 0)


def test_bytes_of_two_layers():
    images, weights, between, last, out = 2 * 3 * 64, 4 * 27 + 4, 2 * 4 * 64, 20, 2 * 5 * 64
    found = count_pass(two_layers(), (2, 3, 8, 8), "forward")
    assert found.traffic == 4 * ((images + weights + between) + (between + last + out))
    assert found.largest == 4 * (between + last + out) and found.saved == 0
    assert count_pass(two_layers(), (2, 3, 8, 8), "train").saved == 4 * (images + between)


def test_no_view_and_no_empty_tensor_costs_anything():
    class Views(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.new_empty(1000)
            return x.permute(0, 2, 3, 1)[:, 1:].detach() + 1

    assert count_pass(Views(), (1, 3, 4, 4), "forward").operations == [(0, 2 * 4 * 3 * 3 * 4)]


def test_counts_of_a_backbone_are_those_of_torch_on_data():
    from wsss.models.classifier import Classifier

    network = Classifier("resnet10t", 3).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 64, 64))
    assert count_pass(network, (1, 3, 64, 64), "forward").flops == counter.get_total_flops()


def test_each_operation_is_limited_by_one_thing():
    found = Counted([(100, 1), (1, 100), (50, 50)])
    assert found.floor(10, 100) == (10 + 5, 1.0)
    assert found.floor(1e9, 1) == (0, 151)


def job(name: str, hours: float, *inputs: str, gpu: bool = True) -> Cost:
    return Cost(Job("cams", "d"), name, hours, gpu=gpu, inputs=list(inputs))


def test_what_several_gpus_gain():
    costs = [job("a", 1), job("b", 2), job("c", 4, "a"), job("labels", 3, "b", gpu=False), job("end", 1, "c", "labels")]
    assert makespan(costs, 1) == 1 + 2 + 4 + 1, "the labels are made beside c"
    assert makespan(costs, 2) == 1 + 4 + 1 == makespan(costs, 9)
    assert makespan([job("a", 1), job("b", 2), job("c", 3)], 2) == 3
    assert makespan([], 1) == 0


@pytest.fixture(scope="module")
def network() -> Pass:
    return Pass("layers", two_layers)


def model_on(name: str, chain: Chain) -> Model:
    return Model(chain, DEVICES[name], History([]), lambda text: None)


def test_faster_devices_take_less(results, network):
    chain = results.configure(TINY)
    times = {
        name: sum(model_on(name, chain).seconds(model_on(name, chain).counted(network, 8), True)) for name in DEVICES
    }
    assert sorted(times, key=lambda name: times[name]) == ["h100", "a100", "rtx4090", "v100"]
    model = model_on("h100", chain)
    counts = model.counted(network, 8)
    assert sum(model.seconds(counts, False)) == pytest.approx(2 * sum(model.seconds(counts, True))), "by memory"
    assert counts.traffic / 2 / 3.35e12 == pytest.approx(sum(model.seconds(counts, False)))


def test_the_passes_of_a_training(results):
    chain = results.configure(TINY)
    model = model_on("h100", chain)
    phases = {
        name: [[(one.way, one.times) for one in phase] for phase in model.phases(found, chain.settings(found))]
        for name in ("vanilla", "p-noc")
        if (found := Job("classifier", "scenes", "0", name))
    }
    assert phases["vanilla"] == [[("train", 1.0)]]
    assert phases["p-noc"] == [[("train", 1.0), ("train", 1.0), ("through", 1.0)], [("train", 1.0)]]


def test_time_and_memory_grow_as_they_must(results):
    def cost(**changed: object) -> Cost:
        vanilla = {"objective": "vanilla", **SMALL, **changed}
        chain = results.configure({**TINY, "classifiers": {**TINY["classifiers"], "vanilla": vanilla}})
        return model_on("h100", chain).cost(Job("classifier", "scenes", "0", "vanilla"))

    usual, longer, larger = cost(), cost(epochs=30), cost(batch_size=64)
    assert longer.hours == pytest.approx(2 * usual.hours) and longer.peak == usual.peak
    assert larger.peak > usual.peak
    assert usual.limit == "bandwidth", "few images share each reading of the weights"
    assert larger.limit == "CPU loader", "a small network waits for its images"
    assert cost(batch_size=64, augment="colour-jitter").hours > larger.hours
    assert cost(optimizer="adamw").peak > usual.peak


def test_a_small_run_from_beginning_to_end(results, wsss):
    results.configure(TINY)
    code, said, _ = wsss("plan", "--on", "h100", "--gpus", "2")
    assert code == 0
    assert said.startswith(
        "config.yaml on H100 SXM 80 GB: a model, from counted operations; no GPU has checked it yet."
    )
    rows = dict(re.findall(r"^((?:classifier|cams|masks|segmenter|predictions) \S+) +(.*)$", said, re.M))
    assert set(rows) == {
        *("classifier vanilla", "classifier p-noc", "cams vanilla", "cams p-noc"),
        *("masks p-noc", "segmenter p-noc", "predictions p-noc"),
    }
    assert rows["masks p-noc"].startswith("- ") and rows["masks p-noc"].endswith("CRF")
    assert re.search(r"On one GPU [\d.]+ hours from beginning to end, on 2 [\d.]+", said)
    assert "Not in the model: index, report, scores, summary." in said


def test_images_of_a_dataset_that_is_not_here(results, wsss):
    chain = Chain.read([str(ROOT / "workflow" / "presets" / "voc12.yaml")])
    history = History([])
    assert tell_images(chain, history, None) == [
        "voc12: 10582 training and 1449 validation images (of the published lists; the files are not here)."
    ]
    assert tell_images(chain, history, (100,)) == ["voc12: 100 training and 10 validation images (given)."]
    folder = {"kind": "folder", "images": "nowhere/", "labels": "nowhere.csv"}
    few = {"classifiers": TINY["classifiers"], "cams": TINY["cams"]}
    results.configure({**few, "dataset": "photos", "datasets": {"photos": folder}})
    code, _, said = wsss("plan", "--on", "v100")
    assert code == 2 and "datasets.photos: how many images it has is unknown" in said and "--images TRAIN VAL" in said
    results.configure(TINY)
    code, _, said = wsss("plan", "--gpus", "4")
    assert code == 2 and "go with --on" in said
    code, _, said = wsss("plan", "--on", "h100", "--images", "0")
    assert code == 2 and "take numbers from 1 on" in said


def test_published_devices_have_rates_in_order():
    assert set(DEVICES) == {"h100", "a100", "v100", "rtx4090"}
    for device in DEVICES.values():
        assert device.half > device.single > 1e12 and 5e11 < device.bandwidth < 1e13 and device.memory >= 24
    cpu = on("cpu")
    assert cpu.half == cpu.single == 80e9 * cpu.cores and cpu.memory > 0.5 and on("a100") is DEVICES["a100"]


def test_an_unknown_device_is_refused(wsss):
    with pytest.raises(SystemExit):
        wsss("plan", "--on", "abacus")


def test_a_price_is_of_the_hours(results, wsss):
    vanilla = {**TINY["classifiers"]["vanilla"], "epochs": 4_000_000}
    one_network = {"classifiers": {"vanilla": vanilla}, "segmenters": {}, "cams": {"p-noc": {"classifier": "vanilla"}}}
    results.configure({**TINY, **one_network})
    code, said, _ = wsss("plan", "--on", "h100", "--gpus", "2", "--price-per-hour", "200")
    assert code == 0 and re.search("^stage .* peak GiB +cost +limited by$", said, re.M)
    row = re.search(r"^classifier vanilla +([\d.]+) +- +[\d.]+ +([\d.]+) +[a-zA-Z ]+$", said, re.M)
    hours, cost = map(float, row.groups())
    assert hours > 0.1 and cost == pytest.approx(200 * hours, abs=1.0)
    told = re.search(r"At 200 an hour of a GPU: ([\d.]+) for the networks' hours, ([\d.]+)\s+where each", said)
    busy, paid = map(float, told.groups())
    on_two = float(re.search(r"to end, on 2 ([\d.]+)", said)[1])
    assert cost <= busy < 1.1 * cost and paid == pytest.approx(2 * 200 * on_two, rel=0.2)
    assert "cost" not in wsss("plan", "--on", "h100")[1]
    for given, why in (("--on h100 --price-per-hour -1", "price is a number"), ("--price-per-hour 1", "go with --on")):
        code, _, said = wsss("plan", *given.split())
        assert code == 2 and why in said


def test_main_memory_of_labels(results):
    """At least what the dense CRF's own text says of one image on each core, and no figure of the GPU's."""
    chain = results.configure(TINY)
    found = model_on("h100", chain).cost(Job("masks", "scenes", "0", "p-noc"))
    assert not found.gpu and 0.5 < found.peak < 0.5 + 8 * 512**2 * (200 + 34 * 16) / 2**30
