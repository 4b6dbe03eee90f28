"""Snakemake in this process: what it would run in a tenth of a second, and its program without a start of Python.

The parts of Snakemake below its public interface that this needs are few, and all of them stand here. A test holds the
answers against those of true dry runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from snakemake import api, cli, workflow
from snakemake.settings.enums import Quietness
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    GroupSettings,
    OutputSettings,
    ResourceSettings,
    WorkflowSettings,
)

from wsss.provenance.files import corrections_content, file_content, tree_content
from wsss.provenance.versions import declared


@contextmanager
def fresh() -> Iterator[None]:
    """Snakemake may be called: nothing is left of another run of it, and nothing of this one stays."""
    for remembered in (
        corrections_content,
        file_content,
        tree_content,
        declared,
    ):  # they hold for one run, and here there are many
        remembered.cache_clear()
    usual, path = dict(vars(workflow)), list(sys.path)  # a Snakefile is run in there, and may use the same names
    try:
        yield
    finally:
        vars(workflow).update(usual)
        sys.path[:] = path


def called(folder: Path, *args: str, check: bool = True) -> str:
    """``snakemake ARGS`` in a folder; what it said, its jobs included. ``check``: it has to end well; else it has not
    to."""
    before = Path.cwd()
    sys.modules["snakemake.shell"].STDOUT = None  # jobs write where this process does now, not where it did at first
    with tempfile.TemporaryFile("w+") as said, fresh():
        kept = [os.dup(stream) for stream in (1, 2)]
        try:
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            os.chdir(folder)
            with redirect_stdout(said), redirect_stderr(said):
                cli.main(list(args))
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os.chdir(before)
            for stream, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, stream)
                os.close(descriptor)
        said.seek(0)
        text = said.read()
    assert check == (code == 0), text
    return text


@contextmanager
def dag(
    snakefile: Path,
    folder: Path,
    config: str | None = None,
    targets: frozenset[str] = frozenset(),
    settings: WorkflowSettings | None = None,
    components: Mapping[str, int] | None = None,
    **resources: Any,
) -> Iterator[Any]:
    """The graph of jobs of a working folder; ``resources``: as on the command line, ``cores=2`` if nothing is given;
    ``components``: of groups, likewise."""
    with fresh(), api.SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL})) as session:
        opened = session.workflow(
            resource_settings=ResourceSettings(**(resources or {"cores": 2})),
            config_settings=ConfigSettings(configfiles=[Path(config)] if config else []),
            workflow_settings=settings,
            snakefile=snakefile,
            workdir=folder,
        )
        opened.dag(dag_settings=DAGSettings(targets=set(targets)))
        inside = opened._workflow
        if components:
            inside.group_settings, inside.execution_settings = GroupSettings({}, components), ExecutionSettings()
        inside._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        inside._build_dag()
        yield inside.dag


def folders(
    snakefile: Path, folder: Path, config: str | None = None, targets: frozenset[str] = frozenset()
) -> set[str]:
    """The artefact folders that would be made, below ``results``: ``{"scenes/s0/cams/p-noc", "scenes"}``."""
    with dag(snakefile, folder, config, targets) as jobs:
        made = [Path(str(job.output[0])).parent for job in jobs.needrun_jobs() if job.output]
    return {one.relative_to("results").as_posix() for one in made}
