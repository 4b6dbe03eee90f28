"""A Ctrl-C while pydantic builds a settings class, which it does when the class is first read."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal
from typing import Annotated, Any
from wsss.settings.base import Settings

class Interrupting:
    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return handler(source)

class Late(Settings):
    name: Annotated[str, Interrupting()] = "a"

assert not Late.__pydantic_complete__
try:
    Late.read({"name": "b"})
except KeyboardInterrupt:
    print("interrupted", Late.__pydantic_complete__, Late.read({"name": "b"}).name)
"""


def test_a_class_is_built_to_its_end() -> None:
    """In a process of its own: other tests look at all classes of settings that there are."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted True b\n", "", 0)
