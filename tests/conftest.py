"""What holds for every test: nothing is judged by how long it takes, for machines are shared; and in which order files
are run, so that workers beside each other keep all cores busy until the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gramme.runtime import compiled

compiled.use_if_demanded()  # before any test imports what it tests

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_WAITING = ("integration", "testing", "clients")
"""Directories whose tests start servers and wait for them: for leases, elections, pauses. Those of others compute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait are spread evenly among those that compute. Of either kind the longest go first, as far as is
    known: those with a slow test, then those with many."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    ordered = sorted(files.values(), key=lambda file: (not any(map(_is_slow, file)), -len(file)))
    waiting = [file for file in ordered if file[0].path.parent.name in _WAITING]
    computing = [file for file in ordered if file[0].path.parent.name not in _WAITING]
    placed = [(at / len(kind), file) for kind in (waiting, computing) for at, file in enumerate(kind)]
    items[:] = [item for _, file in sorted(placed, key=lambda each: each[0]) for item in file]


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None
