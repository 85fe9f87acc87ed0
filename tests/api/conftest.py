"""What most tests of operations begin with."""

from __future__ import annotations

import pytest
from tests.api.caller import Caller


@pytest.fixture
def caller() -> Caller:
    """A client of a service that has the usual tables."""
    caller = Caller()
    caller.create_tables()
    return caller
