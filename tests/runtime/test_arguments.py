"""``--settings``, ``--set`` and the part of ``--help`` that lists settings; ``-q`` and ``-v``."""

from __future__ import annotations

import logging

import pytest

from wsss.errors import WsssError
from wsss.runtime.arguments import read_settings, settings_help
from wsss.runtime.program import Stage
from wsss.settings import Classifier, CrfSettings, MasksSettings, classes_of
from wsss.system.log import log
from wsss.system.progress import Progress


def test_changes_go_over_the_settings(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("{cams: a, threshold: {value: 0.2}}")
    changed = ("threshold.value=0.4", "crf.iterations=5", "splits=[val]")
    settings = read_settings(MasksSettings, str(file), changed)
    assert settings == MasksSettings(cams="a", threshold={"value": 0.4}, crf=CrfSettings(iterations=5), splits=("val",))
    assert read_settings(Classifier, '{"objective": "vanilla"}', ["objective=puzzle", "lr=1e-3"]).lr == 1e-3


@pytest.mark.parametrize(
    "change, said",
    [
        ("lr", "--set lr: write KEY=VALUE"),
        ("=3", "--set =3: write KEY=VALUE"),
        ("lr=[", r"--set lr=\[: the value is not YAML"),
        ("cams.lr=1", "--set cams.lr=1: 'cams' is 'a' here and no block of keys"),
        ("tresholdd.value=1", "tresholdd: unknown key; did you mean 'threshold'?"),
    ],
)
def test_what_cannot_be_changed_is_named(change, said):
    with pytest.raises(WsssError, match=said):
        read_settings(MasksSettings, '{"cams": "a"}', [change])


@pytest.mark.parametrize("old, new", [("power", "poly_power"), ("new_factor", "head_lr_mult")])
def test_a_former_name_is_refused_and_the_new_one_named(old, new):
    with pytest.raises(WsssError, match=f"--settings: {old}: this key is called '{new}' now"):
        read_settings(Classifier, '{"objective": "vanilla"}', [f"{old}=1"])


def test_help_has_each_shared_setting_once_and_every_setting_of_every_variant():
    text = settings_help(Classifier)
    for variant, cls in classes_of(Classifier)[1].items():
        own = text.split(f"with objective: {variant}")[1].split("\n\n")[0]
        shared = text.split("\n\n")[0]
        for name in cls.model_fields:
            assert name == "objective" or (f"\n  {name} = " in own) != (f"\n  {name} = " in shared), (variant, name)
    assert text.count("\n  lr = ") == 1


def test_quiet_and_verbose(tmp_path, capsys):
    stage = Stage("A stage.")
    stage.parser.prog = "report.py"

    def work(_):
        log.debug("a detail")
        log.info("a line")
        log.warning("a warning")
        with Progress(1, what="work") as progress:
            progress.advance()

    for flags in ([], ["-q"], ["-v"]):
        stage.main(["--out", str(tmp_path / "".join(flags) / "out"), *flags], work)
        said = capsys.readouterr().err.splitlines()
        assert "a warning" in said and ("a line" in said) == ("-q" not in flags) == any("work 1/1" in s for s in said)
        assert ("a detail" in said) == ("-v" in flags), said
    log.setLevel(logging.INFO)
