"""What ``wsss run`` shows: the plugin from Snakemake's records, and the words and variables that turn it on."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_interface_logger_plugins.common import LogEvent

import wsss.cli.run
from snakemake_logger_plugin_wsss import VARIABLE, LogHandler
from snakemake_logger_plugin_wsss.screen import Screen, last_lines, spell
from tests.cli.finished_run import CONFIG, ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


STATS = {"index": 1, "classifier": 1, "cams": 1, "default": 1, "total": 4}
INDEX, NET = "results/photos/index", "results/photos/s0/classifiers/a"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def screen(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.chdir(tmp_path)
    return Screen(io.StringIO(), {}, [], clock)


def lines(screen: Screen) -> list[str]:
    return screen.stream.getvalue().splitlines()


def do(screen: Screen, clock: Clock, id: int, title: str, folder: str, seconds: float = 5) -> None:
    screen.begun(id, title, [f"{folder}/manifest.json"], [f"{id}.log"])
    clock.time += seconds
    screen.finished(id)


def test_a_line_per_job(screen: Screen, clock: Clock) -> None:
    screen.planned(STATS)
    do(screen, clock, 3, "index (photos)", INDEX)
    do(screen, clock, 2, "classifier a (photos, seed 0)", NET, 240)
    do(screen, clock, 1, "CAMs a (photos, seed 0)", "results/photos/s0/cams/a", 5400)
    do(screen, clock, 0, "default", "")
    screen.planned(STATS)  # Snakemake tells the table again at the end of a dry run
    screen.close()
    assert lines(screen) == [
        "3 jobs to do", "[1/3] index (photos)  5 s", "[2/3] classifier a (photos, seed 0)  4 min",
        "[3/3] CAMs a (photos, seed 0)  90 min", "3 jobs done.",
    ]  # fmt: skip


def test_a_job_that_fails(screen: Screen, clock: Clock) -> None:
    Path("2.log").write_text("".join(f"line {k}\n" for k in range(30)) + "error: no room\n")
    screen.planned(STATS)
    do(screen, clock, 3, "index (photos)", INDEX)
    screen.begun(2, "classifier a", [f"{NET}/manifest.json"], ["2.log"])
    screen.failed(2, ["2.log"])
    screen.error("WorkflowError: At least one job did not complete successfully.")
    screen.said("Complete log(s): /x/raw.log", logging.INFO)
    screen.close()
    said = lines(screen)
    assert said[2] == "FAILED classifier a" and said[3] == "    line 19" and "    error: no room" in said
    assert "  its whole log: 2.log" in said and not any("WorkflowError" in line for line in said)
    assert said[-2].startswith(
        "1 job failed, 1 of 3 jobs done: fix what the log says, then give the same command again"
    )
    assert said[-1] == "Snakemake's log: /x/raw.log"


def test_an_error_before_any_job(screen: Screen) -> None:
    screen.error("classifiers.a: unknown key")
    screen.close()
    assert lines(screen) == ["classifiers.a: unknown key"]


def test_stopped(screen: Screen, clock: Clock) -> None:
    screen.planned(STATS)
    do(screen, clock, 3, "index (photos)", INDEX)
    screen.said("Terminating processes on user request, this might take some time.", logging.INFO)
    screen.said("Select jobs to execute...", logging.INFO)
    screen.close()
    screen.close()
    assert lines(screen)[2:] == [
        "Terminating processes on user request, this might take some time.",
        "stopped, 1 of 3 jobs done: give the same command again, what is done is kept",
    ]


STOPS = {
    "a stage": "classifier: stopped by Ctrl-C; the same command resumes from what is saved\n",
    "several processes": "classifier: stopped by SIGTERM; state is saved, the same command resumes\n" * 2 + "rank 1\n",
    "before it began": "Traceback (most recent call last):\n  import torch\nKeyboardInterrupt\n",
}


@pytest.mark.parametrize("log", STOPS.values(), ids=STOPS)
def test_a_job_that_was_stopped_did_not_fail(screen: Screen, clock: Clock, log: str) -> None:
    Path("2.log").write_text("epoch 1\n" + log)
    screen.planned(STATS)
    do(screen, clock, 3, "index (photos)", INDEX)
    screen.begun(2, "classifier a", [f"{NET}/manifest.json"], ["2.log"])
    screen.failed(2, ["2.log"])
    screen.error("WorkflowError: At least one job did not complete successfully.")
    screen.close()
    assert lines(screen)[2:] == [
        "stopped classifier a", "stopped, 1 of 3 jobs done: give the same command again, what is done is kept",
    ]  # fmt: skip


def test_a_job_that_failed_while_another_was_stopped(screen: Screen) -> None:
    Path("1.log").write_text("error: no room\n")
    Path("2.log").write_text(STOPS["a stage"])
    screen.planned(STATS)
    for id in (1, 2):
        screen.begun(id, f"job {id}", [f"{id}/manifest.json"], [f"{id}.log"])
        screen.failed(id, [f"{id}.log"])
    screen.close()
    assert "FAILED job 1" in lines(screen) and "stopped job 2" in lines(screen)
    assert lines(screen)[-1].startswith("1 job failed, 0 of 3 jobs done: fix what the log says")


def test_nothing_to_do_and_warnings(screen: Screen) -> None:
    screen.said("a warning", logging.WARNING)
    screen.said("Nothing to be done (all requested files are present and up to date).", logging.INFO)
    screen.close()
    assert lines(screen) == ["a warning", "Everything is up to date."]


def test_time_left(clock: Clock) -> None:
    screen = Screen(io.StringIO(), {INDEX: 10, NET: 300, "results/photos/s0/cams/a": 60}, [], clock)
    screen.planned(STATS)
    assert lines(screen) == ["3 jobs to do, about 6 min"]
    do(screen, clock, 3, "index (photos)", INDEX)
    screen.begun(2, "classifier a", [f"{NET}/manifest.json"], [])
    clock.time += 100
    assert screen.status() == "[1/3, about 4 min left] classifier a: 2 min"
    clock.time += 900
    assert screen.status().startswith("[1/3, about 60 s left]"), "a job that takes longer leaves the others"
    del screen.seconds["results/photos/s0/cams/a"]
    assert screen.status().startswith("[1/3] "), "it is not known of every job"


def test_how_far_a_job_is(screen: Screen, clock: Clock) -> None:
    screen.planned(STATS)
    screen.begun(2, "classifier a", [f"{NET}/manifest.json"], ["2.log"])
    clock.time += 7
    assert screen.status() == "[0/3] classifier a: 7 s"
    Path("2.log").write_text("begins\ntraining 3/9, 1.00/s, 6 s left \n\n")
    assert screen.status() == "[0/3] classifier a: training 3/9, 1.00/s, 6 s left"


def test_a_terminal_has_a_last_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("snakemake_logger_plugin_wsss.screen.EVERY", 0.01)
    screen = Screen(Terminal(), {}, [], clock)
    screen.planned(STATS)
    screen.begun(2, "classifier a", [f"{NET}/manifest.json"], [])
    for _ in range(500):
        if "[0/3] classifier a: 0 s" in screen.stream.getvalue():
            break
        screen._ended.wait(0.01)
    screen.finished(2)
    screen.close()
    said = screen.stream.getvalue()
    assert "\r\x1b[K[0/3] classifier a: 0 s" in said and "\r\x1b[K\x1b[32m[1/3]\x1b[0m classifier a" in said
    assert said.endswith("what is done is kept\n")


def test_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert last_lines(path, 3) == []
    path.write_bytes(b"x" * 9000 + b"\none\n\n 10%\r 50%\r\ntwo\r\n")
    assert last_lines(path, 2) == [" 50%", "two"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.4, "3 s"), (99, "99 s"), (100, "2 min"), (5969, "99 min"), (9000, "2.5 h")]
)
def test_spelt(seconds: float, said: str) -> None:
    assert spell(seconds) == said


class TestHandler:
    """Records as Snakemake makes them."""

    @pytest.fixture
    def handler(self, monkeypatch: pytest.MonkeyPatch) -> LogHandler:
        monkeypatch.setenv(VARIABLE, json.dumps({"seconds": {NET: 3}, "results": []}))
        handler = LogHandler(SimpleNamespace(), None)
        handler.screen.stream = io.StringIO()
        return handler

    def test_events(self, handler: LogHandler) -> None:
        assert handler.writes_to_stream and not handler.writes_to_file and handler.has_filter
        logger = logging.Logger("snakemake")
        logger.addHandler(handler)
        logger.info("Building DAG of jobs...")
        logger.info("table", extra={"event": LogEvent.RUN_INFO, "stats": {"classifier": 2, "all": 1, "total": 3}})
        facts = {"rule_name": "classifier", "output": [f"{NET}/manifest.json"], "log": ["a.log"]}
        for id, title in ((1, "classifier a"), (2, None)):
            logger.info("x", extra={"event": LogEvent.JOB_INFO, "jobid": id, "rule_msg": title, **facts})
        logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 3})
        logger.info("Finished", extra={"event": LogEvent.JOB_FINISHED, "job_id": 1})
        logger.error("Error", extra={"event": LogEvent.JOB_ERROR, "jobid": 2, "log": ["a.log"]})
        logger.error("boom", extra={"event": LogEvent.ERROR, "exception": "WorkflowError"})
        handler.close()
        said = handler.screen.stream.getvalue()
        assert "[1/2] classifier a  0 s\nFAILED classifier\n  its whole log: a.log\n1 job failed, 1 of 2" in said
        assert "Building" not in said and "boom" not in said

    def test_a_variable_that_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "{")
        LogHandler(SimpleNamespace(), None).close()

    def test_it_imports_nothing_of_ours(self) -> None:
        """The workflow puts its own copy of the library first on the path, later."""
        code = "import sys, snakemake_logger_plugin_wsss\nprint([k for k in sys.modules if k.split('.')[0] == 'wsss'])"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


WORKFLOW = """
rule all:
    input: "b/manifest.json"

