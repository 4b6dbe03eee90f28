"""What ``wsss run`` shows while it runs: a logger plugin of Snakemake (``--logger wsss``), which finds it by its name.

A line per finished job, on a terminal a last line that tells what is at work and what is left, the end of its log where
a job fails, and the result at the end. Snakemake's own log goes to its file as ever; ``snakemake`` without the flag is
not touched. Nothing here imports ``wsss``: the workflow puts its own copy of that first on the path later on.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_wsss.screen import Screen

VARIABLE = "WSSS_SCREEN"
"""Environment variable in which ``wsss run`` says what it knows, as JSON: ``seconds`` (folder of an artefact to what
its job is expected to take), ``results`` (folders of datasets whose result is told at the end)."""


class LogHandler(LogHandlerBase):
    """Tells a ``Screen`` what Snakemake's records mean."""

    def __post_init__(self) -> None:
        try:
            known = json.loads(os.environ.get(VARIABLE, "{}"))
        except ValueError:
            known = {}
        self.screen = Screen(sys.stderr, known.get("seconds", {}), known.get("results", []))

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        event, facts = getattr(record, "event", None), record.__dict__
        if event == LogEvent.RUN_INFO:
            self.screen.planned(facts.get("stats") or {})
        elif event == LogEvent.JOB_INFO:
            title = facts.get("rule_msg") or facts["rule_name"]
            self.screen.begun(facts["jobid"], title, list(facts.get("output") or ()), list(facts.get("log") or ()))
        elif event == LogEvent.JOB_FINISHED:
            self.screen.finished(facts["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self.screen.failed(facts["jobid"], list(facts.get("log") or ()))
        elif event == LogEvent.GROUP_ERROR:
            for job in facts.get("job_error_info") or ():
                self.screen.failed(job["jobid"], list(job.get("log") or ()))
        elif event == LogEvent.ERROR:
            self.screen.error(record.getMessage())
        elif event is None:
            self.screen.said(record.getMessage(), record.levelno)

    def close(self) -> None:
        """The end of the run."""
        self.screen.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own lines."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """No: Snakemake's log has its file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Every record is looked at."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Records are not written as they are."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """No."""
        return False
