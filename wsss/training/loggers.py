"""Training curves for other programs to show: event files of TensorBoard, a file store of MLflow.

Both are views of metrics.jsonl. They are made anew from its records whenever a training begins or resumes, so what a
killed run logged beyond its checkpoint stands in them as little as in the metrics, and no step stands twice. They take
no part in the result.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.runtime.run import Run
from wsss.settings import TrainingSettings
from wsss.system.files import atomic_path

MODULES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}
"""Value of the setting -> module that it needs. Extras of this project have the names of the values."""
EVENTS = "tensorboard"
"""TensorBoard's folder, in the artefact folder."""
STORE = Path("mlruns")
"""MLflow's file store, in the working directory, where MLflow itself looks for one."""
EXPERIMENT = "wsss"
OFFLINE = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Variables that MLflow reads when it is imported: files are enough here, and nothing goes over the network."""


class Logger:
    """Takes the records of metrics.jsonl; this one forgets them."""

    def record(self, record: dict[str, Any]) -> None:
        """Log one record: ``step``, and a number for every other key."""

    def close(self, status: str) -> None:
        """End the log. ``status``: FINISHED, KILLED (a signal) or FAILED."""


class TensorBoard(Logger):
    """Event files beside the weights: each key is a scalar of that name."""

    def __init__(self, run: Run) -> None:
        self.writer = import_module(MODULES["tensorboard"]).SummaryWriter(str(run.out / EVENTS))

    def record(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, record["step"])
        self.writer.flush()

    def close(self, status: str) -> None:
        self.writer.close()


class Mlflow(Logger):
    """A run in the file store, called like the artefact folder: each key is a metric, each setting a parameter.

    The run's number is kept in the state folder until the artefact is whole; a training that resumes deletes that run
    and begins another, which takes over its records.
    """

    def __init__(self, settings: TrainingSettings, run: Run) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        STORE.mkdir(exist_ok=True)
        with (STORE / ".lock").open("w") as lock:  # trainings that begin at once must not make two experiments
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            self.client = MlflowClient(tracking_uri=STORE.resolve().as_uri())
            known = self.client.get_experiment_by_name(EXPERIMENT)
            experiment = known.experiment_id if known else self.client.create_experiment(EXPERIMENT)
        mark = run.state / "mlflow-run"
        if mark.is_file():
            with contextlib.suppress(MlflowException):  # somebody else deleted it
                self.client.delete_run(mark.read_text())
        out = os.path.relpath(run.out)
        tags = {"wsss.runtime.program": run.stage, "wsss.seed": str(run.args.seed)}
        self.id = self.client.create_run(experiment, run_name=out, tags=tags).info.run_id
        with atomic_path(mark) as path:
            path.write_text(self.id)
        run.leftovers.append(mark)
        for name, value in json.loads(settings.canonical()).items():
            self.client.log_param(self.id, name, value if isinstance(value, str) else json.dumps(value))

    def record(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "step":
                self.client.log_metric(self.id, name, value, step=record["step"])

    def close(self, status: str) -> None:
        self.client.set_terminated(self.id, status)


def check_log(log: str | None) -> None:
    """Raise ``WsssError`` if the package that a value of the setting ``log`` needs cannot be imported."""
    if log is None:
        return
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    try:
        import_module(MODULES[log])
    except ImportError as error:
        raise WsssError(f"log: {log} needs a package that is not here ({error}); install wsss[{log}]") from error


@contextlib.contextmanager
def logger(settings: TrainingSettings | None, run: Run, metrics: Path) -> Iterator[Logger]:
    """The logger that the settings ask for, which knows the records of ``metrics`` (JSON lines) already; it is closed
    in the end. Without settings one that forgets."""
    log: Logger = Logger()
    if settings is not None:
        shutil.rmtree(run.out / EVENTS, ignore_errors=True)  # of another training, or of this one and told again below
    if settings is not None and settings.log is not None:
        log = TensorBoard(run) if settings.log == "tensorboard" else Mlflow(settings, run)
    status = "FAILED"
    try:
        if metrics.is_file():
            for line in metrics.read_text(encoding="utf-8").splitlines():
                log.record(json.loads(line))
        yield log
        status = "FINISHED"
    finally:
        log.close("KILLED" if run.stop is not None else status)
