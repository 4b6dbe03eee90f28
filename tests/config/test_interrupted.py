"""A Ctrl-C while pydantic builds a settings class, which it does when the class is first read."""

from __future__ import annotations

import os
import signal
from typing import Annotated, Any

import pytest

from wsss.settings.base import Settings


class Interrupting:
    """A mark of a field that sends this process a Ctrl-C when its class is built."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return handler(source)


class Late(Settings):
    """Not built yet: all settings defer it."""

    name: Annotated[str, Interrupting()] = "a"


def test_a_class_is_built_to_its_end() -> None:
    assert not Late.__pydantic_complete__
    with pytest.raises(KeyboardInterrupt):
        Late.read({"name": "b"})
    assert Late.__pydantic_complete__
    assert Late.read({"name": "b"}).name == "b"
