"""Averaged weights and class counts: by hand, off, and after a kill."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from tests.engine.tiny_training import SMALL
from wsss.errors import WsssError
from wsss.objectives.oc_cse import OcCse
from wsss.settings import OcCseSettings, PNocSettings, POcSettings, PuzzleSettings, TrainingSettings, VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.store.manifest import write_manifest
from wsss.store.weights import load_weights, save_weights
from wsss.system.exit import Interrupted
from wsss.training.averaging import WeightAverage
from wsss.training.engine import Trainer

LONGER = SMALL | {"epochs": 3, "augment": ()}


class Number(nn.Module):
    """One weight, and what batch normalisation would keep."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([8.0]))
        self.register_buffer("mean", torch.tensor([1.0]))
        self.register_buffer("seen", torch.tensor(0))

    def set(self, w, mean, seen):
        with torch.no_grad():
            self.w.fill_(w)
        self.mean.fill_(mean)
        self.seen.fill_(seen)


def test_moving_average_by_hand():
    network = Number()
    average = WeightAverage(network, TrainingSettings(ema=0.9))
    network.set(4.0, 2.0, 1)
    average.after_step(0)  # decay 1/10
    assert average.state()["w"].item() == pytest.approx(0.1 * 8 + 0.9 * 4)
    network.set(2.0, 3.0, 2)
    average.after_step(1)  # decay 2/11
    expected = 2 / 11 * 4.4 + 9 / 11 * 2
    average.after_step(1000)  # decay 0.9
    expected = 0.9 * expected + 0.1 * 2
    assert network.w.item() == 2, "the training does not see its average"
    average.finish()
    assert network.w.item() == pytest.approx(expected)
    assert (network.mean.item(), network.seen.item()) == (3.0, 2), "buffers are copied"


def test_mean_of_the_last_epochs_by_hand():
    network = Number()
    average = WeightAverage(network, TrainingSettings(average_last=2, epochs=4))
    for epoch, w in enumerate((100.0, 50.0, 3.0, 4.0)):
        network.set(w, 2 * w, epoch)
        average.after_step(epoch)
        average.after_epoch(epoch)
    network.set(7.0, 7.0, 9)
    average.finish()
    assert (network.w.item(), network.mean.item(), network.seen.item()) == (3.5, 7.0, 3)


def test_one_epoch_of_one_is_the_last_weights_to_the_bit(tiny_index, make_run):
    for name, extra in (("off", {}), ("one", {"average_last": 1})):
        run = make_run(VanillaSettings(**{**LONGER, "epochs": 1}, **extra), {"index": tiny_index}, name)
        train_classifier(run)
    off, one = (load_weights(run.out.parent / name / "model.safetensors")[0] for name in ("off", "one"))
    assert all(torch.equal(off[k], one[k]) for k in off)


def test_off_nothing_is_kept():
    network = Number()
    average = WeightAverage(network, TrainingSettings())
    average.after_step(0)
    average.after_epoch(14)
    assert average.state() == {}
    average.finish()
    assert network.w.item() == 8


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="two ways to average"):
        TrainingSettings(ema=0.9, average_last=2)
    with pytest.raises(ValueError, match="average_last .9. must not exceed epochs .3."):
        TrainingSettings(average_last=9, epochs=3)


