"""What ends a run: summary, report, the tables of explanations and of the study, and what these are made from."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from wsss.config.ablation import Study, layout
from wsss.errors import WsssError
from wsss.steps import OF_RECIPES, SCORED
from wsss.workflow.paths import Places


class Targets(Places):
    """Functions for the rules that put artefacts together, and for the targets of the workflow."""

    def every(self, kind: str, datasets: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
        """(folder of the run, name) of all recipes of a kind, over datasets and seeds."""
        for dataset in self.config.dataset if datasets is None else datasets:
            for seed in self.config.seeds:
                for name in self.names(OF_RECIPES.get(kind, kind)):
                    yield self.base(dataset, seed), name

    def manifests(self, kind: str, datasets: Iterable[str] | None = None) -> list[str]:
        """Manifests of all artefacts of a kind; for ``segmenters``, of their predictions."""
        return [f"{run}/{SCORED[kind]}/{name}/manifest.json" for run, name in self.every(kind, datasets)]

    def summaries(self) -> list[str]:
        """The summary of every dataset: what the default target asks for."""
        return [f"{self.base(dataset)}/summary.md" for dataset in self.config.dataset]

    def reports(self) -> list[str]:
        """The report of every dataset."""
        return [f"{self.base(dataset)}/report.html" for dataset in self.config.dataset]

    def scores(self, dataset: str) -> list[str]:
        """Score folders of a dataset."""
        return [f"{run}/scores/{kind}/{name}" for kind in SCORED for run, name in self.every(kind, [dataset])]

    def summary_inputs(self, wildcards: Any) -> dict[str, Any]:
        """Input function of the rule ``summary``: the index, all scores, and what is pictured."""
        return self._tables("summary", wildcards)

    def report_inputs(self, wildcards: Any) -> dict[str, Any]:
        """Input function of the rule ``report``: likewise."""
        return self._tables("report", wildcards)

    def _tables(self, rule: str, wildcards: Any) -> dict[str, Any]:
        kinds = ("cams", "saliency", "masks", "segmenters")
        pictured = [m for kind in kinds for m in self.manifests(kind, [wildcards.dataset])]
        found = self.put_together(rule, wildcards, "scores", self.scores(wildcards.dataset))
        return {**found, "pictured": list(map(self.mark(rule, wildcards), pictured))}

    def put_together(self, rule: str, wildcards: Any, name: str, folders: list[str]) -> dict[str, Any]:
        """Inputs of a table: the index, and what it puts together."""
        mark = self.mark(rule, wildcards)
        index = f"{self.base(wildcards.dataset)}/index/manifest.json"
        direct = {"index": [mark(index)], name: [mark(f"{folder}/manifest.json") for folder in folders]}
        return direct | self.after(rule, wildcards)

    def summary_flags(self, wildcards: Any, input: Any) -> str:
        """The input folders of the command of ``summary``, and the name of its dataset."""
        before = self.prefix(wildcards, input)
        base = before + self.base(wildcards.dataset)
        flags = ["--index", f"{base}/index", "--dataset", wildcards.dataset, "--results", base]
        scores = [before + folder for folder in self.scores(wildcards.dataset)]
        return shlex.join(flags + (["--scores", *scores] if scores else []))

    def report_flags(self, wildcards: Any, input: Any) -> str:
        """The command line of the report, but for where it is written."""
        before = self.prefix(wildcards, input)
        scores = [before + folder for folder in self.scores(wildcards.dataset)]
        flags = ["--index", f"{before}{self.base(wildcards.dataset)}/index", "--dataset", wildcards.dataset]
        return shlex.join(flags + (["--scores", *scores] if scores else []))

    # --- explanations ---------------------------------------------------------------------------------------------

    def explained(self) -> list[str]:
        """The tables of all explanations; of a dataset without any, none."""
        datasets = self.config.dataset if self.names("explanations") else ()
        return [f"{self.base(dataset)}/explanations/manifest.json" for dataset in datasets]

    def explanations(self, dataset: str) -> list[str]:
        """Folders of all explanations of a dataset."""
        return [f"{run}/explanations/{name}" for run, name in self.every("explanations", [dataset])]

    def explanation_inputs(self, wildcards: Any) -> dict[str, Any]:
        """What the table of the explanations reads."""
        return self.put_together("explanations", wildcards, "explanations", self.explanations(wildcards.dataset))

    def explanation_flags(self, wildcards: Any, input: Any) -> str:
        """The command line of the table of the explanations, but for where it is written."""
        before = self.prefix(wildcards, input)
        base = before + self.base(wildcards.dataset)
        folders = [before + folder for folder in self.explanations(wildcards.dataset)]
        return shlex.join(["--index", f"{base}/index", "--dataset", wildcards.dataset, "--explanations", *folders])

    # --- the study ------------------------------------------------------------------------------------------------

    def studies(self, wildcards: Any = None) -> list[str]:
        """The tables of the ablation study. Raises ``WsssError`` where it does not go with the configuration."""
        if not isinstance(self.study, Study):
            raise WsssError(self.study)
        return [f"{self.base(dataset)}/ablation/manifest.json" for dataset in self.config.dataset]

    def study_scores(self, dataset: str) -> list[str]:
        """Folders of the scores that the study's tables show."""
        pairs = self.study.recipes if isinstance(self.study, Study) else ()
        runs = [self.base(dataset, seed) for seed in self.config.seeds]
        return [f"{run}/scores/{kind}/{name}" for kind, name in pairs for run in runs]

    def study_inputs(self, wildcards: Any) -> dict[str, Any]:
        """Input function of the rule ``study``: the index and the study's scores."""
        return self.put_together("study", wildcards, "scores", self.study_scores(wildcards.dataset))

    def study_flags(self, wildcards: Any, input: Any) -> str:
        """The input folders of the command of ``study``, and the name of its dataset."""
        before = self.prefix(wildcards, input)
        base = before + self.base(wildcards.dataset)
        scores = [before + folder for folder in self.study_scores(wildcards.dataset)]
        words = ["--index", f"{base}/index", "--dataset", wildcards.dataset, "--layout", self.study_layout(wildcards)]
        return shlex.join([*words, "--scores", *scores])

    def study_layout(self, wildcards: Any) -> str:
        """Which score stands where in the study's tables, as JSON; empty without a study."""
        return layout(self.study) if isinstance(self.study, Study) else ""
