"""A copy of the checkout whose stages cost nothing, and what Snakemake would run in it."""

from __future__ import annotations

import copy
import io
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from tests.workflow.finished import finish, inside
from tests.workflow.planned import called, dag, fresh
from wsss.cli import main
from wsss.workflow.chain import Chain

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "workflow", "stages", "wsss", "envs")


def changed(config: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    """A configuration with one value changed."""
    config = block = copy.deepcopy(config)
    for key in path[:-1]:
        block = block.setdefault(key, {})
    block[path[-1]] = value
    return config


class Checkout:
    """A working folder with a checkout and a configuration."""

    def __init__(self, folder: Path, checkout: Path | None = None) -> None:
        self.folder, self.checkout = folder, checkout or folder

    @classmethod
    def build(cls, folder: Path, config: dict[str, Any]) -> Checkout:
        ignore = shutil.ignore_patterns("__pycache__")
        folder.mkdir(parents=True)
        for part in PARTS:
            source = ROOT / part
            copied = shutil.copytree if source.is_dir() else shutil.copy2
            copied(source, folder / part, **({"ignore": ignore} if source.is_dir() else {}))
        shutil.copy2(Path(__file__).with_name("fake_checkout.py"), folder / "stages" / "_path.py")
        checkout = cls(folder)
        checkout.configure(config)
        return checkout

    def copy(self, folder: Path) -> Checkout:
        shutil.copytree(self.folder, folder)
        return Checkout(folder)

    def configure(self, config: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a piece of a file, which must be there."""
        text = (self.folder / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        (self.folder / path).write_text(text.replace(old, new, 1))

    def finish(self, *targets: str) -> None:
        """Make everything that the configuration wants, without running anything."""
        finish(self.folder, targets=targets or ("all",), root=self.checkout)

    def snakemake(self, *args: str, check: bool = True) -> str:
        """Run Snakemake; what it said."""
        return called(self.folder, "--cores", "2", "-s", str(self.checkout / "Snakefile"), *args, check=check)

    def plan(self, *targets: str, config: str | None = None) -> set[str]:
        """What would run now: ``{"cams p-noc", "summary scenes"}``; with several seeds, ``cams p-noc 1``; of shards,
        ``cams p-noc 0/3``."""
        with inside(self.folder), dag(self.checkout / "Snakefile", self.folder, config, frozenset(targets)) as jobs:
            return {named(job) for job in jobs.needrun_jobs() if job.output}

    def listed(self) -> set[str]:
        """The same, as ``wsss plan --jobs`` lists it."""
        said = io.StringIO()
        with inside(self.folder), fresh(), redirect_stdout(said):
            assert main(["plan", "--jobs"]) == 0
            chain = Chain.read(None)
            jobs = [chain.at(folder) for folder in re.findall(r"^  (results/\S+): ", said.getvalue(), re.M)]
        seeds = (job.seed if job.seed != "0" else "" for job in jobs)
        words = ((job.rule, job.kind, job.name or job.dataset, seed) for job, seed in zip(jobs, seeds, strict=True))
        return {" ".join(filter(None, one)) for one in words}


def named(job: Any) -> str:
    """A job of Snakemake as ``Checkout.plan`` calls it."""
    about = job.wildcards_dict
    rule, name = job.rule.name.removeprefix("wsss_"), about.get("name") or about["dataset"]
    shard = f"{about['part']}/{about['parts']}" if "part" in about else ""
    assert bool(shard) == rule.endswith("_shard")
    seed = about.get("seed", "0")
    words = (rule.removesuffix("_shard"), about.get("kind"), name, shard, seed if seed != "0" else "")
    return " ".join(filter(None, words))
