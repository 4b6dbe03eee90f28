"""Results without any training: every job of a configuration gets the manifest that its stage would write."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.workflow import checkout
from tests.workflow.finished import artefact
from wsss.provenance.files import corrections_content, file_content, tree_content
from wsss.provenance.versions import declared
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.staleness import Staleness

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8}},
    "classifiers": {"vanilla": {"objective": "vanilla"}, "p-noc": {"objective": "p-noc", "ordinary": "vanilla"}},
    "cams": {"vanilla": {"classifier": "vanilla"}, "p-noc": {"classifier": "p-noc", "scales": [1.0]}},
    "masks": {"p-noc": {"cams": "p-noc", "crf": "labels-1", "threshold": {"policy": "calibrated"}}},
    "segmenters": {"p-noc": {"masks": "p-noc"}},
    "defaults": {"classifiers": {"epochs": 2}},
}


def changed(*path: str, value: Any) -> dict[str, Any]:
    """The configuration with one value changed."""
    return checkout.changed(CONFIG, *path, value=value)


def listed(said: str) -> list[str]:
    """The folders of the jobs that ``wsss plan --jobs`` lists."""
    return re.findall(r"^  (results/\S+): ", said, re.M)


def fresh() -> None:
    """As in a new process, nothing is known of files."""
    for known in (corrections_content, file_content, tree_content, declared):
        known.cache_clear()


class Results:
    """A working folder with a configuration and its results."""

    def __init__(self, folder: Path, clock: int = 0) -> None:
        self.folder, self.run = folder, folder / "results" / "scenes" / "s0"
        self.clock = clock

    def configure(self, config: dict[str, Any], name: str = "config.yaml") -> Chain:
        (self.folder / name).write_text(yaml.safe_dump(config, sort_keys=False))
        return Chain.read([name])

    def make(self, chain: Chain, jobs: list[Job] | None = None, **facts: Any) -> None:
        """Write the manifests of jobs, each after those it needs."""
        for job in chain.wanted() if jobs is None else jobs:
            self.job(chain, job, **facts)

    def job(self, chain: Chain, job: Job, **facts: Any) -> Path:
        """Write what one job's stage would; ``facts`` are told of its run."""
        self.clock += 1
        settings, splits = chain.settings(job), ("train", "val")
        if job.rule not in ("index", "scores"):
            splits = getattr(settings, "splits", ("train",))
        splits = ("val",) if job.kind in ("classifiers", "segmenters") else splits
        images = {"train": 24, "val": 8}
        counted = {s: images[s] for s in splits} if job.rule in ("index", "scores") else sum(images[s] for s in splits)
        together = job.rule in ("summary", "report")
        noted = {"scores": len(chain.inputs(job)) - 1} if together else {"images": counted}
        noted |= {"dataset": job.dataset, "dropped": 0} if job.rule == "index" else {}
        told = {"versions": {"wsss": "0.1.0"}, "made": f"2026-01-01T00:00:{self.clock:02d}+0000", **facts}
        return artefact(Staleness(chain, ROOT), job, noted, **told)

    def age(self, path: str = "") -> None:
        """Rewrite the manifest of an artefact, or of all, as the project wrote it before results had an identity."""
        below = self.folder / "results" / "scenes" / path
        files = [below / "manifest.json"] if path else sorted(below.rglob("manifest.json"))
        for file in (one for one in files if ".kept" not in one.parts):
            about = json.loads(file.read_text())
            dropped = {"declared", "flags", "files", "identity", "outputs", "content", "inputs"}
            old = {key: value for key, value in about.items() if key not in dropped}
            old["inputs"] = {
                name: {"path": one["path"], "digest": hashlib.sha256(one["path"].encode()).hexdigest()}
                for name, one in about["inputs"].items()
            }
            run = json.loads(file.with_name("run.json").read_text())
            mine = {"content": about["files"]} if about["files"] else {}
            file.write_text(json.dumps({**old, "code": "c0de" * 4, **mine, **run}))
            file.with_name("run.json").unlink()
            file.with_name(".manifest.json").unlink(missing_ok=True)

    def read(self, path: str) -> dict[str, Any]:
        """What the manifest of an artefact says, and nothing that is told of its run."""
        found: dict[str, Any] = json.loads((self.folder / "results" / "scenes" / path / "manifest.json").read_text())
        return found

    def edit(self, path: str, **facts: Any) -> None:
        """Change what is recorded of an artefact; what it holds stays the same."""
        folder = self.folder / "results" / "scenes" / path
        for file in (folder / "run.json", folder / "manifest.json"):
            known = json.loads(file.read_text())
            file.write_text(
                json.dumps(known | {k: v for k, v in facts.items() if file.name == "run.json" or k in known})
            )
