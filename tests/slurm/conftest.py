"""What the tests on SLURM saw, in a few lines at the end of pytest's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import SAID


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the end of the session's output. It goes there with the test's report, perhaps from another
    process."""
    return lambda line: request.node.user_properties.append((SAID, line))
