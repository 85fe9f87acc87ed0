"""What holds for every test: nothing is judged by how long it takes, for machines are shared; and in which order files
are run, so that workers beside each other keep all cores busy until the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gramme.runtime import compiled

# Tests run the sources, and so do the servers that they start, whether or not there is a build: many put something in
# the place of a method, which compiled code does not notice. `runtime/test_compiled_like_plain.py` runs the build, and
# `GRAMME_COMPILED=1 pytest` all tests that can: those with the mark `plain` are left out then.
os.environ.setdefault(compiled.VARIABLE, "0")
compiled.use_if_demanded()  # before any test imports what it tests

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_WAITING = ("integration", "testing", "clients", "client", "runtime", "bench")
"""Directories whose tests start servers and wait for them: for leases, elections, pauses. Those of others compute."""

_SECONDS_A_TEST = 0.1

_PLAIN = pytest.mark.skip(
    reason="copies machines, puts something in the place of a function or a bound, or counts calls: "
    "compiled modules do not take part in that (decision 0105)"
)
"""For tests with the mark `plain`, where modules are compiled."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of files that wait and of those that compute the longest go first, as their marks `seconds` tell, and each kind
    is spread over the whole run by its share: waiting costs no core, so workers more than cores keep these busy."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if compiled.active() and item.get_closest_marker("plain") is not None:
            item.add_marker(_PLAIN)
        files.setdefault(item.path, []).append(item)
    placed: list[tuple[float, list[pytest.Item]]] = []
    for waits in (True, False):
        kind = [file for file in files.values() if (file[0].path.parent.name in _WAITING) is waits]
        kind.sort(key=_seconds, reverse=True)
        total, passed = sum(map(_seconds, kind)), 0.0
        for file in kind:
            placed.append((passed / total, file))
            passed += _seconds(file)
    items[:] = [item for _, file in sorted(placed, key=lambda each: each[0]) for item in file]


def _seconds(file: list[pytest.Item]) -> float:
    """What a file takes, roughly: only the order depends on it."""
    mark = file[0].get_closest_marker("seconds")
    return _SECONDS_A_TEST * len(file) if mark is None else float(mark.args[0])
