"""A copy of the checkout whose stages cost nothing, and what Snakemake would run in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "workflow", "stages", "wsss", "envs")
MESSAGES = {
    r"Checking dataset (\S+)": "index {}",
    r"Training classifier (\S+) \((.*), seed (\d+)\)": "classifier {}",
    r"Class activation maps (\S+) \((.*), seed (\d+)\)": "cams {}",
    r"Pseudo masks (\S+) \((.*), seed (\d+)\)": "masks {}",
    r"Putting maps together: (\S+) \((.*), seed (\d+)\)": "ensemble {}",
    r"Taking in maps made elsewhere: (\S+) \((.*), seed (\d+)\)": "external_cams {}",
    r"Training saliency (\S+) \((.*), seed (\d+)\)": "saliency {}",
    r"Saliency maps (\S+) \((.*), seed (\d+)\)": "saliency_maps {}",
    r"Saliency masks (\S+) \((.*), seed (\d+)\)": "saliency_masks {}",
    r"Affinity labels (\S+) \((.*), seed (\d+)\)": "affinity_labels {}",
    r"Training affinity (\S+) \((.*), seed (\d+)\)": "affinity {}",
    r"Random walk (\S+) \((.*), seed (\d+)\)": "walk {}",
    r"Masks by vote (\S+) \((.*), seed (\d+)\)": "vote {}",
    r"Taking in masks made elsewhere: (\S+) \((.*), seed (\d+)\)": "external_masks {}",
    r"Training segmentation network (\S+) \((.*), seed (\d+)\)": "segmenter {}",
    r"Predicting with segmentation network (\S+) \((.*), seed (\d+)\)": "predictions {}",
    r"Scoring (\S+ \S+) \((.*), seed (\d+)\)": "scores {}",
    r"Summary of (\S+)": "summary {}",
    r"Explanations (\S+) \((.*), seed (\d+)\)": "explanation {}",
    r"Table of the explanations \((\S+)\)": "explanations {}",
    r"Report of (\S+)": "report {}",
    r"Tables of the ablation study \((\S+)\)": "study {}",
}


class House:
    """A working folder with a checkout and a configuration."""

    def __init__(self, folder: Path, checkout: Path | None = None) -> None:
        self.folder, self.checkout = folder, checkout or folder

    @classmethod
    def build(cls, folder: Path, config: dict[str, Any]) -> House:
        ignore = shutil.ignore_patterns("__pycache__")
        folder.mkdir(parents=True)
        for part in PARTS:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part, **({"ignore": ignore} if source.is_dir() else {}))
        shutil.copy2(Path(__file__).with_name("fake_house.py"), folder / "stages" / "_house.py")
        house = cls(folder)
        house.configure(config)
        return house

    def copy(self, folder: Path) -> House:
        shutil.copytree(self.folder, folder)
        return House(folder)

    def configure(self, config: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a piece of a file, which must be there."""
        text = (self.folder / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        (self.folder / path).write_text(text.replace(old, new, 1))

    def snakemake(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", str(self.checkout / "Snakefile"), *args]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        if check and done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done

    def plan(self, *args: str) -> set[str]:
        """What would run now: ``{"cams p-noc", "summary scenes"}``; with several seeds, ``cams p-noc 1``; of shards,
        ``cams p-noc 0/3``."""
        done = self.snakemake("-n", *args)
        jobs = re.findall(r"^(?:Job \d+|localjob \d+): (.*)$", done.stdout + done.stderr, re.M)
        plan = set()
        for job in jobs:
            share = re.search(r", shard (\d+/\d+)", job)
            job = job.replace(share[0], "") if share else job
            for message, name in MESSAGES.items():
                if found := re.fullmatch(message, job):
                    seed = found.groups()[-1] if found.re.groups == 3 and found.groups()[-1] != "0" else ""
                    plan.add(" ".join(filter(None, (name.format(found[1]), share and share[1], seed))))
                    break
            else:
                raise AssertionError(f"a job without a known message: {job}")
        return plan
