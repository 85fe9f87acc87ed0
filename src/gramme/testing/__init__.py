"""Gramme inside other people's tests: a real server or a real local cluster for the length of a `with` block.

    with gramme.testing.server() as g:
        table = g.resource().create_table(...)
        g.advance_clock(86_400_000)

Rule: nothing is mocked. What answers is the `gramme` command in a process of its own, on loopback only, reached over
HTTP as any SDK reaches it; the controls act through its admin port (`--test-controls`). For pytest there are the
fixtures `gramme_server` and `gramme` (`gramme.testing.plugin`). Source: issue 2, "What a user can do", 6.
"""

from gramme.testing.controls import ControlRefused, Endpoint
from gramme.testing.embedded import Server, server
from gramme.testing.local import Cluster, cluster
from gramme.testing.processes import ServerFailed

__all__ = ["Cluster", "ControlRefused", "Endpoint", "Server", "ServerFailed", "cluster", "server"]
