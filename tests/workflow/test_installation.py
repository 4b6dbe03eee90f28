"""``envs/install.sh`` without GPU libraries: what it asks of uv, which a small program stands for here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = """#!/bin/sh
echo "$@" >> "$SAID/calls"
case "$1 $2" in
  "venv "*) for folder; do :; done; mkdir -p "$folder/bin"; ln -s "$PYTHON" "$folder/bin/python" ;;
  "pip install") case "$*" in *"-r -"*) cat > "$SAID/pins"; exit "$STATUS" ;; esac ;;
esac
"""
HASH = "    --hash=sha256:"


@pytest.fixture
def install(tmp_path: Path):
    """Runs the script in a copy, with a uv that only takes notes; gives what it said, and the notes."""
    shutil.copytree(ROOT / "envs", tmp_path / "checkout" / "envs")
    programs, said = tmp_path / "bin", tmp_path / "said"
    programs.mkdir()
    said.mkdir()
    (programs / "uv").write_text(UV)
    (programs / "uv").chmod(0o755)

    def call(*words: str, status: int = 0) -> tuple[subprocess.CompletedProcess[str], list[str], list[str]]:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        given = {"SAID": str(said), "STATUS": str(status), "PYTHON": str(python), "CXX": "c++"}
        given |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        command = ["bash", "envs/install.sh", ".venv", sys.executable, "envs/requirements.txt", *words]
        run = subprocess.run(
            command, cwd=tmp_path / "checkout", env=os.environ | given, capture_output=True, text=True, timeout=60
        )
        read = [path.read_text().splitlines() if path.exists() else [] for path in (said / "calls", said / "pins")]
        return run, *read

    return call


def test_the_set_without_gpu_libraries(install) -> None:
    run, calls, pins = install("cpu")
    assert run.returncode == 0, run.stderr
    assert [call for call in calls if "-r" in call] == ["pip install --torch-backend cpu --no-deps -r -"]
    wanted, free, name = [], {"torch", "torchvision"}, ""
    for line in (ROOT / "envs/requirements.txt").read_text().splitlines():  # one at a time, by the name it belongs to
        if not line.startswith(" "):
            name = line.split("==")[0]
        if name.split("-")[0] in ("nvidia", "cuda", "triton") or (name in free and line.startswith(HASH)):
            continue
        wanted.append(line.rstrip(" \\") if name in free else line)
    assert pins == wanted
    assert not re.search("nvidia|cuda|triton", "\n".join(pins)) and f"torch=={version('torch')}" in pins
    hashed = {line.split("==")[0] for line, after in zip(pins, [*pins[1:], ""], strict=True) if after.startswith(HASH)}
    assert {line.split("==")[0] for line in pins if "==" in line} - hashed == free


def version(package: str) -> str:
    pins = (ROOT / "envs/requirements.txt").read_text()
    return re.search(rf"^{package}==(\S+)", pins, re.M)[1]


def test_all_hashes_are_asked_for_otherwise(install) -> None:
    run, calls, pins = install()
    assert run.returncode == 0 and not pins
    assert [call for call in calls if "-r" in call] == ["pip install --require-hashes -r envs/requirements.txt"]


def test_where_there_is_no_torch_for_cpus(install) -> None:
    """pip is not tried: by the name alone it would fetch the one with GPU libraries."""
    run, calls, _ = install("cpu", status=1)
    assert run.returncode == 1 and "leave CPU=1 out" in run.stderr and "trying pip" not in run.stderr
    assert not [call for call in calls if "-e ." in call]


def test_another_word(install) -> None:
    run, calls, _ = install("gpu")
    assert run.returncode == 1 and "the fourth word is cpu or nothing, not gpu" in run.stderr and not calls


@pytest.mark.parametrize("given, words", [((), ""), (("CPU=1",), "cpu"), (("TORCH=cu126",), "")])
def test_make_passes_it_on(given: tuple[str, ...], words: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    dry = subprocess.run(
        [make, "-n", "-B", "env", "VENV=elsewhere", *given], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = [line for line in dry.stdout.splitlines() if "install.sh" in line]
    pins = "envs/requirements-cu126.txt" if "TORCH=cu126" in given else "envs/requirements.txt"
    assert line.split() == ["bash", "envs/install.sh", '"elsewhere"', '"python3"', f'"{pins}"', *words.split()]
