"""The HTTP server over real sockets: framing, pipelining, chunks, codings, and the shapes that requests arrive in."""

from __future__ import annotations

import gzip
import select
import socket
import zlib
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.http_loop import ServerThread, echo, post

from gramme.api.http import HttpRequest, HttpResponse, Respond


@pytest.fixture(scope="module")
def server() -> Iterator[ServerThread]:
    thread = ServerThread(echo)
    yield thread
    thread.stop()
    assert thread.errors == []


def test_a_request_and_its_crc(server: ServerThread) -> None:
    client = server.connect()
    client.send(post(b"body", path=b"/p?q=1"))
    answer = client.read()
    assert (answer.status, answer.body) == (200, b"POST|/p|q=1|body")
    assert answer.crc_holds()
    assert answer.headers["date"].endswith("GMT")


def test_byte_by_byte(server: ServerThread) -> None:
    client = server.connect()
    for byte in post(b"slow", b"X-Long: " + b"v" * 50, path=b"/slow?x"):
        client.send(bytes([byte]))
    assert client.read().body == b"POST|/slow|x|slow"


def test_the_connection_stays_open(server: ServerThread) -> None:
    client = server.connect()
    for index in range(20):
        client.send(post(b"%d" % index))
        assert client.read().body == b"POST|/||%d" % index


def test_pipelined_requests_are_answered_in_order(server: ServerThread) -> None:
    client = server.connect()
    client.send(b"".join(post(b"%d" % index) for index in range(500)))
    assert [client.read().body for _ in range(500)] == [b"POST|/||%d" % index for index in range(500)]


def test_chunked_body_with_trailers(server: ServerThread) -> None:
    client = server.connect()
    client.send(b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"3\r\nabc\r\n5;name=value\r\n12345\r\n0\r\nX-Trailer: t\r\n\r\n" + post(b"next"))
    assert client.read().body == b"POST|/c||abc12345"
    assert client.read().body == b"POST|/||next"


@settings(deadline=None, max_examples=40)
@given(bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=6), cuts=st.lists(st.integers(1, 400)))
def test_any_cut_of_the_stream_gives_the_same_answers(bodies: list[bytes], cuts: list[int]) -> None:
    thread = _shared_server()
    client = thread.connect()
    stream = b"".join(post(body) for body in bodies)
    at = 0
    for cut in cuts:
        client.send(stream[at : at + cut])
        at += cut
    client.send(stream[at:])
    assert [client.read().body for _ in bodies] == [b"POST|/||" + body for body in bodies]
    client.close()


_SHARED: list[ServerThread] = []


def _shared_server() -> ServerThread:
    if not _SHARED:
        _SHARED.append(ServerThread(echo))
    return _SHARED[0]


@pytest.fixture(scope="module", autouse=True)
def _stop_shared() -> Iterator[None]:
    yield
    while _SHARED:
        _SHARED.pop().stop()


def test_a_body_of_several_megabytes(server: ServerThread) -> None:
    client = server.connect()
    body = bytes(range(256)) * 4096 * 4
    client.send(post(body))
    assert client.read().body == b"POST|/||" + body
    assert server.call(lambda: server.server.body_bytes) == 0


def test_expect_continue_is_answered_before_the_body(server: ServerThread) -> None:
    client = server.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read().status == 100
    client.send(b"late")
    assert client.read().body == b"POST|/||late"


def test_connection_close_and_http_1_0(server: ServerThread) -> None:
    client = server.connect()
    client.send(post(b"x", b"Connection: close"))
    assert client.read().headers["connection"] == "close"
    assert client.ended()
    client = server.connect()
    client.send(b"GET /old HTTP/1.0\r\n\r\n")
    answer = client.read()
    assert (answer.body, answer.headers["connection"]) == (b"GET|/old||", "close")
    assert client.ended()
    client = server.connect()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert client.read().headers["connection"] == "keep-alive"


def test_requests_behind_a_close_are_not_served(server: ServerThread) -> None:
    client = server.connect()
    client.send(post(b"last", b"Connection: close") + post(b"ignored"))
    assert client.read().body == b"POST|/||last"
    assert client.ended()


def test_half_closed_clients_still_get_their_answers(server: ServerThread) -> None:
    client = server.connect()
    client.send(post(b"1") + post(b"2"))
    client.sock.shutdown(1)
    assert [client.read().body, client.read().body] == [b"POST|/||1", b"POST|/||2"]
    assert client.ended()


def test_head_has_a_length_but_no_body(server: ServerThread) -> None:
    client = server.connect()
    client.send(b"HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n" + post(b"after"))
    answer = client.read(head_only=True)
    assert answer.headers["content-length"] == str(len(b"HEAD|/h||"))
    assert client.read().body == b"POST|/||after"