rule first:
    output: "a/manifest.json"
    message: "first step (x)"
    shell: "touch {output}"

rule second:
    input: "a/manifest.json"
    output: "b/manifest.json"
    log: "second.log"
    message: "second step (x)"
    shell: "({config[do]}) > {log}"
"""


STAGE = """
import pathlib, sys, time
try:
    pathlib.Path("begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    print("stage: stopped by Ctrl-C; the same command resumes from what is saved", flush=True)
    sys.exit(130)
"""


def test_snakemake_finds_and_feeds_it(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    env = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: json.dumps({"seconds": {"a": 1, "b": 2}})}

    def run(do: str) -> tuple[int, list[str]]:
        words = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "wsss", "--config", f"do={do}"]
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.returncode, done.stderr.splitlines()

    code, said = run("echo no room; false")
    assert code == 1 and said[0] == "2 jobs to do, about 3 s" and said[1].startswith("[1/2] first step (x)  ")
    assert said[2:5] == ["FAILED second step (x)", "    no room", "  its whole log: second.log"]
    assert said[-2].startswith("1 job failed, 1 of 2 jobs done: fix") and said[-1].endswith(".snakemake.log")
    code, said = run("echo yes; touch b/manifest.json")
    assert code == 0 and said[0] == "1 job to do, about 3 s" and said[-1] == "1 job done."
    assert run("")[1] == ["Everything is up to date."]


def test_ctrl_c_in_snakemake(tmp_path: Path) -> None:
    """As a terminal sends it: to Snakemake and to all that it started."""
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "stage.py").write_text(STAGE)
    env = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: "{}"}
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "wsss"]
    words += ["--config", f"do={sys.executable} stage.py 2>&1"]
    # what a shell starts in the background ignores SIGINT, and so would all that these tests start
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True, process_group=0, preexec_fn=heard
    ) as process:
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode != 0 and not [line for line in said if "FAILED" in line or "failed" in line], said
    assert [line for line in said if line.startswith("stopped, 1 of 2 jobs done: give the same command again")], said


class TestRun:
    """When ``wsss run`` turns it on."""

    @pytest.fixture
    def called(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", "/mine")
        monkeypatch.setenv(VARIABLE, "")
        Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
        words: list[str] = []
        monkeypatch.setattr(os, "execv", lambda program, argv: words.extend(argv[3:]))

        def call(*args: str, terminal: bool = False) -> list[str]:
            words.clear()
            monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
            wsss.cli.main(["run", *args])
            return list(words)

        return call

    ON = ["--logger", "wsss", "--rerun-incomplete"]

    def test_on_a_terminal_or_when_asked_for(self, called) -> None:
        for words in (called(terminal=True), called("--short")):
            assert words[-3:] == self.ON
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/mine"]
        assert json.loads(os.environ[VARIABLE]) == {"seconds": {}, "results": ["results/scenes"]}

    def test_not_elsewhere(self, called) -> None:
        assert "--logger" not in called() and os.environ[VARIABLE] == ""
        for flags in (["--plain"], ["-n"], ["-q"], ["--printshellcmds"], ["--logger", "other"]):
            assert "wsss" not in called(*flags, terminal=True)

    def test_a_part_of_the_run_has_no_result(self, called) -> None:
        assert called("all_masks", terminal=True)[-1] == "all_masks"
        assert json.loads(os.environ[VARIABLE])["results"] == []

    def test_expected_times_are_those_of_plan(self, results, called, tmp_path: Path) -> None:
        config = {**CONFIG, "masks": {"p-noc": {"cams": "p-noc", "crf": "labels-1"}}}
        results.configure(config)
        assert called("--short", "--yes")
        seconds = json.loads(os.environ[VARIABLE])["seconds"]
        assert seconds["results/scenes/s0/masks/p-noc"] > 0 and "results/scenes/s0/cams/p-noc" not in seconds
