"""The generator's accounting: every operation is answered, failed or waiting, and time in a queue counts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from tests.bench.scripted import scripted

from gramme.bench import generator
from gramme.bench.endpoint_load import checked
from gramme.bench.generator import Found, Generator, Plan, examine
from gramme.bench.prepared import Prepared, Request

_REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_ONE = Prepared([Request("read", _REQUEST)], [0])


def _server(answer: Callable[[int, bytes], tuple[bytes, bool]]) -> AbstractContextManager[int]:
    """Answers the nth request of each connection with `answer(n, request)`, and closes after it if that says so."""

    def serve(connection: socket.socket) -> None:
        with connection:
            number = 0
            while data := connection.recv(65_536):
                reply, close = answer(number, data)
                number += 1
                connection.sendall(reply)
                if close:
                    return

    return scripted(serve)


def _run(port: int, prepared: Prepared = _ONE, **plan: object) -> Found:
    return generator.run(f"http://127.0.0.1:{port}", prepared, **plan)


def test_an_open_loop_sends_what_is_due_and_no_more() -> None:
    with _server(lambda *_: (_OK, False)) as port:
        found = _run(port, per_s=200, seconds=1, connections=4)
    assert found.all.count == 200
    assert found.all.failed == 0
    assert found.offered_per_s == 200
    assert found.kinds.keys() == {"read"}


def test_poisson_arrivals_have_the_same_mean_and_come_from_the_seed() -> None:
    with _server(lambda *_: (_OK, False)) as port:
        first, again = (_run(port, per_s=300, seconds=1, arrivals="poisson", seed=5) for _ in range(2))
    assert first.all.count == again.all.count
    assert 240 < first.all.count < 360


def test_a_request_waits_for_a_connection_in_its_own_time() -> None:
    """One connection and 20 ms for each answer, 100 a second: the last waits about as long as the run lasts."""
    pause = threading.Event()

    def slow(_number: int, _data: bytes) -> tuple[bytes, bool]:
        pause.wait(0.02)
        return _OK, False

    with _server(slow) as port:
        found = _run(port, per_s=100, seconds=0.5, connections=1)
    assert found.all.count == 50
    assert found.all.longest > 400
    assert found.all.mean > 200


def test_a_closed_loop_sends_the_order_once() -> None:
    seen: list[bytes] = []

    def note(_number: int, data: bytes) -> tuple[bytes, bool]:
        seen.append(data.partition(b"\r\n")[0])
        return _OK, False

    requests = [Request("read", b"GET /%d HTTP/1.1\r\n\r\n" % at) for at in range(3)]
    with _server(note) as port:
        found = _run(port, Prepared(requests, [0, 2, 1, 2]), once=True, connections=1)
    assert seen == [b"GET /%d HTTP/1.1" % at for at in (0, 2, 1, 2)]
    assert found.all.count == 4


def test_an_operation_of_two_requests_counts_once_and_in_order() -> None:
    seen: list[bytes] = []

    def note(_number: int, data: bytes) -> tuple[bytes, bool]:
        seen.append(data[:5])
        return _OK, False

    requests = [Request("modify", b"PUT / HTTP/1.1\r\n\r\n"), Request("both", b"GET / HTTP/1.1\r\n\r\n", then=0)]
    with _server(note) as port:
        found = _run(port, Prepared(requests, [1]), per_s=20, seconds=0.5, connections=1)
    assert seen == [b"GET /", b"PUT /"] * 10
    assert found.kinds["both"].count == found.all.count == 10
    assert "modify" not in found.kinds


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nrejected"],
)
def test_a_bad_status_and_an_unwanted_answer_fail(answer: bytes) -> None:
    with _server(lambda *_: (answer, False)) as port:
        found = _run(port, per_s=50, seconds=0.4, unwanted=b"rejected")
    assert found.all.count == 0
    assert found.all.failed == 20


def test_a_server_that_closes_is_connected_to_again() -> None:
    """As it says (HTTP/1.0, or a header), or without a word: then the request that had no answer has failed."""
    said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with _server(lambda *_: (said, True)) as port:
        found = _run(port, per_s=50, seconds=0.4, connections=2)
    assert (found.all.count, found.all.failed) == (20, 0)
    with _server(lambda number, _: (b"" if number else _OK, bool(number))) as port:
        found = _run(port, per_s=50, seconds=0.4, connections=2)
    assert found.all.count + found.all.failed == 20
    assert found.all.failed > 0


def test_the_end_of_an_answer_is_seen() -> None:
    assert examine(b"HTTP/1.1 200 OK\r\nContent-Le") == (False, False, False)
    assert examine(_OK[:-1]) == (True, False, False)
    assert examine(_OK) == (True, True, False)
    assert examine(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n") == (True, True, True)
    chunked = b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    assert examine(chunked) == (False, False, False)
    assert examine(chunked + b"0\r\n\r\n") == (False, True, False)
    assert examine(b"HTTP/1.1 204 No Content\r\n\r\n") == (True, True, False)


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError):
        Generator(Plan(host="127.0.0.1", port=port, prepared=_ONE)).run()


def test_the_ceiling_answers_what_the_check_offers() -> None:
    check = checked(_ONE, 100)
    assert check.offered_per_s == 100
    assert 0 < check.answered_per_s <= 100