def test_what_is_averaged_is_what_is_trained(tiny_index, make_run, monkeypatch):
    """The product against a second account that is kept beside the training, and the trajectory without averaging."""
    ends: dict[str, list[dict]] = {}
    original = Trainer._micro_step

    def watch(self, batch):
        seen = ends.setdefault(self.run.out.name, [])
        weights = self.networks["classifier"].state_dict()
        if self.step == 0:
            seen.append({k: v.clone() for k, v in weights.items()})
        original(self, batch)
        seen.append({k: v.clone() for k, v in weights.items()})

    monkeypatch.setattr(Trainer, "_micro_step", watch)
    products = {}
    for name, extra in (("off", {}), ("mean", {"average_last": 2}), ("moving", {"ema": 0.5})):
        run = make_run(VanillaSettings(**LONGER, **extra), {"index": tiny_index}, name)
        train_classifier(run)
        products[name] = load_weights(run.out / "model.safetensors")[0]
    for name in ("mean", "moving"):
        for a, b in zip(ends["off"], ends[name], strict=True):
            assert all(torch.equal(a[k], b[k]) for k in a), "averaging leaves the training alone"
    off = ends["off"]
    assert all(torch.equal(products["off"][k], off[-1][k]) for k in off[-1])
    mean = (off[6]["head.weight"] + off[9]["head.weight"]) / 2  # three steps an epoch: the second's end, the third's
    torch.testing.assert_close(products["mean"]["head.weight"], mean)
    moving = off[0]["head.weight"]
    for step, weights in enumerate(off[1:]):
        decay = min(0.5, (1 + step) / (10 + step))
        moving = decay * moving + (1 - decay) * weights["head.weight"]
    torch.testing.assert_close(products["moving"]["head.weight"], moving)
    assert torch.equal(products["moving"]["backbone.bn1.running_mean"], off[-1]["backbone.bn1.running_mean"])


# --- after a kill -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ordinary(tiny_index, make_run):
    run = make_run(VanillaSettings(**{**LONGER, "epochs": 1}), {"index": tiny_index}, "ordinary")
    train_classifier(run)
    write_manifest(run.out, {})
    return run.out


RESUMED = {
    "ema": VanillaSettings(**LONGER, ema=0.9),
    "average_last": VanillaSettings(**{**LONGER, "accumulate": 2}, average_last=2),
    "balanced": PuzzleSettings(
        **LONGER, sampling="balanced", positive_weight="balanced", entropy={"start": 0, "end": 1}
    ),
    "least-chosen": OcCseSettings(**LONGER, ordinary="x", erase_class="least-chosen", ema=0.9),
    "focal": POcSettings(**LONGER, ordinary="x", erase_class="focal", average_last=2, reconstruction_norm="scale"),
    "p-noc": PNocSettings(**LONGER, ordinary="x", erase_class="least-chosen", ema=0.9, reconstruction_norm="relative"),
}


@pytest.mark.parametrize("name", RESUMED)
def test_stopping_at_every_step_changes_no_bit(tiny_index, make_run, stopped_at_every_step, request, name):
    settings = RESUMED[name]
    inputs = {"index": tiny_index}
    if hasattr(settings, "ordinary"):
        inputs["ordinary"] = request.getfixturevalue("ordinary")
    train_classifier(make_run(settings, inputs, "whole"))
    run = make_run(settings, inputs, "cut")
    cuts = stopped_at_every_step(train_classifier, run)
    assert cuts == (5 if name == "average_last" else 9)
    for file in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert (run.out.parent / "whole" / file).read_bytes() == (run.out / file).read_bytes(), file


def test_a_fixed_network_is_used_and_not_saved(tiny_index, make_run, ordinary, monkeypatch):
    settings = OcCseSettings(**{**LONGER, "epochs": 1}, ordinary="x")
    run = make_run(settings, {"index": tiny_index, "ordinary": ordinary})
    made = []
    monkeypatch.setattr(OcCse, "compose", lambda self, *given, of=OcCse.compose: (of(self, *given), made.append(self)))
    run.stop = "a test"
    with pytest.raises(Interrupted):
        train_classifier(run)
    state = torch.load(run.state / run.identity / "checkpoint.pt", weights_only=True)
    assert list(state["networks"]) == ["generator"] and list(state["optimisers"]) == ["generator"]
    assert not made[0].ordinary.training
    run.stop = None
    train_classifier(run)
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "whole", "erasing", "erased_share"} <= set(records[-1])


def test_a_judge_of_other_classes_is_refused(tiny_index, make_run, ordinary):
    settings = OcCseSettings(**LONGER, ordinary="x")
    weights, about = load_weights(ordinary / "model.safetensors")
    weights["head.weight"] = weights["head.weight"].repeat(2, 1, 1, 1)
    save_weights(ordinary / "model.safetensors", weights, {**about, "classes": list("abcd")})
    with pytest.raises(WsssError, match="was trained on the classes a, b, c, d; the dataset has"):
        train_classifier(make_run(settings, {"index": tiny_index, "ordinary": ordinary}))
