"""Searches in the chain: the stage that judges, its resume and shards, networks that are trained on what was found, and
the table that says whether it paid."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.engine.tiny_training import SMALL
from wsss.beyond.search_judging import Exam, Judge
from wsss.beyond.search_space import Genome
from wsss.config.loader import load
from wsss.errors import WsssError
from wsss.explain.methods import find
from wsss.models.segmenter import Segmenter, load_segmenter
from wsss.runtime.shard import Shard
from wsss.settings import FITNESS, SearchSettings, SegmentationSettings
from wsss.stages.search import make as search
from wsss.stages.searches import Trained, compared, make, on_front, orders, read_searched, trained_by, verdict
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.found import position_of, read_found, recipe_of
from wsss.store.manifest import read_manifest, write_manifest
from wsss.store.weights import save_weights
from wsss.system.exit import Interrupted

SPACE = {"architecture": ["fpn", "unet"], "backbone": {"test_resnet": False}, "width": [64, 128]}
FEW = {
    "teacher": "taught", "space": SPACE, "size": 48, "grid": 8, "images": 5, "population": 2, "iterations": 1,
    "warm_steps": 1, "batch_size": 4, "explainer": "seg-grad-cam",
}  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A network with random weights that predicts all classes somewhere."""
    torch.manual_seed(0)
    network = Segmenter("fpn", "test_resnet", 3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
    last = network.network.segmentation_head[0]
    torch.nn.init.normal_(last.weight, 0, 1)
    torch.nn.init.zeros_(last.bias)
    folder = tmp_path_factory.mktemp("teacher") / "taught"
    folder.mkdir()
    about = {"backbone": "test_resnet", "output_stride": 32, "classes": ["red", "green"]}
    about |= {"architecture": "fpn", "atrous_rates": [6, 12, 18]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    settings = SegmentationSettings(supervision="masks", **SMALL).model_dump(mode="json")
    write_manifest(folder, {"settings": settings, "seed": 0})
    return folder


def start(make_run, tiny_index, teacher, name="found", **how):
    return make_run(SearchSettings.read({**FEW, **how}), {"index": tiny_index, "teacher": teacher}, name)


def finish(run) -> Path:
    """Search, and declare the result as a program would."""
    search(run)
    facts = {"seed": run.args.seed, "settings": run.settings.model_dump(mode="json")}
    write_manifest(run.out, facts | run.facts | run.recorded)
    return run.out


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_index, teacher) -> Path:
    """A search that ran to its end."""
    from tests.engine.conftest import STAGES
    from wsss.runtime.run import Run

    out = tmp_path_factory.mktemp("whole") / "found"
    out.mkdir()
    args = SimpleNamespace(out=out, state=None, seed=0, threads=1, device="cpu")
    return finish(
        Run(args, SearchSettings.read(FEW), {"index": tiny_index, "teacher": teacher}, STAGES[SearchSettings])
    )


WRITTEN = ("search.csv", "ranked.json", "maps.png")
"""What does not tell the search's own name."""


def test_what_is_written_hangs_together(whole):
    rows, ranked = list(csv.DictReader((whole / "search.csv").open())), read_found(whole)
    values = [float(row["explanation"]) for row in rows]
    assert values == sorted(values, reverse=True) and len(rows) == len(ranked["networks"]) in (3, 4)
    assert [row["genome"] for row in rows] == [one["genome"] for one in ranked["networks"]]
    for row, network in zip(rows, ranked["networks"], strict=True):
        assert float(row["explanation"]) == pytest.approx(1 / (1e-6 + float(row["distance"])), rel=1e-4)
        assert int(row["params"]) == network["params"] > 0 and int(row["macs"]) == network["macs"] > 0
        assert float(row["loss"]) < 0 <= float(row["agreement"]) <= 1 and 0 <= float(row["random"]) < 1
        found = [float(row[f"distance {name}"]) for name in ("red", "green") if row[f"distance {name}"]]
        assert found and all(0 < one <= 2**0.5 for one in found) and int(row["rows"]) == ranked["teacher"]["rows"]
        assert "evolution" in row["drawn"] or row["drawn"] == "random"
        assert row["parents"] == "" or row["parents"] in {other["genome"] for other in rows}
    assert ranked["judged"] == {"evolution": 3, "random": 3} and ranked["teacher"]["region"] > 0
    assert sum("evolution" in one["drawn"] for one in ranked["networks"]) == 3
    assert ranked["sample"][0] == 0 and ranked["sample"][-1] == len(rows) - 1
    assert Image.open(whole / "maps.png").size[0] > 300
    assert read_manifest(whole)["judging_seconds"][0] > 0


def test_the_best_is_a_recipe_that_the_chain_takes(whole):
    pasted = yaml.safe_load((whole / "best.yaml").read_text())
    (name,) = pasted["segmenters"]
    pasted["segmenters"][name]["supervision"] = "masks"
    config = load({"dataset": "s", "datasets": {"s": {"kind": "scenes"}}, **pasted})
    best = read_found(whole)["networks"][0]
    assert config.recipes["segmenters"][name].decoder_channels == best["recipe"]["decoder_channels"]
    assert config.recipes["segmenters"][name].architecture == best["recipe"]["architecture"]


def test_killed_and_shared_searches_are_those_of_one_run(make_run, tiny_index, teacher, whole, monkeypatch):
    for number in range(2):
        run = start(make_run, tiny_index, teacher, "shared")
        run.shard = Shard(number, 2)
        search(run)
    monkeypatch.setattr("wsss.stages.search.open_network", lambda *_: pytest.fail("made again"))
    shared = finish(start(make_run, tiny_index, teacher, "shared"))
    monkeypatch.undo()
    run, stops = start(make_run, tiny_index, teacher, "killed"), 0

    def kill_after_each(original=run.check_stop):
        original()
        if len(list(run.out.rglob("*.h5"))) > stops:
            run.stop = "a test"

    monkeypatch.setattr(run, "check_stop", kill_after_each)
    while True:
        run.stop = None
        try:
            search(run)
            break
        except Interrupted:
            stops += 1
    assert stops >= 3
    for name in WRITTEN:
        assert (whole / name).read_bytes() == (shared / name).read_bytes() == (run.out / name).read_bytes(), name


def test_a_network_that_another_job_is_at_work_on_is_left_to_it(make_run, tiny_index, teacher, monkeypatch):
    from wsss.parts import claims
    from wsss.stages import search as stage

    run = start(make_run, tiny_index, teacher, "claimed", random_search=False)
    asked = stage.Search(run).missing()
    assert asked[0] == stage.TEACHER and len(asked) == 3
    judged = []

    def work(candidates, search, name):
        judged.append(name)
        raise Interrupted("enough")

    monkeypatch.setattr(stage, "part", work)

    held = stage.Search(run).folder / f".{stage.hashlib.sha256(asked[0].encode()).hexdigest()[:32]}.lock"
    with claims.claimed(held) as mine, pytest.raises(Interrupted):
        assert mine
        stage.judge_one(stage.Search(run), None, asked)
    assert judged == [asked[1]]
    with claims.claimed(held) as mine:
        assert mine, "and let go afterwards"


def test_a_damaged_part_is_made_again(make_run, tiny_index, teacher, whole):
    run = start(make_run, tiny_index, teacher, "damaged")
    run.shard = Shard(0, 1)
    search(run)
    next(iter(run.out.rglob("*.h5"))).write_bytes(b"half")
    again = finish(start(make_run, tiny_index, teacher, "damaged"))
    assert all((whole / name).read_bytes() == (again / name).read_bytes() for name in WRITTEN)


@pytest.mark.parametrize("fitness", FITNESS)
def test_every_fitness_orders_by_itself(fitness, make_run, tiny_index, teacher):
    how = {"warm_steps": 0, "random_search": False, "iterations": 0, "images": 2, "similarity": "cosine"}
    out = finish(start(make_run, tiny_index, teacher, fitness, fitness=fitness, explainer="gradient", **how))
    values = [one[fitness] for one in read_found(out)["networks"]]
    assert len(values) == 2 and values == sorted(values, reverse=True)
    assert (fitness in ("agreement", "loss", "explanation")) or values[0] > values[1]


def test_the_teacher_is_its_own_best_student_and_regions_stay_fixed(tiny_index, teacher):
    network, _ = load_segmenter(teacher)
    network.eval()
    settings = SearchSettings.read({**FEW, "classes_an_image": 3})
    judge = Judge(network, find("gradient")(), settings, 0)
    image = torch.randn(1, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    probe = judge.probe("a", image)
    labels = judge.predicted(image)
    sizes = [int((labels == number).sum()) for number in probe.classes]
    assert probe.classes and 0 not in probe.classes and sizes == sorted(sizes, reverse=True)
    with_background = SearchSettings.read({**FEW, "classes_an_image": 3, "background": True})
    everything = Judge(network, find("gradient")(), with_background, 0).probe("a", image)
    assert sorted(everything.classes) == labels.unique().tolist()
    exam = Exam()
    judge.examine(network, [probe], exam)
    figures = exam.figures("euclidean", ("red", "green"))
    assert figures["distance"] == 0 and figures["explanation"] == pytest.approx(1e6) and figures["agreement"] == 1
    # a student that sees background everywhere is asked about as many regions, and the same pixels
    blind, _ = load_segmenter(teacher)
    with torch.no_grad():
        blind.eval().network.segmentation_head[0].bias[0] = 1e4
    exam = Exam()
    judge.examine(blind, [probe], exam)
    figures = exam.figures("euclidean", ("red", "green"))
    assert figures["rows"] == len(probe.classes) and figures["zero_maps"] == 0
    assert figures["distance"] == pytest.approx(0, abs=1e-5), (
        "its scores of the classes are the same but for a constant"
    )
    assert figures["agreement"] == pytest.approx(float((labels == 0).float().mean()) / len(labels.unique()), abs=1e-6)
    # and one without any scores has maps of zeros, which are counted and a whole length away
    with torch.no_grad():
        blind.network.segmentation_head[0].weight.zero_()
    exam = Exam()
    judge.examine(blind, [probe], exam)
    figures = exam.figures("euclidean", ("red", "green"))
    assert figures["zero_maps"] == figures["rows"] and figures["distance"] == pytest.approx(1)


def test_what_was_found_can_be_trained(make_run, tiny_index, whole):
    recipe = SegmentationSettings(**SMALL | {"epochs": 1}, supervision="masks", architecture_from="found", rank=1)
    run = make_run(recipe, {"index": tiny_index, "architecture_from": whole}, "student")
    run.settings, run.stage = recipe, "segmenter"
    train_segmenter(run)
    write_manifest(run.out, {"settings": recipe.model_dump(mode="json"), "seed": 0} | run.facts | run.recorded)
    network, classes = load_segmenter(run.out)
    wanted = read_found(whole)["networks"][1]
    assert sum(t.numel() for t in network.parameters()) == wanted["params"] and classes == ("red", "green")
    assert run.facts["found"]["decoder_channels"] == wanted["recipe"]["decoder_channels"]
    run.inputs.pop("architecture_from")
    with pytest.raises(WsssError, match="--architecture-from: the recipe refers to 'found'"):
        train_segmenter(run)


def test_ranks(whole):
    found = read_found(whole)
    assert position_of(whole, found, 1) == 1 and position_of(whole, found, "sample-1") == found["sample"][1]
    assert recipe_of(whole, 0)["backbone"] == "test_resnet"
    with pytest.raises(WsssError, match="rank 9 is asked for, and this search has"):
        recipe_of(whole, 9)
    with pytest.raises(WsssError, match="rank sample-11 is asked for"):
        recipe_of(whole, "sample-11")


def students(explanation, miou, **others) -> list[Trained]:
    networks = [
        {
            **dict.fromkeys((*FITNESS, "macs"), 1.0),
            "params": 1e6,
            "explanation": e,
            **{k: v[n] for k, v in others.items()},
        }
        for n, e in enumerate(explanation)
    ]
    return [Trained(f"r{n}", n, one, m, 1.0) for n, (one, m) in enumerate(zip(networks, miou, strict=True))]


def test_the_verdict_needs_a_lead_over_every_rival():
    rising = list(np.linspace(0.1, 0.9, 12))
    falling = dict.fromkeys(("agreement", "loss", "params", "random", "macs"), rising[::-1])
    assert "pays here" in verdict(orders(students(rising, rising, **falling)))
    beaten = verdict(orders(students(rising, rising, **falling | {"loss": rising})))
    assert "does not pay" in beaten and "better than loss." in beaten and "+2.00" in beaten
    worse = verdict(orders(students(rising[::-1], rising, **falling | {"agreement": rising})))
    assert "does not pay" in worse and "-2.00" in worse
    assert "No verdict" in verdict(orders(students([1, 2], [0.1, 0.2])))


def test_the_front_and_networks_that_two_recipes_train():
    pool = students([1, 2, 3, 4], [0.5, 0.4, 0.6, 0.6], macs=[1, 2, 3, 4])
    assert on_front(pool) == {"r0", "r2"}
    teacher = Trained("t", None, {"macs": 9, "params": 9}, 0.9, 1.0)
    assert [one.name for one in compared([*pool, teacher, Trained("twice", 0, pool[0].network, 0.5, 1.0)])] == [
        "r0", "r1", "r2", "r3",
    ]  # fmt: skip


def test_the_table(make_run, tiny_index, teacher, whole, tmp_path):
    folders, scored = [], []
    ranked = read_found(whole)
    names = [*(f"rank-{n}" for n in range(len(ranked["networks"]))), "taught"]
    for n, name in enumerate(names):
        settings = {"architecture_from": "found", "rank": n} if name != "taught" else {}
        folder = tmp_path / "segmenters" / name
        folder.mkdir(parents=True)
        write_manifest(folder, {"settings": settings, "seed": 0, "training_seconds": 60})
        of = tmp_path / "scores" / "segmenters" / name
        of.mkdir(parents=True)
        content = {"kind": "segmenters", "recipe": name, "splits": {"val": {"policies": {"": {"miou": 0.5 - n / 100}}}}}
        (of / "scores.json").write_text(json.dumps(content))
        write_manifest(of, {"seed": 0, "inputs": {"artefact": {"path": f"../../../segmenters/{name}"}}})
        folders.append(folder)
        scored.append(of)
    inputs = {"index": tiny_index, "searches.0": whole}
    inputs |= {f"segmenters.{n}": folder for n, folder in enumerate(folders)}
    inputs |= {f"scores.{n}": folder for n, folder in enumerate(scored)}
    run = make_run(None, inputs, "table")
    run.args.dataset = "tiny"
    make(run)
    page = (run.out / "searches.md").read_text()
    assert "## found, seed 0" in page and "| explanation | +1.00" in page and "| taught | teacher |" in page
    assert "over agreement" in page and "50.0" in page
    rows = {(row["subject"], row["metric"]): row["value"] for row in csv.DictReader((run.out / "searches.csv").open())}
    assert float(rows["explanation", "tau"]) == 1 and rows["evolution", "judged"] == "3"
    assert float(rows["rank-1", "miou"]) == pytest.approx(0.49)
    assert trained_by(read_searched(whole), [], {}) == []
    with pytest.raises(WsssError, match="no whole search"):
        read_searched(teacher)


def test_what_cannot_be_searched_is_said(make_run, tiny_index, teacher, tmp_path):
    def refused(said, where=teacher, **how):
        run = start(make_run, tiny_index, where, "refused", **how)
        with pytest.raises(WsssError, match=said):
            search(run)

    refused("no network of 'space' is within 'budget'.*raise the budget", budget={"params": 0.001})
    refused("only 12 training images for a batch of 64", batch_size=64)
    refused("timm has no such model", space={"architecture": "fpn", "backbone": {"resnetto": False}})
    blind = tmp_path / "blind"
    blind.mkdir()
    network, classes = load_segmenter(teacher)
    with torch.no_grad():
        network.network.segmentation_head[0].bias[0] = 1e4
    about = {"backbone": "test_resnet", "output_stride": 32, "classes": list(classes)}
    about |= {"architecture": "fpn", "atrous_rates": [6, 12, 18]}
    save_weights(blind / "model.safetensors", network.state_dict(), about)
    write_manifest(blind, read_manifest(teacher))
    refused("predicts no object in any of the 5 images", blind)
    write_manifest(blind, {})
    refused("the manifest of this network has no settings", blind)


def test_genomes_are_told_as_they_are_read():
    genome = Genome("deeplabv3plus", "a", 8, (2, 4, 6), None)
    plain = {"architecture": "deeplabv3plus", "backbone": "a", "output_stride": 8, "atrous_rates": [2, 4, 6]}
    assert Genome.of({**plain, "decoder_channels": None}) == genome
    assert str(genome) == "deeplabv3plus a stride 8 rates 2,4,6"
