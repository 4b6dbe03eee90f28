"""Another workflow uses this one as a module, below a prefix and under other rule names."""

from __future__ import annotations

import pytest
import yaml

from tests.workflow.checkout import Checkout
from tests.workflow.planned import called

THEIRS = """
configfile: "theirs.yaml"


module wsss:
    snakefile:
        "{snakefile}"
    config:
        config["wsss"]
    prefix:
        "segmentation"


use rule * from wsss as wsss_*


rule count:
    input:
        "segmentation/results/photos/s0/classifiers/vanilla/manifest.json",
    output:
        "{{name}}/{{seed}}.txt",
    shell:
        "wc -c {{input}} > {{output}}"
"""
CONFIG = {
    "dataset": "photos",
    "datasets": {"photos": {"kind": "folder", "images": "photos", "labels": "tags.csv"}},
    "classifiers": {
        "vanilla": {"objective": "vanilla", "pretrained": "weights.pth"},
        "other": {"objective": "vanilla"},
    },
    "cams": {"vanilla": {"classifier": "vanilla"}, "theirs": {"source": "external", "path": "maps.h5"}},
}


class Theirs(Checkout):
    """A working folder with a workflow of somebody else's, which uses a checkout that lies elsewhere."""

    def snakemake(self, *args: str, check: bool = True) -> str:
        return called(self.folder, "--cores", "2", *args, check=check)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    checkout = Checkout.build(tmp_path_factory.mktemp("module") / "checkout", {}).folder
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "Snakefile").write_text(THEIRS.format(snakefile=checkout / "workflow" / "Snakefile"))
    (folder / "theirs.yaml").write_text(yaml.safe_dump({"else": 1, "wsss": CONFIG}))
    for name in ("tags.csv", "weights.pth", "maps.h5"):
        (folder / name).write_text(name)
    (folder / "photos").mkdir()
    return Theirs(folder)


def test_their_targets_make_what_they_need_and_no_more(theirs: Theirs) -> None:
    """Wildcards of their rules may have the names that ours have, and other values."""
    assert theirs.snakemake("-n", "any name/x.txt").count("--out ") == 0
    theirs.snakemake("any/x.txt")
    made = {path.parent.relative_to(theirs.folder).as_posix() for path in theirs.folder.rglob("manifest.json")}
    base = "segmentation/results/photos"
    assert made == {f"{base}/index", f"{base}/s0/classifiers/vanilla"}
    assert (theirs.folder / "segmentation/logs/photos/s0/classifiers/vanilla.log").is_file()
    assert not (theirs.folder / "results").exists() and not (theirs.folder / "logs").exists()


@pytest.fixture(scope="module")
def finished(theirs: Theirs) -> Theirs:
    theirs.snakemake("wsss_all")
    return theirs


def test_stages_are_told_where_things_are(finished: Theirs) -> None:
    base = "segmentation/results/photos"
    said = finished.snakemake("-n", "-p", "--forceall", "wsss_all")
    commands = {line for line in said.splitlines() if " --out " in line}
    assert len(commands) == 11  # index, two classifiers, two kinds of maps, their four scores, summary, report
    for command in commands:
        assert " results/" not in command, command
    assert any(f"--index {base}/index --classifier {base}/s0/classifiers/vanilla" in one for one in commands)
    assert any(f"--results {base} --index {base}/index --scores {base}/s0/scores/" in one for one in commands)
    assert any('"pretrained": "weights.pth"' in one for one in commands)


def test_nothing_runs_twice_and_their_files_count_by_content(finished: Theirs) -> None:
    (finished.folder / "tags.csv").touch()
    assert finished.plan("wsss_all") == set()
    (finished.folder / "maps.h5").write_text("others")
    assert finished.plan("wsss_all") == {
        "external_cams theirs",
        "scores cams theirs",
        "summary photos",
        "report photos",
    }
