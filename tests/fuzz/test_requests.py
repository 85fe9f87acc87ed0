"""Fifty thousand strange requests: in process, and over a socket, where the HTTP around them may be strange as well.

`make fuzz` runs two million.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from tests.api.caller import headers_of
from tests.fuzz.corpus import REQUESTS
from tests.fuzz.mutations import mutated
from tests.fuzz.target import Target, fuzz
from tests.runtime.http_loop import ServerThread

from gramme.api.dynamodb import delete_item
from gramme.api.dynamodb.errors import validation

_HTTP: tuple[bytes, ...] = (
    b"\r\n", b"\n", b"\x00", b" ", b":", b"POST", b"Content-Length: 99999999999", b"Transfer-Encoding: chunked\r\n",
    b"\xff\xff", b"HTTP/9.9", b"-1", b"X: " + b"y" * 70_000, b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n",
)  # fmt: skip


def test_every_request_of_the_corpus_is_a_valid_one() -> None:
    for operation, body in REQUESTS:
        answer = Target().raw(operation, json.dumps(body).encode())
        valid = answer.status == 200 or b"ConditionalCheckFailed" in answer.whole_body()
        assert valid or b"ResourceInUse" in answer.whole_body(), (operation, answer.whole_body())


@pytest.mark.parametrize("seed", range(3))
def test_strange_requests_get_an_answer_that_a_client_may_get(seed: int) -> None:
    statuses = fuzz(seed, 15_000)
    assert statuses[200] > 1_500  # not everything is refused at the door
    assert statuses[400] > 5_000


@pytest.mark.plain
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_body: object) -> bool:
        raise KeyError("planted")

    monkeypatch.setattr(delete_item, "returns_on_failure", broken)
    with pytest.raises(AssertionError, match=r"DeleteItem.*planted"):
        fuzz(0, 1_000)


@pytest.mark.plain
def test_a_write_by_a_refused_request_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_body: object) -> bool:
        target.counting.changes += 1
        raise validation("too late")

    target = Target()
    monkeypatch.setattr(delete_item, "returns_on_failure", late)
    with pytest.raises(AssertionError, match="written by a refused request"):
        target.judge("DeleteItem", json.dumps({"TableName": "users", "Key": {"pk": {"S": "k"}}}).encode())


@pytest.fixture
def served() -> Iterator[tuple[Target, ServerThread]]:
    target = Target()
    server = ServerThread(target.api.handle)
    yield target, server
    server.stop()


def test_over_a_socket(served: tuple[Target, ServerThread]) -> None:
    target, server = served
    rng = random.Random(4)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(4_000):
        operation, body = rng.choice(REQUESTS)
        raw = mutated(body, rng)
        headers = {name.decode(): value.decode() for name, value in headers_of(operation).items()}
        connection.request("POST", "/", raw, headers)
        answer = connection.getresponse()
        shown = (operation, raw[:500], answer.status, answer.read()[:500], target.log)
        assert answer.status in (200, 400), shown
    connection.close()
    assert target.log == []
    assert server.errors == []


def test_strange_http_is_answered_or_cut_and_the_server_lives(served: tuple[Target, ServerThread]) -> None:
    target, server = served
    rng = random.Random(5)
    for _ in range(1_000):
        operation, body = rng.choice(REQUESTS)
        raw = json.dumps(body).encode()
        headers = {**headers_of(operation), b"host": b"h", b"content-length": b"%d" % len(raw)}
        head = b"POST / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in headers.items()) + b"\r\n"
        data = bytearray(head + raw)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(head))
            data[at : at + rng.randrange(4)] = rng.choice(_HTTP)
        answer = _exchange(server.port, bytes(data))
        for line in answer.split(b"HTTP/1.1 ")[1:]:
            assert not line.startswith(b"500"), (bytes(data)[:500], answer[:500], target.log)
    assert target.log == []
    assert server.errors == []
    assert b"200" in _exchange(server.port, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")


def _exchange(port: int, data: bytes) -> bytes:
    """Send `data`, say that this is all, and read what comes until the server closes."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        except ConnectionError:
            pass  # cut: what had arrived counts
    return bytes(received)
