"""Bodies that are made while they are sent: chunks, order, back-pressure, and what breaks off."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable, Iterator

import pytest
from tests.runtime.http_loop import TIMEOUT_S, ServerThread

from gramme.api.http import HttpRequest, HttpResponse, Respond, StreamedResponse


class Pieces:
    """A source of `count` pieces, each from a later turn of the loop or at once; `fails` behind the last one."""

    def __init__(self, count: int, size: int = 10, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.count = count
        self.size = size
        self.later = later
        self.fails = False
        self.pulled = 0

    def pull(self, on_piece: Callable[[bytes | None], None]) -> None:
        self.pulled += 1
        piece: bytes | None = b"%d," % self.pulled * self.size
        if self.pulled > self.count:
            piece = None if self.fails else b""
        if self.later is None:
            on_piece(piece)
        else:
            self.later(lambda: on_piece(piece))


@pytest.fixture
def streams() -> Iterator[tuple[ServerThread, list[Pieces]]]:
    """A server that answers /N with N pieces (`?later`, `?fails`, `?large`), and anything else whole."""
    made: list[Pieces] = []

    def handle(request: HttpRequest, respond: Respond) -> None:
        if not request.path[1:].isdigit():
            respond(HttpResponse(200, [], b"whole"))
            return
        source = Pieces(int(request.path[1:]), 20_000 if "large" in request.query else 10)
        source.later = thread.loop.call_soon if "later" in request.query else None
        source.fails = "fails" in request.query
        made.append(source)
        respond(StreamedResponse(200, [(b"Content-Type", b"text/plain")], source))

    thread = ServerThread(handle)
    yield thread, made
    thread.stop()
    assert thread.errors == []


def body_of(count: int, size: int = 10) -> bytes:
    return b"".join(b"%d," % n * size for n in range(1, count + 1))


@pytest.mark.parametrize("query", ["", "?later"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_body_comes_in_chunks_and_the_connection_stays(
    streams: tuple[ServerThread, list[Pieces]], query: str, count: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", streams[0].port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", f"/{count}{query}")
            answer = connection.getresponse()
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert answer.read() == body_of(count)
        connection.request("HEAD", f"/{count}{query}")
        assert connection.getresponse().read() == b""
        connection.request("GET", "/whole")
        assert connection.getresponse().read() == b"whole"


def raw(port: int, request: bytes) -> bytes:
    """All that the server says to `request` before it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as peer:
        peer.sendall(request)
        said = b""
        while data := peer.recv(1 << 16):
            said += data
        return said


def test_pipelined_answers_wait_for_the_end_of_a_body(streams: tuple[ServerThread, list[Pieces]]) -> None:
    requests = b"GET /3?later HTTP/1.1\r\nHost: x\r\n\r\nGET /whole HTTP/1.1\r\nHost: x\r\n\r\n"
    said = raw(streams[0].port, requests + b"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    first, second, third = said.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.endswith(b"14\r\n" + b"3," * 10 + b"\r\n0\r\n\r\n")
    assert second.endswith(b"whole")
    assert b"Connection: close\r\n" in third
    assert third.endswith(b"14\r\n" + b"2," * 10 + b"\r\n0\r\n\r\n")


def test_http_1_0_gets_a_body_up_to_the_end_of_the_connection(streams: tuple[ServerThread, list[Pieces]]) -> None:
    for extra in (b"", b"Connection: keep-alive\r\n"):
        said = raw(streams[0].port, b"GET /4?later HTTP/1.0\r\n" + extra + b"\r\n")
        assert b"chunked" not in said
        assert said.endswith(b"\r\n\r\n" + body_of(4))


@pytest.mark.parametrize("query", ["?fails", "?fails&later"])
def test_a_body_that_breaks_off_is_never_taken_for_a_whole_one(
    streams: tuple[ServerThread, list[Pieces]], query: str
) -> None:
    for version in ("1.0", "1.1"):
        with pytest.raises(OSError):
            raw(streams[0].port, f"GET /2{query} HTTP/{version}\r\nHost: x\r\n\r\n".encode())


def test_a_peer_that_does_not_read_holds_up_the_source(streams: tuple[ServerThread, list[Pieces]]) -> None:
    thread, made = streams
    with socket.create_connection(("127.0.0.1", thread.port), timeout=TIMEOUT_S) as peer:
        peer.sendall(b"GET /100000?large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        peer.recv(100)
        held = thread.call(lambda: made[0].pulled)
        assert held < 2_000  # of 100,000: what buffers of the kernel and the transport hold
        for _ in range(200):
            peer.recv(1 << 20)
        assert thread.call(lambda: made[0].pulled) > held
    while thread.server.connections:
        thread.call(lambda: None)
    stopped = thread.call(lambda: made[0].pulled)
    thread.call(lambda: None)
    assert thread.call(lambda: made[0].pulled) == stopped
