"""``wsss plan``: jobs, images, and time and memory from earlier manifests."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.cli.finished_run import CONFIG, ROOT, changed
from tests.cli.photo_folder import PhotoFolder
from wsss.cli.forecast import MODELLED_HERE, STARTUP, History, Past, pixels, scaled
from wsss.cli.plan import Asked, asked_by_rules
from wsss.steps import STEPS
from wsss.store.kept import set_aside
from wsss.text import duration, memory
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.staleness import BACK

SMALL = {kind: {"backbone": "resnet10t", "crop": 64} for kind in ("classifiers", "segmenters")}


def row(said: str, stage: str) -> list[str]:
    """The cells of a stage's line."""
    line = next(line for line in said.splitlines() if line.startswith(f"{stage} "))
    return re.split(r"\s{2,}", line)


def test_all_done(results, wsss) -> None:
    code, said, _ = wsss("plan")
    assert code == 0
    assert "results/scenes (config.yaml): 16 of 16 jobs done" in said
    assert row(said, "classifier") == [
        *("classifier", "0", "2", "24", "1.7 min", "2.0 GiB", "16000 MB, 12 h, 1 GPU", "done"),
    ]
    assert row(said, "cams")[3] == "32" and row(said, "predictions")[3] == "8" and row(said, "summary")[3] == "-"
    assert said.splitlines()[-1] == "Nothing to do."
    assert "No job to do." in wsss("plan", "--jobs")[1]


def test_nothing_known(results, wsss) -> None:
    results.configure({**CONFIG, "results": "new", "seeds": [0, 1], "defaults": SMALL})
    said = wsss("plan")[1]
    assert "new/scenes (config.yaml): 0 of 29 jobs done" in said
    assert row(said, "scores")[4:6] == ["unknown", "unknown"]
    assert row(said, "scores")[-1] == "no earlier run of this stage"
    assert "How long 15 jobs will take is unknown" in said and "at least" in said


