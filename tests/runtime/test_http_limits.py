"""The HTTP server's bounds: what passes them gets a clear status and a closed connection, and memory stays bounded."""

from __future__ import annotations

import gzip
import socket
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.http_loop import Client, ServerThread, echo, post

from gramme.api.http import HttpRequest, HttpResponse, Respond
from gramme.runtime.http import HttpLimits
from gramme.runtime.http_codec import BadRequest, Inflater


def _refused(thread: ServerThread, *pieces: bytes) -> tuple[int, bytes]:
    client = thread.connect()
    for piece in pieces:
        client.send(piece)
    answer = client.read()
    assert answer.headers["connection"] == "close"
    assert client.ended()
    client.close()
    return answer.status, answer.body


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET / HTTP/9.9\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_malformed_requests_get_a_400(garbage: bytes) -> None:
    thread = ServerThread(echo)
    try:
        status, body = _refused(thread, garbage)
        assert status == 400
        assert b"Traceback" not in body
        assert thread.errors == []
    finally:
        thread.stop()


def test_errors_wait_for_earlier_answers() -> None:
    thread = ServerThread(echo)
    try:
        client = thread.connect()
        client.send(post(b"good") + b"bad bad bad\r\n\r\n")
        assert client.read().body == b"POST|/||good"
        assert client.read().status == 400
        assert client.ended()
    finally:
        thread.stop()


def test_headers_at_the_limit_and_past_it() -> None:
    limit = HttpLimits().header_bytes
    thread = ServerThread(echo)
    try:
        # Counted: the target, and 4 bytes for each header besides its name and value.
        padding = limit - len(b"/") - len(b"Host" + b"h") - 4 - len(b"X") - 4 - len(b"Content-Length" + b"2") - 4
        client = thread.connect()
        client.send(post(b"ok", b"X: " + b"v" * padding))
        assert client.read().body == b"POST|/||ok"
        assert _refused(thread, post(b"ok", b"X: " + b"v" * (padding + 1)))[0] == 400
        assert _refused(thread, b"GET /" + b"p" * limit + b" HTTP/1.1\r\nHost: h\r\n\r\n")[0] == 400
        # In two halves, behind an earlier request on the same connection, the count is the same.
        whole = post(b"ok", b"X: " + b"v" * padding)
        client.send(post(b"first") + whole[:9000])
        assert client.read().body == b"POST|/||first"
        client.send(whole[9000:])
        assert client.read().body == b"POST|/||ok"
    finally:
        thread.stop()


def test_an_endless_header_is_cut_off() -> None:
    thread = ServerThread(echo)
    try:
        status, _ = _refused(thread, b"GET / HTTP/1.1\r\nX: ", b"v" * 100_000)
        assert status == 400
    finally:
        thread.stop()


def test_endless_trailers_are_cut_off() -> None:
    thread = ServerThread(echo)
    try:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        status, _ = _refused(thread, head, b"X: " + b"v" * 100_000)
        assert status == 400
    finally:
        thread.stop()


def test_body_at_the_limit_and_past_it() -> None:
    thread = ServerThread(echo, HttpLimits(body_bytes=1_000_000))
    try:
        client = thread.connect()
        client.send(post(b"x" * 1_000_000))
        assert len(client.read().body) == 1_000_000 + len(b"POST|/||")
        assert _refused(thread, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000001\r\n\r\n")[0] == 413
        chunk = b"%x\r\n" % 500_001 + b"x" * 500_001 + b"\r\n"
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert _refused(thread, head, chunk, chunk)[0] == 413
        assert thread.call(lambda: thread.server.body_bytes) == 0
    finally:
        thread.stop()


def test_a_client_that_sends_its_whole_body_first_still_reads_the_413() -> None:
    """The rest of a refused request is read and thrown away, so that no reset overtakes the answer."""
    thread = ServerThread(echo, HttpLimits(body_bytes=1_000))
    try:
        client = thread.connect()
        client.send(post(b"x" * 5_000_000))
        assert client.read().status == 413
    finally:
        thread.stop()


def test_expect_continue_of_an_oversized_body_is_refused_at_once() -> None:
    thread = ServerThread(echo)
    try:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 17000000\r\nExpect: 100-continue\r\n\r\n"
        assert _refused(thread, head)[0] == 413
    finally:
        thread.stop()


def test_decompression_bombs_stop_at_the_limit() -> None:
    thread = ServerThread(echo)
    try:
        bomb = gzip.compress(bytes(17 * 1024 * 1024))
        assert len(bomb) < 20_000
        assert _refused(thread, post(bomb, b"Content-Encoding: gzip"))[0] == 413
        members = gzip.compress(bytes(6 * 1024 * 1024)) * 3  # each below the limit, together above
        assert _refused(thread, post(members, b"Content-Encoding: gzip"))[0] == 413
    finally:
        thread.stop()


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (b"not gzip at all", b"gzip", 400),
        (gzip.compress(b"x" * 1000, mtime=0)[:-4], b"gzip", 400),
        (gzip.compress(b"x" * 1000, mtime=0)[:-5] + b"\0\0\0\0\0", b"gzip", 400),
        (zlib.compress(b"abc") + b"more", b"deflate", 400),
        (b"x", b"br", 415),
    ],
)
def test_damaged_and_unknown_codings(body: bytes, coding: bytes, status: int) -> None:
    thread = ServerThread(echo)
    try:
        assert _refused(thread, post(body, b"Content-Encoding: " + coding))[0] == status
    finally:
        thread.stop()


