"""What Snakemake would run, asked in this process: a tenth of a second in place of two for ``snakemake -n``.

The parts of Snakemake below its public interface that this needs are few, and all of them stand here. A test holds the
answers against those of true dry runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snakemake import api, workflow
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, WorkflowSettings

from wsss.provenance.files import file_content, tree_content
from wsss.provenance.versions import declared


@contextmanager
def dag(
    snakefile: Path,
    folder: Path,
    config: str | None = None,
    targets: frozenset[str] = frozenset(),
    settings: WorkflowSettings | None = None,
    **resources: Any,
) -> Iterator[Any]:
    """The graph of jobs of a working folder; ``resources``: as on the command line, ``cores=2`` if nothing is given."""
    file_content.cache_clear()  # they hold for one run of Snakemake, and here there are many
    tree_content.cache_clear()
    usual = dict(vars(workflow))  # a Snakefile is run in there, and may use the same names
    declared.cache_clear()
    with api.SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL})) as session:
        opened = session.workflow(
            resource_settings=ResourceSettings(**(resources or {"cores": 2})),
            config_settings=ConfigSettings(configfiles=[Path(config)] if config else []),
            workflow_settings=settings,
            snakefile=snakefile,
            workdir=folder,
        )
        opened.dag(dag_settings=DAGSettings(targets=set(targets)))
        inside = opened._workflow
        inside._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        inside._build_dag()
        yield inside.dag
    vars(workflow).update(usual)


def folders(
    snakefile: Path, folder: Path, config: str | None = None, targets: frozenset[str] = frozenset()
) -> set[str]:
    """The artefact folders that would be made, below ``results``: ``{"scenes/s0/cams/p-noc", "scenes"}``."""
    with dag(snakefile, folder, config, targets) as jobs:
        made = [Path(str(job.output[0])).parent for job in jobs.needrun_jobs() if job.output]
    return {one.relative_to("results").as_posix() for one in made}