def test_what_nobody_ran_is_modelled_on_a_cpu(results, wsss, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of ``--on cpu`` and a start, for stages that it knows; nothing where networks run on a GPU, and nothing
    beside an earlier run."""
    from wsss.cli.cost import Model
    from wsss.cli.cost_devices import on

    chain = results.configure({**CONFIG, "results": "new", "defaults": SMALL})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = wsss("plan")[1]
    model = Model(chain, on("cpu"), History([]), lambda text: None)
    for rule in ("classifier", "cams", "masks"):
        hours = [model.cost(job).hours for job in chain.wanted("all") if job.rule == rule]
        times = [duration(STARTUP + 3600 * one) for one in (min(hours), max(hours))]
        assert row(said, rule)[4] == (times[0] if times[0] == times[1] else " to ".join(times)), rule
        assert row(said, rule)[-1] == MODELLED_HERE
    assert "no run has checked them" in " ".join(said.split()) and "'wsss plan --on cpu'" not in said
    known = wsss("plan", "--history", "results")[1]
    assert MODELLED_HERE not in known
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    said = wsss("plan")[1]
    assert row(said, "classifier")[4] == "unknown" and "'wsss plan --on cpu' models" in said


def test_classes_in_a_file_are_no_number(results, wsss, tmp_path: Path) -> None:
    """``classes`` of photos names a file; the model of a configuration as ``wsss init`` writes it."""
    pets = PhotoFolder(tmp_path, 8)
    (tmp_path / "classes.txt").write_text("\n".join(sorted({name for names in pets.tags.values() for name in names})))
    dataset = {"kind": "folder", "images": "photos", "labels": "tags.csv", "classes": "classes.txt"}
    config = {**CONFIG, "dataset": "photos", "datasets": {"photos": dataset}}
    config["masks"] = {"p-noc": {"cams": "p-noc", "threshold": {"policy": "fixed"}}}
    config["classifiers"] = CONFIG["classifiers"] | {"linear": {"objective": "linear", "size": 96}}
    config["defaults"] = SMALL
    config["cams"] = CONFIG["cams"] | {"linear": {"classifier": "linear"}}
    results.configure(config)
    code, said, _ = wsss("plan", "--on", "cpu")
    assert code == 0 and "classifier linear " in said and "cams linear " in said


def test_earlier_runs_are_scaled(results, wsss) -> None:
    """Twice the epochs and four times the images: eight times the work; the rest keeps its settings."""
    config = {**CONFIG, "datasets": {"scenes": {"kind": "scenes", "train": 96, "val": 32}}, "results": "new"}
    config["defaults"] = {"classifiers": {"epochs": 4}}
    results.configure(config)
    said = wsss("plan", "--history", "results")[1]
    seconds = STARTUP + (100 - STARTUP) * 8
    assert row(said, "classifier")[1:] == [
        *("2", "0", "96", duration(seconds), "2.0 GiB", "16000 MB, 12 h, 1 GPU", "same settings"),
    ]
    assert row(said, "cams")[4] == duration(STARTUP + (100 - STARTUP) * 4)
    assert "known from" in said and "Times are those of: A GPU, 2 threads." in said
    total = 2 * seconds + 12 * (STARTUP + (100 - STARTUP) * 4) + 200  # the summary and the report do not grow
    assert f"To do: 16 jobs, {duration(total)} one after another, " in said


def test_a_training_on_few_masks_works_on_those_images(results, wsss) -> None:
    results.configure({**CONFIG, "segmenters": {"few": {"supervision": "masks", "gt_masks": 6}}})
    said = wsss("plan")[1]
    assert row(said, "segmenter")[3] == "6" and row(said, "predictions")[3] == "8"


def test_jobs_with_reasons_and_the_longest_chain(results, wsss) -> None:
    config = {**CONFIG, "masks": {"p-noc": {"cams": "p-noc", "crf": None, "threshold": {"policy": "calibrated"}}}}
    results.configure(config)
    said = wsss("plan", "--jobs")[1]
    jobs = re.findall(r"^  (results/\S+): (.*?); (.*)$", said, re.M)
    assert [job for job, _, _ in jobs] == [
        "results/scenes/s0/masks/p-noc",
        "results/scenes/s0/scores/masks/p-noc",
        "results/scenes/s0/segmenters/p-noc",
        "results/scenes/s0/predictions/p-noc",
        "results/scenes/s0/scores/segmenters/p-noc",
        "results/scenes",
        "results/scenes/report",
    ]
    assert jobs[0][1] == "1.7 min" and jobs[0][2].startswith("crf: was labels-1, is null")
    assert jobs[1][1] == "1.7 min" and jobs[1][2].startswith("input artefact: results/scenes/s0/masks/p-noc is to be")
    assert "To do: 7 jobs, 12 min one after another, 8.3 min with room for all at once" in said
    assert row(said, "masks")[1:3] == ["1", "0"] and row(said, "masks")[-1] == "other settings"


def test_likeness_decides_who_is_asked(results) -> None:
    run = {"dataset": "d", "index": Path("x/index"), "work": 10.0}
    history = History([])
    settings = {"objective": "vanilla", "crop": 512, "lr": 0.1}

    def past(seconds: float, device: str = "gpu", made: str = "1", dataset: str = "d", **changed: object) -> Past:
        about = {**run, "dataset": dataset, "seconds": seconds, "mib": seconds, "device": device, "made": made}
        return Past("classifier", settings | changed, **about)

    wanted = Past("classifier", settings, **run)
    history.runs = [past(100, crop=256), past(50, lr=0.2), past(30, dataset="other")]
    assert history.forecast(wanted).basis == "similar settings"
    history.runs.append(past(10))
    history.runs.append(past(20))
    history.runs.append(past(60))
    best = history.forecast(wanted)
    assert (best.seconds, best.mib, best.basis) == (20, 60, "same settings (3 runs)")
    history.runs.append(past(5, device="new gpu", made="2"))
    assert (history.forecast(wanted).seconds, history.forecast(wanted).device) == (5, "new gpu")
    history.runs = [past(100, crop=256)]
    assert history.forecast(wanted).basis == "other settings"
    history.runs = [past(30, dataset="other")]
    assert history.forecast(wanted).basis == "same settings, other dataset"
    history.runs = [past(30, epochs=3, warm_start="other", splits=["val"])]
    assert history.forecast(wanted).basis == "same settings"
    assert history.forecast(Past("cams", {}, **run)).seconds is None
    unknown = Past("classifier", settings, "other", Path("y"), None)
    assert history.forecast(unknown).basis == "number of images unknown"
    assert history.forecast(Past("classifier", settings, "d", Path("y"), None)).seconds == 30


def test_maps_of_larger_images_take_longer(tmp_path: Path) -> None:
    for name, side in (("small", 10), ("large", 20)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.csv").write_text(f"id,height,width\na,{side},{side}\n")
    assert (pixels(tmp_path / "large"), pixels(tmp_path / "none")) == (400, None)
    old = Past("cams", {}, "a", tmp_path / "small", 10.0, seconds=STARTUP + 10)
    new = Past("cams", {}, "b", tmp_path / "large", 20.0)
    assert scaled(old, new) == STARTUP + 10 * 2 * 4
    trained = Past("classifier", {"crop": 96}, "a", tmp_path / "small", 10.0, seconds=STARTUP + 10)
    assert scaled(trained, new) == STARTUP + 10 * 2
    assert scaled(old, Past("cams", {}, "b", tmp_path / "none", 20.0)) == STARTUP + 10 * 2
    assert scaled(old, Past("cams", {}, "b", tmp_path / "none", None)) == STARTUP + 10


def test_a_device_can_be_chosen(results, wsss) -> None:
    results.edit("s0/classifiers/vanilla", device="Old CPU", wall_seconds=5000, peak_gpu_memory_mib=3072)
    results.configure({**CONFIG, "results": "new"})
    said = wsss("plan", "--history", "results", "--device", "old cpu")[1]
    assert row(said, "classifier")[4:6] == ["83 min", "2.0 GiB, GPU 3.0 GiB"]
    assert row(said, "cams")[4] == "unknown"
    assert "To do: 16 jobs, at least" in said and "How long 14 jobs will take is unknown" in said


def test_rules_that_ask_for_too_little(results, wsss) -> None:
    results.edit("s0/classifiers/p-noc", wall_seconds=50000, peak_memory_mib=20000)
    results.configure({**CONFIG, "results": "new"})
    said = " ".join(wsss("plan", "--history", "results")[1].split())
    assert "! classifier asks for 16000 MB, 12 h, 1 GPU, less than expected (14 h, 19.5 GiB): on a cluster put" in said
    assert "'classifier: {runtime: 1250, mem_mb: 26000}' under set-resources" in said


def test_what_the_rules_ask_for() -> None:
    asked = asked_by_rules()
    tables = {"summary", "report", "ablation_table", "explanations", "audits", "continual", "searches"}
    assert set(asked) == {"index", "scores", *tables, *STEPS}
    assert all(one.megabytes and one.minutes for one in asked.values())
    assert asked["classifier"].gpus == 1 and asked["masks"].gpus is None
    assert str(Asked()) == "-"


def test_photos_are_counted_by_the_index(results, wsss, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "tags.csv").write_text("id,labels\na,cat\n")
    photos = {"kind": "folder", "images": "photos", "labels": "tags.csv"}
    config = {**CONFIG, "dataset": "photos", "datasets": {"photos": photos}}
    config["masks"] = {"p-noc": {"cams": "p-noc", "threshold": {"policy": "fixed"}}}
    chain = results.configure(config, "photos.yaml")
    said = wsss("plan", "--configfile", "photos.yaml")[1]
    assert row(said, "classifier")[3:] == [
        *("unknown", "unknown", "unknown", "16000 MB, 12 h, 1 GPU", "number of images unknown"),
    ]
    results.job(chain, Job("index", "photos"))
    said = wsss("plan", "--configfile", "photos.yaml")[1]
    assert row(said, "classifier")[3:5] == ["24", "1.7 min"] and "other dataset" in row(said, "classifier")[-1]
    (tmp_path / "tags.csv").write_text("id,labels\na,dog\n")
    said = wsss("plan", "--configfile", "photos.yaml", "--jobs")[1]
    assert "results/photos/index: 1.7 min; files of yours that the settings name: their content changed" in said


def test_photos_are_counted_before_the_first_run(results, wsss, tmp_path: Path) -> None:
    """Eight ids of the table and the folder, two of which are drawn to validate on; the times are those of scenes."""
    pets = PhotoFolder(tmp_path, 8)
    dataset = {"kind": "folder", "images": "photos", "labels": "tags.csv", "val_share": 0.25}
    config = {**CONFIG, "dataset": "photos", "datasets": {"photos": dataset}}
    config["masks"] = {"p-noc": {"cams": "p-noc", "threshold": {"policy": "fixed"}}}
    results.configure(config, "photos.yaml")
    said = wsss("plan", "--configfile", "photos.yaml")[1]
    assert row(said, "index")[3] == "8" and row(said, "classifier")[3] == "6"
    assert "other dataset" in row(said, "classifier")[-1] and row(said, "classifier")[4] != "unknown"
    for name, ids in (("train", list(pets.tags)[:3]), ("val", list(pets.tags)[3:])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{id}\n" for id in ids))
    results.configure({**config, "datasets": {"photos": {**dataset, "train": "train.txt", "val": "val.txt"}}}, "l.yaml")
    assert row(wsss("plan", "--configfile", "l.yaml")[1], "classifier")[3] == "3"


def test_the_study_has_a_plan_too(results, wsss) -> None:
    said = wsss("plan", "--ablation")[1]
    assert row(said, "ablation_table")[1] == "1" and int(row(said, "classifier")[1]) > 4
    Path("broken.yaml").write_text(yaml.safe_dump({**CONFIG, "defaults": {"cams": {"splits": ["val"]}}, "masks": {}}))
    code, _, error = wsss("plan", "--ablation", "--configfile", "broken.yaml")
    assert code == 2 and error.startswith("wsss: error: ")


def test_problems_are_said(results, wsss, tmp_path: Path) -> None:
    code, _, error = wsss("plan", "--history", "nowhere")
    assert code == 2 and "--history nowhere: no such folder" in error
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "seeds": 3}))
    assert "seeds: expected a list" in wsss("plan")[2]
    (tmp_path / "config.yaml").unlink()
    assert "no config.yaml in" in wsss("plan")[2]


def test_old_manifests_do_no_harm(results, wsss) -> None:
    """Without identity, times or images, as older versions or other programs may write them."""
    for path in ("s0/cams/p-noc", "s0/cams/vanilla"):
        results.age(path)
        file = results.folder / "results/scenes" / path / "manifest.json"
        about = json.loads(file.read_text())
        file.write_text(json.dumps({key: about[key] for key in ("stage", "settings", "seed", "inputs", "made")}))
    said = wsss("plan", "--jobs")[1]
    assert row(said, "cams")[1:3] == ["2", "0"] and row(said, "cams")[-1] == MODELLED_HERE
    assert (
        " ".join(said.split()).count("; made before results had an identity: 'wsss accept' takes it over as it is") == 2
    )


def test_a_job_that_is_done_need_not_say_how_long_it_took(results, wsss) -> None:
    for path in ("s0/cams/p-noc", "s0/cams/vanilla"):
        (results.folder / "results/scenes" / path / "run.json").unlink()
    said = wsss("plan")[1]
    assert row(said, "cams")[4:6] == ["unknown", "unknown"] and "done, time not recorded" in said


def told(wsss) -> str:
    """What ``wsss plan`` says below its table, on one line."""
    said = wsss("plan")[1]
    return " ".join(said[said.rindex("\n\n") :].split())


def test_finished_results_that_would_be_made_again_are_told_with_their_hours(results, wsss) -> None:
    results.edit("s0/classifiers/vanilla", wall_seconds=3600 * 20, peak_gpu_memory_mib=3072)
    results.configure(changed("classifiers", "vanilla", "lr", value=0.2))
    assert told(wsss).endswith(
        "13 finished results (20 GPU-hours) to be made again because of: lr: was 0.1, is 0.2. The old ones are kept. "
        "To take them as they are: wsss accept."
    )


def test_few_reasons_are_told_of_many(results, wsss) -> None:
    config = changed(
        "classifiers", "vanilla", value={"objective": "vanilla", "lr": 0.2, "poly_power": 0.8, "crop": 448}
    )
    results.configure({**config, "segmenters": {"p-noc": {"masks": "p-noc", "lr": 0.1, "poly_power": 0.7}}})
    said = told(wsss)
    assert said.count(": was ") == 3 and "; and 2 more changes. The old ones are kept." in said


def test_shards_are_part_of_the_hours(results, wsss) -> None:
    results.edit("s0/cams/vanilla", wall_seconds=3600, shards=2, shard_seconds=[3600, 7200])
    results.configure(changed("cams", "vanilla", "flip", value=False))
    assert "2 finished results (4.0 hours) to be made again because of: flip: was true, is false." in told(wsss)


def test_nothing_is_made_again_where_nothing_was_made(results, wsss) -> None:
    results.configure({**CONFIG, "results": "new"})
    assert "made again" not in told(wsss)


def test_what_is_kept_comes_back_and_takes_no_time(results, wsss) -> None:
    set_aside(results.run / "masks/p-noc")
    results.make(results.configure(changed("masks", "p-noc", "crf", value=None)))
    results.configure(CONFIG)
    said = wsss("plan", "--jobs")[1]
    assert f"results/scenes/s0/masks/p-noc: 1 s; {BACK}\n" in said
    assert row(said, "masks")[1:3] == ["1", "0"] and row(said, "masks")[-1] == "kept"
    assert " 4 finished results " in told(wsss), "those that were made of the other masks"


def test_what_is_kept_and_missing_comes_back_if_it_is_needed(results, wsss) -> None:
    set_aside(results.run / "masks/p-noc")
    assert wsss("plan")[1].splitlines()[-1] == "Nothing to do."
    results.configure(changed("segmenters", "p-noc", "lr", value=0.1))
    assert f"results/scenes/s0/masks/p-noc: 1 s; {BACK}\n" in wsss("plan", "--jobs")[1]


def test_code_that_changed_is_a_remark(results, wsss) -> None:
    for path in ("classifiers/vanilla", "cams/vanilla", "cams/p-noc"):
        results.edit(f"s0/{path}", code={"wsss/training/engine.py": "0", "wsss/stages/cams.py": "edited"})
    files = {f"wsss/refine/{name}.py": "0" for name in ("crf", "paths", "votes")}
    results.edit("s0/masks/p-noc", code={"wsss/gone.py": "0", **files, "wsss/settings/check.py": "0"})
    assert told(wsss) == (
        "Nothing to do. The code of 3 stages changed since (training/engine.py, stages/cams.py, gone.py and 3 more), "
        "but no version: results are kept; wsss run --again classifier makes them anew."
    )


def test_code_of_what_is_to_be_made_is_not_worth_a_remark(results, wsss) -> None:
    results.edit("s0/classifiers/p-noc", code={"wsss/training/engine.py": "0"})
    results.configure(changed("classifiers", "p-noc", "lr", value=0.2))
    assert "The code of" not in told(wsss)


def test_libraries_that_changed_are_a_remark(results, wsss) -> None:
    results.edit("s0/classifiers/vanilla", versions={"torch": "0.1", "nowhere-to-be-found": "1"})
    results.edit("s0/classifiers/p-noc", versions={"torch": "0.2", "wsss": "0.0.1"})
    now = metadata.version("torch")
    assert told(wsss) == (
        f"Nothing to do. Libraries changed since: torch 0.1, 0.2 then, {now} now; nowhere-to-be-found 1 then, none "
        "now. Results are kept."
    )


def test_weights_of_the_hub_with_one_name_and_two_contents_are_a_remark(results, wsss) -> None:
    tag = "timm/resnet50.a1_in1k"
    for name, digest in (("vanilla", "one"), ("p-noc", "two")):
        results.edit(f"s0/classifiers/{name}", hub_weights={"tag": tag, "digest": digest})
    results.edit("s0/segmenters/p-noc", hub_weights={"tag": "timm/other", "digest": "three"})
    folder = "results/scenes/s0/classifiers"
    assert told(wsss) == (
        f"Nothing to do. The hub's weights {tag} were not the same for all: one ({folder}/vanilla), two "
        f"({folder}/p-noc)."
    )


def test_every_job_of_the_family_has_its_place(results, wsss) -> None:
    raw = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    chain = results.configure(raw, "tiny.yaml")
    jobs = chain.wanted()
    elsewhere = {"external_cams", "external_masks", "explanation", "audit", "regions", "text_cams"}
    assert {job.rule for job in jobs} == {*STEPS, "index", "scores", "summary", "report"} - elsewhere
    for job in jobs:
        assert chain.at(chain.folder(job)) == job
    for number, job in enumerate(jobs):
        assert all(chain.at(folder) in jobs[:number] for folder in chain.inputs(job).values())
    assert Chain.read(["tiny.yaml"]).wanted() == jobs


def test_numbers_for_people() -> None:
    seconds = (None, 0.31, 6, 45.2, 100, 3599, 7200, 40 * 3600, 400000)
    assert [duration(s) for s in seconds] == [
        *("unknown", "0.3 s", "6 s", "45 s", "1.7 min", "60 min", "2 h", "40 h", "4.6 days"),
    ]
    assert [memory(m) for m in (None, 561, 1229)] == ["unknown", "561 MiB", "1.2 GiB"]


@pytest.mark.parametrize("command", ["show", "diff", "plan"])
def test_help(command: str, capsys) -> None:
    from wsss.cli import main

    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0 and "--" in capsys.readouterr().out


def test_shards_share_the_time(results, wsss) -> None:
    """A stage that is to run in shards takes a share of the time; one that ran in shards took that of all of them."""
    results.edit("s0/cams/p-noc", wall_seconds=2, shards=3, shard_seconds=[30, 32, 36], shard_memory_mib=5000)
    cams = {name: {**recipe, "shards": 4} for name, recipe in CONFIG["cams"].items()}
    results.configure({**CONFIG, "cams": cams})
    assert wsss("plan")[1].splitlines()[-1] == "Nothing to do."
    results.configure({**CONFIG, "cams": cams, "results": "new"})
    said = wsss("plan", "--history", "results", "--jobs")[1]
    assert row(said, "cams")[1:6] == ["2 by 8 shards", "0", "32", "25 s", "2.0 GiB to 4.9 GiB"]
    assert "new/scenes/s0/cams/p-noc: 25 s in each of 4 shards; " in said
    assert row(said, "masks")[1] == "1"
    shown = " ".join(wsss("show", "results/scenes/s0/cams/p-noc")[1].split())
    assert "before that 3 shards of 30 s to 36 s, each at most 4.9 GiB" in shown