def test_an_upgrade_is_ignored(server: ServerThread) -> None:
    client = server.connect()
    client.send(post(b"x", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"))
    assert client.read().body == b"POST|/||x"
    client.send(post(b"y"))
    assert client.read().body == b"POST|/||y"


def test_absolute_form_target(server: ServerThread) -> None:
    client = server.connect()
    client.send(b"GET http://host:1/path?q HTTP/1.1\r\nHost: h\r\n\r\n")
    assert client.read().body == b"GET|/path|q|"


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"raw"])
@pytest.mark.parametrize("step", [1, 1000])
def test_compressed_requests(server: ServerThread, coding: bytes, step: int) -> None:
    plain = b'{"a":"' + b"x" * 5000 + b'"}'
    if coding == b"gzip":
        packed = gzip.compress(plain[:1000]) + gzip.compress(plain[1000:])  # two members are one stream
    elif coding == b"deflate":
        packed = zlib.compress(plain)
    else:
        encoder = zlib.compressobj(wbits=-15)
        packed = encoder.compress(plain) + encoder.flush()
    client = server.connect()
    request = post(packed, b"Content-Encoding: " + (b"deflate" if coding == b"raw" else coding))
    for at in range(0, len(request), step):
        client.send(request[at : at + step])
    assert client.read().body == b"POST|/||" + plain


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (b"gzip", "gzip"),
        (b"deflate, gzip;q=0.5", "gzip"),
        (b"deflate", "deflate"),
        (b"*", "gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000, br", None),
        (b"identity", None),
    ],
)
def test_long_responses_are_compressed_when_accepted(server: ServerThread, accept: bytes, coding: str | None) -> None:
    client = server.connect()
    body = b"z" * 5000
    client.send(post(body, b"Accept-Encoding: " + accept))
    answer = client.read()
    assert answer.headers.get("content-encoding") == coding
    assert answer.crc_holds()  # over the bytes as sent
    plain = answer.body if coding is None else zlib.decompress(answer.body, wbits=47)
    assert plain == b"POST|/||" + body
    client.send(post(b"short", b"Accept-Encoding: " + accept))
    assert "content-encoding" not in client.read().headers


def test_late_answers_in_any_order_leave_in_the_order_of_the_requests() -> None:
    pending: list[tuple[bytes, Respond]] = []

    def handler(request: HttpRequest, respond: Respond) -> None:
        pending.append((request.body, respond))

    thread = ServerThread(handler)
    try:
        client = thread.connect()
        client.send(post(b"a") + post(b"b") + post(b"c"))
        thread.until(lambda: len(pending) == 3)

        def answer(body: bytes, respond: Respond) -> None:
            respond(HttpResponse(200, [], [body, b"!"]))
            respond(HttpResponse(500, []))  # only the first answer counts

        for index in (2, 1, 0):
            thread.call(partial(answer, *pending[index]))
        assert [client.read().body for _ in range(3)] == [b"a!", b"b!", b"c!"]
    finally:
        thread.stop()


def test_an_answer_for_a_connection_that_is_gone_is_dropped() -> None:
    pending: list[Respond] = []
    thread = ServerThread(lambda _request, respond: pending.append(respond))
    try:
        client = thread.connect()
        client.send(post(b"x" * 100_000))
        thread.until(lambda: bool(pending))
        client.reset()
        thread.until(lambda: thread.server.connections == 0)
        thread.call(lambda: pending[0](HttpResponse(200, [], b"late")))
        assert thread.call(lambda: thread.server.body_bytes) == 0
        assert thread.errors == []
    finally:
        thread.stop()


def test_a_handler_that_raises_gives_a_bare_500() -> None:
    def handler(request: HttpRequest, respond: Respond) -> None:
        raise ValueError("secret detail")

    thread = ServerThread(handler)
    try:
        client = thread.connect()
        client.send(post(b"x") + post(b"y"))
        for _ in range(2):
            answer = client.read()
            assert answer.status == 500
            assert b"secret" not in answer.body
        assert [str(error) for error in thread.errors] == ["secret detail"] * 2
    finally:
        thread.stop()


def test_answers_of_one_turn_leave_together_and_before_a_drain() -> None:
    """Nothing is written until the turn is over; what is answered is not lost if the server closes in that turn."""
    held: list[Respond] = []
    thread = ServerThread(lambda _, respond: held.append(respond))
    clients = [thread.connect() for _ in range(5)]
    for client in clients:
        client.send(post(b"x"))
    while thread.call(lambda: len(held)) < len(clients):
        pass

    def answer_all() -> list[socket.socket]:
        for respond in held:
            respond(HttpResponse(200, [], b"answer"))
        return select.select([client.sock for client in clients], [], [], 0)[0]

    async def answer_and_drain() -> list[socket.socket]:
        written = answer_all()
        await thread.server.drain()
        return written

    assert thread.run(answer_and_drain()) == []
    assert [client.read().body for client in clients] == [b"answer"] * len(clients)
    assert all(client.ended() for client in clients)
    thread.stop()
    assert thread.errors == []
