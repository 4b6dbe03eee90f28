"""What a plan costs: processor time and memory of a dry run over COCO's sizes, before anything is made, when everything
is, and after one setting changed.

    python -m benchmarks.planning --recipes 30 --seeds 5                  31,000 jobs
    python -m benchmarks.planning --snakefile OTHER/Snakefile             another checkout, before anything is made

Each recipe is a classifier, its maps, masks and segmentation network with predictions, the images shared by 64 jobs.
Finished results are manifests without files beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wsss.provenance.outputs import content
from wsss.store.manifest import write_manifest
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.staleness import Staleness

SHARDS = 64


def configuration(recipes: int, seeds: int) -> dict[str, Any]:
    """So many recipes of each kind."""
    names = [f"r{number}" for number in range(recipes)]
    return {
        "dataset": "coco",
        "seeds": list(range(seeds)),
        "datasets": {"coco": {"kind": "coco", "root": "coco"}},
        "classifiers": {name: {"objective": "vanilla"} for name in names},
        "cams": {name: {"classifier": name, "shards": SHARDS} for name in names},
        "masks": {name: {"cams": name, "shards": SHARDS} for name in names},
        "segmenters": {name: {"masks": name, "predict": {"shards": SHARDS}} for name in names},
    }


def finish(file: str) -> int:
    """Write the manifest of every artefact of a configuration in this folder; returns how many."""
    chain = Chain.read([file])
    staleness = Staleness(chain, checkout())
    jobs = chain.wanted()
    for job in jobs:
        folder = Path(os.path.abspath(chain.folder(job)))
        staleness.forget(folder)
        state, outputs = staleness.state(folder), {}
        inputs = {
            name: {"path": os.path.relpath(one.folder, folder), "identity": one.identity, "content": one.content}
            for name, one in staleness.inputs_of(folder).items()
        }
        settings = chain.settings(job)
        whole = None if settings is None else settings.model_dump(mode="json")
        about = {**state.about, "settings": whole, "identity": state.identity, "inputs": inputs, "outputs": outputs}
        write_manifest(folder, {**about, "content": content({"": str(state.identity)})}, {"wall_seconds": 60.0})
        staleness.forget(folder)
    Path(f"{chain.base('coco')}/summary.md").touch()
    Path(f"{chain.base('coco')}/summary.csv").touch()
    Path(f"{chain.base('coco')}/report.html").touch()
    Path(f"{chain.base('coco')}/report/pictures.csv").touch()
    Path(f"{chain.base('coco')}/panels").mkdir()
    return len(jobs)


def dry_run(snakefile: Path, file: str) -> str:
    """``JOBS jobs, CPU s, MB``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(snakefile),
        "--configfile",
        file,
        "--cores",
        "8",
        "-n",
        "all",
    ]
    done = subprocess.run([*command, "--quiet", "rules"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = re.search(r"^total\s+(\d+)", done.stdout + done.stderr, re.MULTILINE)
    return f"{found[1] if found else 0} jobs, {seconds:.0f} s of processor time, {after.ru_maxrss // 1024} MB at most"


def main() -> None:
    """Print a line for each state."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--snakefile", type=Path, help="of another checkout (default: this one's)")
    args = parser.parse_args()
    root = checkout()
    snakefile = args.snakefile or (root / "Snakefile" if root else Path("Snakefile"))
    config = configuration(args.recipes, args.seeds)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("config.json").write_text(json.dumps(config))
        print("nothing made:   ", dry_run(snakefile.resolve(), "config.json"), flush=True)
        if args.snakefile is None:
            print("artefacts:      ", finish("config.json"), flush=True)
            print("everything made:", dry_run(snakefile.resolve(), "config.json"), flush=True)
            config["classifiers"]["r0"]["lr"] = 0.05
            Path("config.json").write_text(json.dumps(config))
            print("one lr changed: ", dry_run(snakefile.resolve(), "config.json"), flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
