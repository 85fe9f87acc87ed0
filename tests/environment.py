"""The environment of a command that a test starts as a user starts it."""

from __future__ import annotations

import os

from gramme.runtime.compiled import VARIABLE
from gramme.runtime.config import ENVIRONMENT_PREFIX


def without_settings() -> dict[str, str]:
    """This process's environment without settings of nodes, but with the word on builds (`tests/conftest.py`)."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX) or name == VARIABLE
    }
