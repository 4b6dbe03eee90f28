"""What the rules of inference stages ask: over how many jobs an artefact's images are scattered, and what each needs.

A rule makes its artefact alone; or ``RULE_shard`` makes shares of it, each with a receipt ``OUT/parts/I-of-N.json``,
and the rule puts them together. Snakemake runs a job again when the set of its input files is another one than last
time, and receipts are input files. So an artefact that is up to date keeps the number of shards that it was made with,
whatever its recipe says by now.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss.cli.chain import Chain, Job
from wsss.cli.state import Judge
from wsss.dag import Plan
from wsss.needs import GATHER, NEEDS
from wsss.sharing import Share
from wsss.steps import STEPS
from wsss.store.manifest import NAME


class Scatter:
    """The workflow's view of shares. ``root`` is the checkout, ``files`` are those of the configuration."""

    def __init__(self, plan: Plan, root: Path, files: list[str]) -> None:
        self.plan, self.chain = plan, Chain(plan, files, given=True)
        self.judge = Judge(self.chain, Path(root))

    def shards(self, rule: str, wildcards: Any) -> int:
        """Over how many jobs an artefact is scattered."""
        wanted = self.chain.shards(Job(rule, wildcards.dataset, wildcards.seed, wildcards.name))
        folder = Path(self._folder(rule, wildcards))
        try:
            had: int = json.loads((folder / NAME).read_text(encoding="utf-8")).get("shards", 1)
        except (OSError, ValueError):
            return wanted
        if had == wanted or Path(os.path.abspath(folder)) in self.judge.stale([folder]):
            return wanted
        return had

    def _folder(self, rule: str, wildcards: Any) -> str:
        return f"{self.plan.base(wildcards.dataset, wildcards.seed)}/{STEPS[rule].folder}/{wildcards.name}"

    def inputs(self, rule: str) -> Callable[[Any], dict[str, Any]]:
        """Input function of a rule and of its shards, to be unpacked."""
        plain = self.plan.inputs(rule)

        def get(wildcards: Any) -> dict[str, Any]:
            found = plain(wildcards)
            total = 1 if _is_share(wildcards) else self.shards(rule, wildcards)
            if total > 1:
                folder = Path(self._folder(rule, wildcards))
                found["parts"] = [str(Share(number, total).receipt(folder)) for number in range(total)]
            return found

        return get

    def flags(self, rule: str) -> Callable[[Any, Any], str]:
        """The command's input folders, and which share it makes or how many it puts together."""
        plain = self.plan.flags(rule)

        def get(wildcards: Any, input: Any) -> str:
            if _is_share(wildcards):
                return f"{plain(wildcards, input)} --shard {wildcards.part}/{wildcards.parts}"
            total = len(input.get("parts", ()))
            return plain(wildcards, input) + (f" --gather {total}" if total else "")

        return get

    @staticmethod
    def out(wildcards: Any, output: Any) -> str:
        """The artefact folder: where the first output lies, or what the receipt's folder lies in."""
        folder = Path(output[0]).parent
        return str(folder.parent if _is_share(wildcards) else folder)

    @classmethod
    def state(cls, wildcards: Any, output: Any) -> str:
        """A stage's folder for checkpoints: no output, so Snakemake never deletes it."""
        return str(Path(cls.out(wildcards, output)) / "state")

    @staticmethod
    def gpus(wildcards: Any, input: Any) -> int:
        """GPUs of a job with a network; putting shares together takes none."""
        return 0 if input.get("parts") else 1

    @staticmethod
    def memory(rule: str) -> Callable[[Any, Any, int, int], int]:
        """Megabytes of a job; putting shares together takes little."""

        def get(wildcards: Any, input: Any, attempt: int, threads: int) -> int:
            return (GATHER if input.get("parts") else NEEDS[rule]).memory(wildcards, attempt, threads)

        return get


def _is_share(wildcards: Any) -> bool:
    return getattr(wildcards, "part", None) is not None
