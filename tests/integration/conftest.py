"""Fixtures of the tests with real processes. Servers bind 127.0.0.1 and stop with the fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gramme.testing import Cluster, Server, cluster, server


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    """An embedded node on disk, for the tests of one module."""
    with server(in_memory=False) as running:
        yield running


@pytest.fixture
def client(node: Server) -> Any:
    """A default boto3 client of `node`, which has no tables."""
    node.reset()
    return node.client()


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """A local cluster of three nodes, for the tests of one module."""
    with cluster(3) as running:
        yield running
