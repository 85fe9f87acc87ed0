"""The load generator: all that is due is sent, latency counts from when it was due, a node that dies costs a retry."""

from __future__ import annotations

import socket
import threading

import pytest
from tests.bench.scripted import scripted

from gramme.bench import load
from gramme.bench.gossip import measured
from gramme.bench.latency import percentiles
from gramme.bench.load import Plan
from gramme.testing import server

pytestmark = pytest.mark.seconds(10)


def _answer(connection: socket.socket) -> None:
    with connection:
        while connection.recv(65_536):
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_objects_are_written_and_read_at_the_rate_that_was_asked_for() -> None:
    with server() as node:
        port = int(node.objects_url.rpartition(":")[2])
        found = load.run(Plan(ports=[port], kind="objects", name="b", per_s=100, seconds=2, keys=20))
    assert 120 < len(found.due_s) < 290  # Poisson, mean 200
    assert min(found.took_ms) > 0
    assert found.due_s == sorted(found.due_s)
    assert 0.3 < sum(found.write) / len(found.write) < 0.7


def test_a_request_waits_for_a_connection_in_its_own_time() -> None:
    """One connection, and a server that thinks for 50 ms: the queue grows, and what waits in it says so."""
    pause = threading.Event()

    def slow(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                pause.wait(0.05)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with scripted(slow) as port:
        found = load.run(Plan(ports=[port], kind="ping", per_s=60, seconds=1, connections=1))
    answered = [due + took / 1e3 for due, took in zip(found.due_s, found.took_ms, strict=True)]
    assert len(found.due_s) * 0.05 <= max(answered)
    assert max(found.took_ms) > 500


def test_what_a_dying_node_leaves_is_asked_for_elsewhere() -> None:
    def die(connection: socket.socket) -> None:
        with connection:
            connection.recv(1)

    with scripted(die) as dead, scripted(_answer) as alive:
        found = load.run(Plan(ports=[dead, alive], kind="ping", per_s=100, seconds=1, connections=2))
    assert min(found.took_ms) > 0
    assert found.retried > 0


def test_without_a_good_answer_in_time_a_request_has_failed() -> None:
    def refuse(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    with scripted(refuse) as port:
        found = load.run(Plan(ports=[port], kind="ping", per_s=20, seconds=0.5, patience_s=0.2))
    assert set(found.took_ms) == {-1.0}


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1_000, 0, -1)]
    assert percentiles(values, 50, 99, 99.9, 100) == [500.0, 990.0, 999.0, 1000.0]
    assert percentiles([], 99) == [0.0]


def test_gossip_grows_with_the_cluster_and_so_does_the_ring() -> None:
    """Row A46: a digest names every member, so a node's bytes are linear in their number."""
    few, many = measured((5, 40), seconds=5)
    assert few.sent_per_s < many.sent_per_s < 40 / 5 * few.sent_per_s
    assert few.ring_bytes < many.ring_bytes