@settings(deadline=None)
@given(
    plain=st.binary(max_size=2000),
    cuts=st.lists(st.integers(1, 300)),
    coding=st.sampled_from([b"gzip", b"deflate"]),
    limit=st.integers(0, 2000),
)
def test_inflater_gives_the_plain_bytes_or_stops_at_the_limit(
    plain: bytes, cuts: list[int], coding: bytes, limit: int
) -> None:
    packed = gzip.compress(plain) if coding == b"gzip" else zlib.compress(plain)
    status, output = _inflate(Inflater(coding, limit), packed, cuts)
    if len(plain) <= limit:
        assert (status, output) == (200, plain)
    else:
        assert status == 413
        assert len(output) <= limit
        assert plain.startswith(output)


def _inflate(inflater: Inflater, packed: bytes, cuts: list[int]) -> tuple[int, bytes]:
    output = b""
    at = 0
    try:
        for cut in [*cuts, len(packed)]:
            output += inflater.feed(packed[at : at + cut])
            at += cut
        inflater.finish()
    except BadRequest as error:
        return error.status, output
    return 200, output


def test_connections_beyond_the_limit_get_a_503() -> None:
    thread = ServerThread(echo, HttpLimits(max_connections=3))
    try:
        held = [thread.connect() for _ in range(3)]
        for client in held:
            client.send(post(b"x"))
            assert client.read().status == 200
        extra = thread.connect()
        answer = extra.read()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert extra.ended()
        assert thread.call(lambda: thread.server.refused_connections) == 1
        held[0].close()
        extra.close()
        thread.until(lambda: thread.server.connections == 2)
        again = thread.connect()
        again.send(post(b"again"))
        assert again.read().status == 200
    finally:
        thread.stop()


def test_bodies_of_all_connections_together_are_bounded() -> None:
    thread = ServerThread(echo, HttpLimits(buffered_body_bytes=1_000_000))
    try:
        slow = thread.connect()
        request = post(b"x" * 900_000)
        slow.send(request[:-1])
        thread.until(lambda: thread.server.body_bytes > 800_000)
        assert _refused(thread, post(b"y" * 900_000))[0] == 503
        slow.send(request[-1:])
        assert slow.read().status == 200
        assert thread.call(lambda: thread.server.body_bytes) == 0
    finally:
        thread.stop()


def test_too_many_pipelined_requests_are_not_read() -> None:
    pending: list[Respond] = []
    thread = ServerThread(lambda _request, respond: pending.append(respond), HttpLimits(max_pipelined=8))
    try:
        client = thread.connect()
        client.sock.setblocking(False)
        total, sent = 2_000, 0
        stream = memoryview(post(b"x" * 5_000) * total)
        for _ in range(10_000):
            try:
                sent += client.sock.send(stream[sent:])
            except BlockingIOError:
                thread.call(lambda: None)
        assert len(pending) == 8
        assert sent < len(stream) // 2  # the rest stays in the kernel's buffers and the client
        client.sock.setblocking(True)
        client.sock.settimeout(10)
        _answer_all(thread, client, pending, stream[sent:], total)
    finally:
        thread.stop()


