"""pytest plugin: one in-memory server for the session, and an empty one for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gramme.testing.embedded import Server, server


@pytest.fixture(scope="session")
def gramme_server() -> Iterator[Server]:
    """An in-memory Gramme for the whole session; tables stay from test to test."""
    with server() as running:
        yield running


@pytest.fixture
def gramme(gramme_server: Server) -> Server:
    """The session's Gramme without any table."""
    gramme_server.reset()
    return gramme_server
