"""What holds for every test: nothing is judged by how long it takes, for machines are shared."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of real processes first: they take longest, and the last one begun is what the other worker waits for."""
    items.sort(key=lambda item: "integration" not in item.path.parts)
