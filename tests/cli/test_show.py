"""``wsss show``: how an artefact was made, whether it is stale, and how to make it again."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.finished_run import CONFIG, ROOT, changed
from wsss.cli.reproduce import stage_command
from wsss.cli.run import parsed
from wsss.steps import STEPS
from wsss.store.artefact import load
from wsss.store.kept import set_aside
from wsss.workflow.values import counted


def test_tells_how_it_was_made(results, wsss) -> None:
    code, said, _ = wsss("show", "results/scenes/s0/masks/p-noc")
    assert code == 0
    for line in (
        "results/scenes/s0/masks/p-noc",
        r"  stage +masks",
        r"  seed +0",
        r"  images +32",
        r"  supervision +image tags, ImageNet",
        r"  made +2026-01-01 00:00:\d\d\+0000",
        r"  device +A GPU, 2 threads",
        r"  took +1.7 min, at most 2.0 GiB",
        r"  versions +wsss 0.1.0",
        r"  identity +[0-9a-f]{16} \(masks 1, dense CRF 1\)",
        r"  holds +1 file or folder, content [0-9a-f]{16}",
        r"up to date with config.yaml",
        r"  crf: labels-1",
        r"  threshold.policy: calibrated",
        r"  cams: results/scenes/s0/cams/p-noc \(cams, seed 0, 32 images, 1.7 min\)",
        r"      scales: \[1\]; classifier: p-noc",
        r"    classifier: results/scenes/s0/classifiers/p-noc \(.*\)",
        r"        objective: p-noc; epochs: 2; ordinary: vanilla",
        r"      ordinary: results/scenes/s0/classifiers/vanilla \(.*\)",
        r"    index: results/scenes/index \(as above\)",
        r"  snakemake --cores all --force results/scenes/s0/masks/p-noc/manifest.json.*",
    ):
        assert re.search(f"^{line}$", said, re.M), (line, said)
    assert "splits" not in said.split("this step alone")[0]
    assert "STALE" not in said and "mind" not in said


def test_all_settings(results, wsss) -> None:
    said = wsss("show", "results/scenes/s0/cams/p-noc", "--all")[1]
    assert " *scales: [1]" in said and "  splits: [train, val]" in said and " *classifier: p-noc" in said
    assert "  max_side: 1024" in said


@pytest.mark.parametrize("inside", ["masks", "manifest.json", "."])
def test_anything_inside_will_do(results, wsss, inside: str) -> None:
    said = wsss("show", results.run / "masks" / "p-noc" / inside)[1]
    assert said.splitlines()[0] == "results/scenes/s0/masks/p-noc"


def test_the_summary_owns_its_own_files_only(results, wsss) -> None:
    assert wsss("show", "results/scenes/summary.md")[1].startswith("results/scenes\n  stage        summary\n")
    assert wsss("show", "results/scenes/report.html")[1].startswith("results/scenes/report\n  stage        report\n")
    (results.run / "notes.txt").write_text("")
    code, _, said = wsss("show", results.run / "notes.txt")
    assert code == 2 and "is no artefact and lies in none; the nearest artefact is results/scenes/s0/" in said


def test_paths_that_are_no_artefacts(results, wsss, tmp_path: Path) -> None:
    code, said, error = wsss("show", "results/scenes/s0/masks/pnoc")
    assert (code, said) == (2, "")
    assert "does not exist; the nearest artefact is results/scenes/s0/masks/p-noc" in error
    assert (
        "holds some; name one of them:\n  results/scenes/s0/cams/p-noc\n  results/scenes/s0/cams/van"
        in wsss("show", "results/scenes/s0/cams")[2]
    )
    (results.run / "masks/p-noc/manifest.json").unlink()
    (results.run / "masks/p-noc/.lock").write_text("process 1")
    assert "is an artefact that was never finished" in wsss("show", "results/scenes/s0/masks/p-noc")[2]
    assert "is part of an artefact that was never finished" in wsss("show", "results/scenes/s0/masks/p-noc/masks")[2]
    (results.run / "cams/p-noc/manifest.json").write_text("no JSON")
    assert "cannot be read" in wsss("show", "results/scenes/s0/cams/p-noc")[2]
    (results.run / "cams/p-noc/manifest.json").write_text("[]")
    assert "cannot be read" in wsss("show", "results/scenes/s0/cams/p-noc")[2]
    (results.run / "cams/p-noc/manifest.json").write_text("{}")
    assert "not the manifest of a stage" in wsss("show", "results/scenes/s0/cams/p-noc")[2]
    shutil.rmtree(tmp_path / "results")
    assert "artefacts lie at results/DATASET/sSEED/KIND/NAME" in wsss("show", "results/scenes")[2]


STALE = {
    "a setting": (changed("masks", "p-noc", "crf", value=None), "crf: was labels-1, is null"),
    "a number inside a block": (
        changed("masks", "p-noc", "threshold", value={"policy": "calibrated", "value": 0.4}),
        "threshold.value: was 0.3, is 0.4",
    ),
    "a setting upstream": (
        changed("classifiers", "vanilla", "lr", value=0.2),
        "input cams: results/scenes/s0/cams/p-noc is to be made again",
    ),
    "another input": (
        changed("masks", "p-noc", "cams", value="vanilla"),
        "input cams: was results/scenes/s0/cams/p-noc, is results/scenes/s0/cams/vanilla",
    ),
    "one input less": (
        changed("masks", "p-noc", "threshold", value={"policy": "fixed"}),
        "input scores: no longer read",
    ),
    "another stage": (
        changed("masks", "p-noc", value={"source": "external", "path": "elsewhere"}),
        "stage: was masks, is external_masks",
    ),
}


@pytest.mark.parametrize("case", STALE)
def test_stale_by_the_configuration(results, wsss, case: str) -> None:
    config, reason = STALE[case]
    results.configure(config)
    said = wsss("show", "results/scenes/s0/masks/p-noc")[1]
    assert "STALE, compared with config.yaml" in said and f"  - {reason}" in said
    again = "  snakemake --cores all --force results/scenes/s0/masks/p-noc/manifest.json"
    assert re.search(rf"^{re.escape(again)}((?: \\\n +| )--snakefile .*)?$", said, re.M)


def test_stale_without_a_change_of_settings(results, wsss) -> None:
    show = ("show", "results/scenes/s0/segmenters/p-noc")
    chain = results.configure(CONFIG)
    results.job(chain, chain.at("results/scenes/s0/masks/p-noc"))
    assert "up to date with config.yaml\n" in wsss(*show)[1]  # the same content, whenever it was made
    results.edit("s0/masks/p-noc", content="0" * 16)
    said = wsss(*show)[1]
    assert "  - input masks: results/scenes/s0/masks/p-noc was made again since" in said
    assert re.search(r"masks: results/scenes/s0/masks/p-noc \(.*; made again since\)", said)
    results.make(chain)
    (results.run / "segmenters/p-noc/model.safetensors").unlink()
    assert "  - model.safetensors is gone" in wsss(*show)[1]
    results.make(chain)
    older = {"segmenter": 0, "training": 1, "objective segmentation": 1}
    results.edit("s0/segmenters/p-noc", declared=older, identity="0" * 16)
    assert "  - version of segmenter: was 0, is 1\n" in wsss(*show)[1]
    results.make(chain)
    (results.run / "masks/p-noc/manifest.json").unlink()
    said = wsss(*show)[1]
    assert "up to date" in said  # nothing is made again for that alone
    assert "masks: results/scenes/s0/masks/p-noc: never finished" in said
    results.configure({**CONFIG, "segmenters": {"p-noc": {"masks": "p-noc", "lr": 0.5}}})
    said = wsss(*show)[1]
    assert re.search(r"  - lr: was [\d.]+, is 0.5", said)
    assert "  which goes back to\n    - results/scenes/s0/masks/p-noc: never finished (no manifest.json)\n" in said


def test_staleness_is_followed_to_where_it_begins(results, wsss) -> None:
    config = changed("classifiers", "vanilla", "lr", value=0.2)
    results.configure({**config, "datasets": {"scenes": {**CONFIG["datasets"]["scenes"], "difficulty": 0.25}}})
    said = wsss("show", "results/scenes/s0/cams/p-noc")[1]
    start = "  - input index: results/scenes/index is to be made again"
    assert f"{start}\n  - input classifier: results/scenes/s0/classifiers/p-noc is to be made again\n" in said
    assert "\n".join([
        "  which goes back to",
        "    - results/scenes/index: difficulty: was 0.5, is 0.25",
        "    - results/scenes/s0/classifiers/vanilla: lr: was 0.1, is 0.2",
        "",
    ]) in said  # fmt: skip
    for path in ("classifiers/vanilla", "classifiers/p-noc", "cams/p-noc", "cams/vanilla", "masks/p-noc"):
        results.edit(f"s0/{path}", declared={}, identity="0" * 16)
    assert re.search(r"^    \.\.\. and 4 more$", wsss("show", "results/scenes")[1], re.M)


def test_files_of_ones_own(results, wsss, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    chain = results.configure(changed("classifiers", "vanilla", "pretrained", value="w.safetensors"))
    results.make(chain)
    show = ("show", "results/scenes/s0/classifiers/vanilla")
    assert re.search(r"  your files +[0-9a-f]{16}\n", wsss(*show)[1])
    (tmp_path / "w.safetensors").write_bytes(b"other weights")
    assert "  - files of yours that the settings name: their content changed" in wsss(*show)[1]


def test_what_cannot_be_compared_is_said(results, wsss, tmp_path: Path) -> None:
    show = ("show", "results/scenes/s0/cams/p-noc")
    (tmp_path / "config.yaml").write_text("dataset: nowhere\n")
    assert "not compared: settings (The configuration has" in wsss(*show)[1]
    assert wsss(*show, "--configfile", "config.yaml")[0] == 2
    (tmp_path / "config.yaml").unlink()
    said = wsss(*show)[1]
    assert "not compared: settings (no config.yaml in" in said and "snakemake" not in said
    results.configure({**CONFIG, "cams": {}, "masks": {}, "segmenters": {}})
    said = wsss(*show)[1]
    assert "not compared: settings (config.yaml has no recipe 'p-noc' in 'cams')" in said
    assert "(Snakemake: config.yaml has no recipe 'p-noc' in 'cams')" in said
    shutil.move(tmp_path / "results", tmp_path / "moved")
    assert "lies outside the results folder 'results' of config.yaml" in wsss("show", "moved/scenes/s0/cams/p-noc")[1]


def test_several_configuration_files(results, wsss, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"cams": {"p-noc": {"flip": False}}}))
    said = wsss(
        "show", "results/scenes/s0/cams/p-noc", "--configfile", "config.yaml", "--configfile", "more.yaml"
    )[1]  # fmt: skip
    assert "STALE, compared with config.yaml + more.yaml\n  - flip: was true, is false" in said
    assert "--configfile config.yaml more.yaml" in said
    assert wsss("show", "results/scenes/s0/cams/p-noc", "--configfile", "none.yaml")[0] == 2


def test_warnings_from_all_the_way_up(results, wsss) -> None:
    results.edit("index", dropped=3)
    results.edit("s0/classifiers/vanilla", versions={"torch": "2.12.0"})
    results.edit("s0/segmenters/p-noc", versions={"torch": "2.11.0"})
    results.edit("s0/cams/p-noc", settings={"source": "external", "supervision": "image-text pairs"})
    by_hand = {"images": 12, "pixels": 345}
    results.edit("s0/masks/p-noc", threshold={"policy": "oracle", "masks_looked_at": 24}, corrected=by_hand)
    said = " ".join(wsss("show", "results/scenes/s0/segmenters/p-noc")[1].split())
    assert "results/scenes/index: 3 images dropped as broken" in said
    assert "made elsewhere; what went into it: image-text pairs" in said
    assert "chosen on all ground-truth masks (oracle)" in said
    assert "results/scenes/s0/masks/p-noc: 12 masks corrected by hand" in said
    assert "different versions of torch: 2.11.0 (results/scenes/s0/segmenters/p-noc), 2.12.0 (results/" in said


def test_what_was_accepted_is_told(results, wsss) -> None:
    results.configure(changed("classifiers", "vanilla", "lr", value=0.2))
    wsss("accept", "--yes")
    said = " ".join(wsss("show", "results/scenes/s0/cams/vanilla")[1].split())
    assert "up to date with config.yaml" in said
    assert "- results/scenes/s0/classifiers/vanilla: accepted as it is, although lr: was 0.1, is 0.2" in said


def test_what_was_adopted_is_told(results, wsss) -> None:
    shutil.copytree("results", "theirs")
    wsss("adopt", "theirs/scenes/s0/cams/p-noc")
    said = " ".join(wsss("show", "results/scenes/s0/masks/p-noc")[1].split())
    place = f"{results.folder}/theirs/scenes/s0/cams/p-noc"
    assert f"- results/scenes/s0/cams/p-noc: made elsewhere, adopted from {place}" in said


def test_code_that_changed_since_is_no_reason_but_a_remark(results, wsss) -> None:
    results.edit("s0/classifiers/vanilla", code={"wsss/training/engine.py": "0" * 16})
    said = " ".join(wsss("show", "results/scenes/s0/cams/vanilla")[1].split())
    assert "up to date with config.yaml" in said
    assert (
        "The code of 1 stage changed since (training/engine.py), but no version: results are kept; wsss run --again "
        in said
    )
    assert "The code" not in wsss("show", "results/scenes/index")[1]


def test_libraries_that_changed_since_are_no_reason_but_a_remark(results, wsss) -> None:
    results.edit("s0/classifiers/vanilla", versions={"torch": "0.1", "wsss": "0.0.1", "python": "2.7"})
    said = " ".join(wsss("show", "results/scenes/s0/cams/vanilla")[1].split())
    assert "up to date with config.yaml" in said
    assert re.search(r"Libraries changed since: torch 0\.1 then, \S+ now\. Results are kept\.", said)


def test_one_from_before_there_were_identities(results, wsss) -> None:
    results.age("s0/cams/p-noc")
    said = wsss("show", "results/scenes/s0/cams/p-noc")[1]
    assert re.search(r"^  identity +none \(made before there were any\)$", said, re.M)
    assert re.search(r"^  holds +0 file or folders, content unknown$", said, re.M)
    assert "  - made before results had an identity: 'wsss accept' takes it over as it is\n" in said


def test_what_is_kept_and_comes_back(results, wsss) -> None:
    set_aside(results.run / "masks/p-noc")
    results.make(results.configure(changed("masks", "p-noc", "crf", value=None)))
    results.configure(CONFIG)
    said = wsss("show", "results/scenes/s0/masks/p-noc")[1]
    assert "STALE, compared with config.yaml\n  - kept from before: comes back as it was\n" in said


def test_code_counts_where_the_configuration_says_so(results, wsss) -> None:
    results.configure({**CONFIG, "code": "strict"})
    assert "up to date with config.yaml\n" in wsss("show", "results/scenes/s0/cams/vanilla")[1]
    results.edit("s0/classifiers/vanilla", code={"wsss/training/engine.py": "0" * 16, "wsss/errors.py": "0"})
    said = wsss("show", "results/scenes/s0/cams/vanilla")[1]
    assert "    - results/scenes/s0/classifiers/vanilla: code: training/engine.py changed (code: strict)\n" in said


class TestVerify:
    """``--verify`` reads all files."""

    show = ("show", "results/scenes/s0/masks/p-noc", "--verify")

    def test_all_as_they_were(self, results, wsss) -> None:
        assert wsss(*self.show)[1].endswith("\n\nfiles: 1 output, all as they were made\n")
        assert "files: " not in wsss(*self.show[:2])[1]

    def test_one_that_was_changed(self, results, wsss) -> None:
        (results.run / "masks/p-noc/masks/a.png").write_text("by hand")
        said = " ".join(wsss(*self.show)[1].split())
        other = "masks is not the one that was made (damaged, or changed)"
        assert said.endswith(f"files: {other}; wsss run --again masks:p-noc makes it anew")

    def test_one_that_is_gone(self, results, wsss) -> None:
        shutil.rmtree(results.run / "masks/p-noc/masks")
        assert "files: masks is gone; wsss run --again masks:p-noc makes it anew\n" in wsss(*self.show)[1]

    def test_one_from_before_there_were_digests(self, results, wsss) -> None:
        results.age("s0/masks/p-noc")
        assert wsss(*self.show)[1].endswith("files: the manifest does not tell their digests\n")

    @pytest.mark.parametrize("path", ["index", "s0/scores/cams/p-noc", "report"])
    def test_the_command_can_be_given(self, results, wsss, path: str) -> None:
        for name in results.read(path)["outputs"]:
            (results.folder / "results/scenes" / path / name).unlink()
        said = wsss("show", f"results/scenes/{path}", "--verify")[1]
        (wanted,) = set(re.findall(r"wsss run --again (\S+) makes", said))
        assert parsed(results.configure(CONFIG), [wanted])


def test_true_masks_are_told_with_their_number(results, wsss) -> None:
    for given, said in (
        ({"objective": "guided", "gt_masks": 20}, "its heatmaps were trained on 20 ground-truth masks"),
        ({"objective": "guided", "gt_masks": "all"}, "its heatmaps were trained on all ground-truth masks"),
        ({"supervision": "masks", "gt_masks": 20}, "trained on 20 ground-truth masks"),
        ({"supervision": "masks"}, "trained on ground-truth masks"),
    ):
        results.edit("s0/classifiers/vanilla", settings=given)
        shown = " ".join(wsss("show", "results/scenes/s0/cams/vanilla")[1].split())
        assert f"results/scenes/s0/classifiers/vanilla: {said}" in shown
    results.edit("s0/classifiers/vanilla", settings={"objective": "guided", "gt_masks": 0})
    assert "ground-truth masks" not in wsss("show", "results/scenes/s0/cams/vanilla")[1]


def test_the_command_reads_as_what_made_it(results, wsss, monkeypatch) -> None:
    """Every stage program takes its command, and finds the settings, inputs and seed of the manifest."""
    raw = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    chain = results.configure({**raw, "seeds": [3]}, "tiny.yaml")
    results.make(chain)
    monkeypatch.syspath_prepend(str(ROOT / "stages"))
    rules = set()
    for job in chain.wanted():
        made = load(chain.folder(job))
        command = stage_command(made)
        if job.rule in ("summary", "report"):
            assert command is None
            continue
        rules.add(job.rule)
        argv = shlex.split(command.replace("\\\n", ""))
        assert argv[0] == "python" and Path(argv[1]).name == f"{job.rule}.py"
        spec = importlib.util.spec_from_file_location(f"stage_{job.rule}", argv[1])
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        stage = getattr(program, "stage", None) or program.STAGE
        args = stage.parser.parse_args(argv[2:])
        assert counted(job.rule, stage._read_settings(args).model_dump(mode="json")) == counted(job.rule, made.settings)
        assert {n: Path(p).resolve() for n, p in stage._open_inputs(args).items()} == made.inputs
        assert (args.seed, args.out.resolve()) == (made.manifest["seed"], made.folder)
        assert getattr(args, "kind", job.kind) == job.kind
    elsewhere = {"external_cams", "external_masks", "regions", "text_cams", "explanation", "audit"}
    assert {"index", "scores", *STEPS} - rules == elsewhere, "not in tiny.yaml"


def test_the_whole_family_can_be_shown(results, wsss) -> None:
    raw = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    chain = results.configure(raw, "tiny.yaml")
    results.make(chain)
    for job in chain.wanted():
        code, said, _ = wsss("show", chain.folder(job), "--configfile", "tiny.yaml", "--all")
        assert code == 0 and "up to date with tiny.yaml\n" in said, said


def test_starts_fast(results) -> None:
    """Neither torch nor Snakemake is imported, and ``python -m wsss`` is the program."""
    code = (
        "import sys; from wsss.cli import main; main(['plan']); main(['show', 'results/scenes']);"
        "print({'torch', 'snakemake', 'numpy', 'h5py'} & set(sys.modules))"
    )
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=results.folder, env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr
    done = subprocess.run([sys.executable, "-m", "wsss", "--version"], env=env, capture_output=True, text=True)
    assert re.fullmatch(r"wsss \d+\.\d+\.\d+\n", done.stdout)
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m wsss show results/scenes --all | head -1",
        cwd=results.folder, env=env, capture_output=True, text=True, shell=True,
    )  # fmt: skip
    assert done.stdout == "results/scenes\n" and not done.stderr