def _answer_all(thread: ServerThread, client: Client, pending: list[Respond], rest: memoryview, total: int) -> None:
    """Answer everything while sending the rest: nothing was lost by the pause, and the bound held all the time."""
    import threading

    sender = threading.Thread(target=lambda: client.sock.sendall(rest))
    sender.start()
    for _ in range(total):
        thread.until(lambda: bool(pending))
        assert thread.call(lambda: len(pending)) <= 8
        thread.call(lambda: pending.pop(0)(HttpResponse(200, [], b"ok")))
        assert client.read().body == b"ok"
    sender.join()


def test_a_client_that_does_not_read_stops_being_served() -> None:
    served = 0

    def handler(_request: HttpRequest, respond: Respond) -> None:
        nonlocal served
        served += 1
        respond(HttpResponse(200, [], bytes(100_000)))

    thread = ServerThread(handler)
    try:
        client = thread.connect()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(post(b"") * 3_000)
        _settle(thread, lambda: served)
        assert served < 1_000  # the rest would be 200 MB of answers
        for _ in range(3_000):
            assert len(client.read().body) == 100_000
        assert served == 3_000
    finally:
        thread.stop()


def test_time_limits_of_idle_stalled_and_unread_connections() -> None:
    """The server's clock is moved by hand: its ticks are seconds."""
    thread = ServerThread(echo, HttpLimits(idle_s=600, stalled_s=60))
    try:
        idle, stalled = thread.connect(), thread.connect()
        idle.send(post(b"x"))
        assert idle.read().status == 200
        stalled.send(b"POST / HTTP/1.1\r\nContent-Le")
        thread.until(lambda: thread.server.connections == 2)
        thread.until(lambda: any(connection._reader.begun for connection in thread.server._connections))
        _check_at(thread, 50)
        assert thread.call(lambda: thread.server.connections) == 2
        _check_at(thread, 100)
        assert stalled.read().status == 408
        assert stalled.ended()
        stalled.close()
        thread.until(lambda: thread.server.connections == 1)
        _check_at(thread, 590)
        assert thread.call(lambda: thread.server.connections) == 1
        _check_at(thread, 700)
        assert idle.ended()
    finally:
        thread.stop()


def _check_at(thread: ServerThread, tick: int) -> None:
    def check() -> None:
        for connection in list(thread.server._connections):
            connection.check_time(tick)

    thread.call(check)


def test_drain_answers_what_was_asked_and_closes() -> None:
    pending: list[Respond] = []
    thread = ServerThread(lambda _request, respond: pending.append(respond))
    idle, busy = thread.connect(), thread.connect()
    busy.send(post(b"x"))
    thread.until(lambda: len(pending) == 1 and thread.server.connections == 2)

    async def drain() -> None:
        import asyncio

        draining = asyncio.ensure_future(thread.server.drain(10.0))
        await asyncio.sleep(0)
        pending[0](HttpResponse(200, [], b"done"))
        await draining

    thread.run(drain())
    answer = busy.read()
    assert (answer.body, answer.headers["connection"]) == (b"done", "close")
    assert busy.ended()
    assert idle.ended()
    with pytest.raises(ConnectionRefusedError):
        thread.connect()
    thread.stop()


def test_drain_cuts_what_does_not_end() -> None:
    pending: list[Respond] = []
    thread = ServerThread(lambda _request, respond: pending.append(respond))
    client = thread.connect()
    client.send(post(b"never answered"))
    thread.until(lambda: len(pending) == 1)
    thread.run(thread.server.drain(0.05))
    assert thread.call(lambda: thread.server.connections) == 0
    with pytest.raises((ConnectionResetError, EOFError)):
        client.read()
    thread.stop()


def test_two_servers_share_a_port() -> None:
    first, second = ServerThread(echo), ServerThread(echo)
    try:
        port = first.run(first.server.listen("127.0.0.1", 0, reuse_port=True))
        assert second.run(second.server.listen("127.0.0.1", port, reuse_port=True)) == port
        for _ in range(200):
            client = Client(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.send(post(b"x"))
            assert client.read().status == 200
            client.close()
            if first.call(lambda: first.server.accepted) and second.call(lambda: second.server.accepted):
                break
        assert first.server.accepted
        assert second.server.accepted  # the kernel spreads connections by their addresses: 200 tries hit both
    finally:
        first.stop()
        second.stop()


def _settle(thread: ServerThread, value: object) -> None:
    """Until `value()` has stayed the same for many turns of the loop."""
    assert callable(value)
    last, same = None, 0
    while same < 500:
        now = thread.call(value)
        same = same + 1 if now == last else 0
        last = now
