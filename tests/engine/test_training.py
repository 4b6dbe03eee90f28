"""The training loop: a step by hand, accumulation, precision, losses that are not finite, what is learnt."""

from __future__ import annotations

import json

import pytest
import torch

import wsss.training.engine
from tests.engine.tiny_training import SMALL, Failing, Line, LineObjective, trainer
from wsss.data.sampling import Order
from wsss.errors import WsssError
from wsss.losses.base import Loss
from wsss.settings import PNocSettings, SegmentationSettings, VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.weights import load_weights
from wsss.system.exit import Interrupted


def test_a_step_of_sgd_by_hand(tiny_index, make_run):
    run = make_run(None, {})
    it = trainer(tiny_index, run, epochs=1, batch_size=12, lr=0.1, weight_decay=0.01)
    before = {k: v.clone() for k, v in it.networks["line"].state_dict().items()}
    views = [it.views[(0, p)] for _, p in next(iter(Order(12, 12, 1, 0)))]
    x = torch.stack([v.images for v in views]).mean((2, 3))
    y = torch.stack([v.labels for v in views])
    residual = (torch.sigmoid(x @ before["layer.weight"].T + before["layer.bias"]) - y) / y.numel()
    network = it.train()
    # new weights: rate x 10 and weight decay; new biases: rate x 20 and none
    weight = before["layer.weight"] - 1.0 * (residual.T @ x + 0.01 * before["layer.weight"])
    torch.testing.assert_close(network.layer.weight.detach(), weight)
    torch.testing.assert_close(network.layer.bias.detach(), before["layer.bias"] - 2.0 * residual.sum(0))


def test_accumulated_mean_equals_the_large_batch_and_sum_is_twice_that_step(tiny_index, make_run):
    start = Line().state_dict()
    moved = {}
    for name, extra in {
        "large": {"batch_size": 12},
        "mean": {"batch_size": 6, "accumulate": 2, "accumulate_mode": "mean"},
        "sum": {"batch_size": 6, "accumulate": 2, "accumulate_mode": "sum"},
    }.items():
        network = trainer(tiny_index, make_run(None, {}, name), epochs=1, weight_decay=0.0, **extra).train()
        moved[name] = network.layer.weight.detach() - start["layer.weight"]
    torch.testing.assert_close(moved["mean"], moved["large"])
    torch.testing.assert_close(moved["sum"], 2 * moved["large"])


def test_a_training_without_an_optimiser_step_is_refused(tiny_index, make_run):
    trainer(tiny_index, make_run(None, {}), epochs=2, batch_size=6, accumulate=4)
    with pytest.raises(WsssError, match="'epochs', lower 'batch_size' .6, for 12 images., or lower 'accumulate'"):
        trainer(tiny_index, make_run(None, {}), epochs=2, batch_size=6, accumulate=5)
    with pytest.raises(WsssError, match="only 12 training images for a batch of 13"):
        trainer(tiny_index, make_run(None, {}), batch_size=13, accumulate=2).train()


def test_a_loss_that_is_not_finite_stops_the_training(tiny_index, make_run):
    it = trainer(tiny_index, make_run(None, {}))
    with torch.no_grad():
        it.networks["line"].layer.weight.fill_(float("nan"))
    with pytest.raises(WsssError, match="not finite; lower 'lr'"):
        it.train()


@pytest.mark.parametrize("where, wrong", [("loss", "loss"), ("gradient", "a weight")])
def test_no_checkpoint_holds_what_is_not_finite(tiny_index, make_run, monkeypatch, where, wrong):
    """Records come every third step here: the loss of the fifth stands in none yet when it is saved."""
    monkeypatch.setattr(wsss.training.engine, "CHECKPOINT_SECONDS", 0.0)
    it = trainer(tiny_index, make_run(None, {}), Failing(where), batch_size=1)
    with pytest.raises(WsssError, match=f"step 5: {wrong} is not finite.*the last sound checkpoint is"):
        it.train()
    state = torch.load(it.checkpoint.path, weights_only=True)
    assert state["step"] == 4 and all(v.isfinite().all() for v in state["networks"]["line"].values())


class Seldom(LineObjective):
    """A part of every second step, of value 6."""

    def losses(self, batch, training_step):
        for network, value, parts in super().losses(batch, training_step):
            yield Loss(network, value, parts | ({} if training_step.step % 2 else {"seldom": torch.tensor(6.0)}))


def test_means_are_over_the_steps_that_have_the_part(tiny_index, make_run):
    """Also where the training is cut after every step."""
    texts = []
    for cut in (False, True):
        run = make_run(None, {}, f"cut{cut}")
        while True:
            it = trainer(tiny_index, run, Seldom(), batch_size=1)
            run.stop = "a test" if cut else None
            try:
                it.train()
                break
            except Interrupted:
                pass
        texts.append(it.records.path.read_text())
    assert texts[0] == texts[1]
    assert [json.loads(line)["seldom"] for line in texts[0].splitlines()] == [6.0] * 8


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_classifier_learns_the_colours(tiny_index, make_run, precision):
    settings = VanillaSettings(**{**SMALL, "epochs": 12, "lr": 0.05, "precision": precision, "augment": ()})
    run = make_run(settings, {"index": tiny_index})
    train_classifier(run)
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 36 and records[-1]["loss"] < 0.6 * records[0]["loss"]
    weights, about = load_weights(run.out / "model.safetensors")
    assert about["classes"] == ["red", "green"] and weights["head.weight"].shape[:2] == (2, 96)
    header, *rows = (run.out / "predictions.csv").read_text().splitlines()
    assert header == "id,split,red,green" and len(rows) == 4
    assert run.leftovers == [run.state / run.identity]


def test_segmenter_on_true_masks_and_missing_pseudo_masks(tiny_index, make_run):
    settings = SegmentationSettings(**{**SMALL, "lr": 0.05, "epochs": 3}, supervision="masks")
    run = make_run(settings, {"index": tiny_index})
    train_segmenter(run)
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < records[0]["loss"]
    empty = run.out.parent / "empty"
    empty.mkdir()
    pseudo = make_run(SegmentationSettings(**SMALL, masks="x"), {"index": tiny_index, "masks": empty})
    with pytest.raises(WsssError, match="no masks of 12 images: 'p0'"):
        train_segmenter(pseudo)


def test_missing_ordinary_classifier_is_named(tiny_index, make_run):
    with pytest.raises(WsssError, match="--ordinary: the recipe refers to 'vanilla'"):
        train_classifier(make_run(PNocSettings(**SMALL, ordinary="vanilla"), {"index": tiny_index}))
