"""What every stage program refuses on its command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsss.errors import WsssError
from wsss.provenance import outputs
from wsss.runtime.program import Stage
from wsss.settings import Classifier
from wsss.store.manifest import write_manifest

REFUSALS = {
    "--settings no.yaml: neither a JSON object nor a readable file": ("--settings", "no.yaml"),
    "--settings: neither JSON nor YAML: ": ("--settings", "{a: [1}"),
    "--settings must be a mapping, not list": ("--settings", "my.yaml"),
    "--settings: objective: missing (allowed: vanilla, ": (),
    "--settings: objective: unknown objective 'vanila'; did you mean 'vanilla'?": (
        "--settings",
        '{"objective": "vanila"}',
    ),
}
"""The words -> the flags that provoke them, in a folder where ``my.yaml`` holds a list."""


@pytest.mark.parametrize("said", REFUSALS)
def test_settings_that_cannot_be_read(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("- 1\n")
    stage = Stage("", settings=Classifier)
    with pytest.raises(WsssError, match=re.escape(said)):
        stage._read_settings(stage.parser.parse_args(["--out", "out", *REFUSALS[said]]))


def test_several_copies_of_a_stage_that_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**processes, "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    stage = Stage("", scattered=True)
    said = "this stage runs as one process, but 2 were started together; give each job its share by --shard I/N"
    with pytest.raises(WsssError, match=said):
        stage._world(stage.parser.parse_args(["--out", "out"]))


def test_an_input_of_which_one_byte_was_changed_is_refused(tmp_path: Path) -> None:
    """Weights have no checksum of their own: without this a training would start from them in silence."""
    folder = tmp_path / "classifiers" / "a"
    (folder / "masks").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(1000))
    (folder / "masks" / "x.png").write_bytes(b"x")
    written = {name: outputs.digest(folder / name) for name in ("model.safetensors", "masks")}
    write_manifest(folder, {"stage": "classifier", "outputs": written, "settings": None})
    stage = Stage("", inputs={"classifier": "a classifier"})
    args = stage.parser.parse_args(["--out", "out", "--classifier", str(folder)])
    assert stage._open_inputs(args) == {"classifier": folder}
    data = bytearray(bytes(1000))
    data[500] = 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(WsssError, match=r"a/model.safetensors: it no longer holds what was written"):
        stage._open_inputs(args)
