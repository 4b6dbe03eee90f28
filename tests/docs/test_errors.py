"""docs/errors.md has every message that the programs can give on purpose, and no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from messages import ROOT, Message, collect  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
ENTRY = re.compile(r"^- `(?P<text>.+)`\\\n(?P<why>(?:  .+\n)+)", re.M)
ELSEWHERE = {
    "wsss/cli/explain.py": 1,
    "wsss/cli/predict.py": 2,
    "wsss/config/loader.py": 5,
    "wsss/stages/index.py": 1,
    "wsss/data/validate.py": 2,
    "wsss/data/images.py": 0,
    "wsss/system/exit.py": 3,
    "wsss/training/engine.py": 1,
    "wsss/refine/ensembles.py": 1,
    "wsss/stages/external_cams.py": 3,
    "wsss/refine/votes.py": 1,
    "wsss/runtime/program.py": 1,
    "wsss/workflow/targets.py": 1,
    "wsss/settings/check.py": 5,
}
"""File -> places in it that pass on messages whose words are collected where they are written."""


def known() -> dict[str, Message]:
    return {message.text: message for message in reversed(collect()) if message.text}


def entries() -> list[tuple[str, str]]:
    """(template, cause and cure) as the page has them."""
    return [(one["text"], " ".join(one["why"].split())) for one in ENTRY.finditer(PAGE.read_text(encoding="utf-8"))]


def test_every_message_is_on_the_page_and_no_other() -> None:
    messages, page = known(), [text for text, _ in entries()]
    said = []
    for text in (m for m in messages if m not in page):
        new = messages[text]
        beside = [text for text in page if text in messages and messages[text].file == new.file]
        where = f"below `{beside[-1]}`" if beside else "in the section of its part of the chain"
        said.append(
            f"{new.file}:{new.line}: add to docs/errors.md, {where}:\n\n- `{text}`\\\n  CAUSE *Cure:* CURE\n\n"
            "with a sentence for CAUSE and one for CURE"
        )
    said += [
        f"docs/errors.md: no program says this any more, take it out:\n\n- `{t}`" for t in page if t not in messages
    ]
    said += [f"docs/errors.md: stands there twice: `{text}`" for text, count in Counter(page).items() if count > 1]
    if said:
        pytest.fail("\n\n".join(said), pytrace=False)


def test_every_entry_has_a_cause_and_a_cure() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(entries()) == len(re.findall(r"^- ", page, re.M)), "an entry that is not written like the others"
    for text, why in entries():
        assert re.fullmatch(r".{8,}[.:!?`)] \*Cure:\* .{4,}[.!?]", why) and "CAUSE" not in why and "CURE" not in why, (
            text
        )


def test_every_message_has_words_that_can_be_read_here() -> None:
    """A message that is put together out of variables would stand on no page: write its words into the call, collect
    it as ``messages`` says, or count it above if what it passes on is collected elsewhere."""
    silent = Counter(message.file for message in collect() if not message.text)
    assert silent == Counter({file: count for file, count in ELSEWHERE.items() if count})


SOURCE = """
from wsss.errors import WsssError
class Full(WsssError): pass
def reason(error):
    return f"no room for {error}"
def act(self, path, problems, many):
    if many:
        cure = "take fewer"
    else:
        cure = f"take {path}"
    problems.append(Problem("kind", "", "", "too many of them", cure))
    problems.append(f"{path} is one "
                    "of several")
    self.problem(path, "has no end" if many else "has no start")
    raise Full(reason(path))
def other(cure):
    if cure:
        raise WsssError(f"{cure} and that is {cure!r}{cure}")
    raise WsssError(cure) from ValueError("not for users")
"""


def test_what_counts_as_a_message(tmp_path: Path) -> None:
    (tmp_path / "wsss").mkdir()
    (tmp_path / "stages").mkdir()
    (tmp_path / "wsss" / "some.py").write_text("class WsssError(Exception): pass\n" + SOURCE)
    (tmp_path / "stages" / "one.py").write_text('import wsss\nraise wsss.WsssError("a stage refuses")\n')
    assert [message.text for message in collect(tmp_path)] == [
        "a stage refuses",
        "too many of them; take fewer",
        "too many of them; take …",
        "… is one of several",
        "has no end",
        "has no start",
        "no room for …",
        "… and that is …",
        "",
    ]


def test_the_messages_that_a_program_reaches_are_recorded(tmp_path: Path) -> None:
    """Also those that come to nothing but a line in a list."""
    program = (
        "from wsss.config.loader import load\nfrom wsss.errors import WsssError\n"
        "try: load({'dataset': 'a', 'datasets': {'a': {'kind': 'scenes', 'trian': 3}}, 'seeds': 1})\n"
        "except WsssError as error: print(error)"
    )
    path = os.pathsep.join([str(ROOT / "tests" / "docs" / "recorder"), str(ROOT)])
    command = [sys.executable, "-c", program]
    plain = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    env = os.environ | {"PYTHONPATH": path, "WSSS_REACHED": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout == plain.stdout and "did you mean 'train'" in done.stdout
    (file,) = tmp_path.iterdir()
    assert sorted(file.read_text(encoding="utf-8").splitlines()) == [
        "expected a list of different whole numbers of at least 0, like [0, 1, 2], got …",
        "unknown key… (allowed: …)",
    ]


def test_reasons_stand_beside_what_is_not_reached() -> None:
    from reached import excused

    assert all(why.strip() for why in excused().values()) and set(excused()) <= set(known())
