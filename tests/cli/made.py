"""Results without any training: every job of a configuration gets the manifest that its stage would write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from wsss.workflow.jobs import Chain, Job
from wsss.workflow.staleness import FILES
from wsss.identity import identity
from wsss.steps import BULK, STEPS
from wsss.store.manifest import digest, write_manifest

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


class Results:
    """A working folder with a configuration and its results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "results" / "scenes" / "s0"
        self.clock = 0

    def configure(self, config: dict[str, Any], name: str = "config.yaml") -> Chain:
        (self.folder / name).write_text(yaml.safe_dump(config, sort_keys=False))
        return Chain.read([name])

    def make(self, chain: Chain, jobs: list[Job] | None = None, **facts: Any) -> None:
        """Write the manifests of jobs, each after those it needs."""
        for job in chain.wanted() if jobs is None else jobs:
            self.job(chain, job, **facts)

    def job(self, chain: Chain, job: Job, **facts: Any) -> Path:
        """Write what one job's stage would, with the keys in its order."""
        folder, settings = self.folder / chain.folder(job), chain.settings(job)
        folder.mkdir(parents=True, exist_ok=True)
        beside = FILES.get(job.rule, ()) if job.rule not in STEPS else BULK.get(STEPS[job.rule].folder, ())
        for name in beside:
            (folder / name).write_text("id,height,width\na,10,20\n" if name == "index.csv" else "")
        self.clock += 1
        inputs = {name: Path(given) for name, given in chain.inputs(job).items()}
        splits = ("train", "val") if job.rule in ("index", "scores") else getattr(settings, "splits", ("train",))
        splits = ("val",) if job.kind in ("classifiers", "segmenters") else splits
        images = {"train": 24, "val": 8}
        counted = {s: images[s] for s in splits} if job.rule in ("index", "scores") else sum(images[s] for s in splits)
        noted = {"scores": len(inputs) - 1} if job.rule in ("summary", "report") else {"images": counted}
        write_manifest(folder, {
            "stage": job.rule,
            "settings": None if settings is None else settings.model_dump(mode="json"),
            "seed": int(job.seed or 0),
            "inputs": {
                n: {"path": os.path.relpath(p, folder), "digest": digest(p / "manifest.json")}
                for n, p in inputs.items()
            },
            **({"dataset": job.dataset, "dropped": 0} if job.rule == "index" else {}),
            **noted,
            **identity(job.rule, settings, int(job.seed or 0)),
            "versions": {"wsss": "0.1.0", "torch": "2.11.0"},
            "device": "A GPU",
            "threads": 2,
            "wall_seconds": 100.0,
            "peak_memory_mib": 2048,
            "made": f"2026-01-01T00:00:{self.clock:02d}+0000",
            **facts,
        })  # fmt: skip
        return folder

    def edit(self, path: str, **facts: Any) -> None:
        """Change a manifest in place, and all that were made from it as if they knew."""
        file = self.folder / "results" / "scenes" / path / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
        for other in sorted(self.folder.rglob("manifest.json"), key=lambda f: json.loads(f.read_text())["made"]):
            about = json.loads(other.read_text())
            for given in about["inputs"].values():
                given["digest"] = digest(other.parent / given["path"] / "manifest.json")
            other.write_text(json.dumps(about))
