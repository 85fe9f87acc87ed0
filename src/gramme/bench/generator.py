"""A generator of its own, in a process of its own: raw sockets, requests prepared as bytes, an open or a closed loop.

Open loop: operations arrive at a fixed rate, answered or not. One goes to a connection that is free, or waits for one
with its clock running: latency counts from the intended start, so that no queue is hidden (coordinated omission); how
late the generator itself was is reported beside it, and what is left without the moments in which the machine stood
still (`standstill`). Closed loop: every connection sends the next operation as soon as it is free. Never two requests
on a connection at once. Made to cost little: one thread, `epoll`, no event loop; `check` shows what it can do. (`load`
is the other generator: slower, for clusters whose nodes die.) Plan (MessagePack) on standard input, `Found` on
standard output.
"""

from __future__ import annotations

import gc
import select
import socket
import subprocess
import sys
import time
from collections import deque
from random import Random
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import Latency, latency_of, percentiles
from gramme.bench.prepared import Prepared, Request
from gramme.bench.standstill import Stops, undisturbed, watched

_GRACE_S: Final = 10.0
_LONGEST_WAIT_S: Final = 0.05
_SHORTEST_WAIT_S: Final = 20e-6
_RECEIVE: Final = 1 << 18
_NEVER: Final = float("inf")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send to `host` and `port`. `per_s`: operations that arrive in a second; 0: a closed loop. `arrivals`: all
    at the same distance or as a Poisson process. `once`: end with the order of `prepared`, not after `seconds`.
    `unwanted`: an answer that contains it has failed, as one has whose status is not 200, 204, 300 or 404."""

    host: str
    port: int
    prepared: Prepared
    seconds: float = 10.0
    per_s: float = 0.0
    arrivals: Literal["even", "poisson"] = "even"
    connections: int = 16
    once: bool = False
    unwanted: bytes = b""
    seed: int = 1


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`offered_per_s` is what was due, `per_s` what was answered (both in operations, from the first intended start to
    the last answer). `kinds`: latencies by kind of operation. `late_ms`: by how much the generator sent later than due
    where a connection was free: 99.9th percentile. Of open loops: `stopped_ms`, how long the machine stood still, and
    `steady`, the latencies of all operations that were not due about then; None where that is not known."""

    offered_per_s: float
    per_s: float
    all: Latency
    kinds: dict[str, Latency]
    late_ms: float
    stopped_ms: float | None = None
    steady: Latency | None = None


_ALLOWED: Final = (b"200", b"204", b"300", b"404")


class _Connection:
    """One socket and the operation that it carries."""

    __slots__ = ("buffer", "due", "kind", "request", "socket")

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.buffer = b""
        self.request: Request | None = None
        self.kind = ""
        self.due = 0.0


class Generator:
    """See the module."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = plan.prepared.requests
        self._order = plan.prepared.order
        self._at = 0
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._took: dict[str, list[float]] = {request.kind: [] for request in self._requests}
        self._due: dict[str, list[float]] = {kind: [] for kind in self._took}
        self._failed: dict[str, int] = dict.fromkeys(self._took, 0)
        self._stops = Stops()
        self._late: list[float] = []
        self._due_count = 0
        self._last_answer = 0.0

    def run(self) -> Found:
        """Everything, from connecting to the last answer."""
        for _ in range(self._plan.connections):
            self._connect()
        gc.collect()
        gc.disable()
        if self._plan.per_s:
            with watched() as self._stops:
                self._begin()
                self._open_loop()
        else:
            self._begin()
            self._closed_loop()
        return self._found()

    def _begin(self) -> None:
        self._start = self._last_answer = time.perf_counter()

    # --- loops --------------------------------------------------------------------------------------------------------

    def _open_loop(self) -> None:
        plan, clock = self._plan, time.perf_counter
        rng, distance, poisson = Random(plan.seed), 1 / plan.per_s, plan.arrivals == "poisson"
        end, due, now = self._start + plan.seconds, self._start, self._start
        number = 0
        while True:
            while due <= now:
                self._due_count += 1
                if self._idle:
                    self._late.append(now - due)
                    self._send(self._idle.pop(), due)
                else:
                    self._waiting.append(due)
                number += 1
                due = due + rng.expovariate(plan.per_s) if poisson else self._start + number * distance
                if due >= end:
                    due = _NEVER
            if due == _NEVER and (len(self._idle) == plan.connections or now > end + _GRACE_S):
                return
            self._receive(due - now)
            now = clock()

    def _closed_loop(self) -> None:
        plan, clock = self._plan, time.perf_counter
        end = _NEVER if plan.once else self._start + plan.seconds
        now = self._start
        while True:
            while self._idle and now < end:
                if plan.once and self._due_count == len(self._order):
                    end = now
                    break
                self._due_count += 1
                self._send(self._idle.pop(), clock())
            if len(self._idle) == plan.connections or now > end + _GRACE_S:
                return
            self._receive(_LONGEST_WAIT_S)
            now = clock()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _send(self, connection: _Connection, due: float) -> None:
        """The next operation begins."""
        request = self._requests[self._order[self._at]]
        self._at += 1
        if self._at == len(self._order):
            self._at = 0
        connection.due = due
        connection.kind = request.kind
        self._write(connection, request)

    def _write(self, connection: _Connection, request: Request) -> None:
        connection.request = request
        connection.socket.sendall(request.data)

    def _receive(self, longest_s: float) -> None:
        """Wait for answers, but not longer than that, and take what is there. A wait of `epoll` itself would be rounded
        up to a millisecond."""
        if longest_s > _SHORTEST_WAIT_S:
            select.select([self._epoll], [], [], min(longest_s, _LONGEST_WAIT_S))
        for descriptor, _ in self._epoll.poll(0):
            connection = self._connections[descriptor]
            data = connection.socket.recv(_RECEIVE)
            if not data:
                self._closed(connection)
                continue
            if connection.buffer:
                data = connection.buffer + data
            good, whole, last = examine(data)
            if not whole:
                connection.buffer = data
                continue
            connection.buffer = b""
            self._answered(connection, good and not (self._plan.unwanted and self._plan.unwanted in data), last)

    def _answered(self, connection: _Connection, good: bool, last: bool) -> None:
        now = time.perf_counter()
        request = connection.request
        if request is None:
            raise CannotMeasure("an answer to nothing")
        if last:
            connection = self._replaced(connection)
        if good and request.then >= 0:
            self._write(connection, self._requests[request.then])
            return
        connection.request = None
        if good:
            self._took[connection.kind].append(now - connection.due)
            self._due[connection.kind].append(connection.due)
        else:
            self._failed[connection.kind] += 1
        self._last_answer = now
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    # --- connections --------------------------------------------------------------------------------------------------

    def _connect(self) -> _Connection:
        opened = socket.create_connection((self._plan.host, self._plan.port), timeout=_GRACE_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(opened)
        self._connections[opened.fileno()] = connection
        self._epoll.register(opened.fileno(), select.EPOLLIN)
        self._idle.append(connection)
        return connection

    def _replaced(self, old: _Connection) -> _Connection:
        """The server closes after every answer, or has closed: a new connection for the same operation."""
        self._epoll.unregister(old.socket.fileno())
        del self._connections[old.socket.fileno()]
        old.socket.close()
        new = self._connect()
        self._idle.pop()
        new.kind, new.due = old.kind, old.due
        return new

    def _closed(self, connection: _Connection) -> None:
        """By the server: an operation that it had not answered has failed."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._idle.append(self._replaced(connection))
        else:
            self._answered(connection, False, True)

    # --- figures ------------------------------------------------------------------------------------------------------

    def _found(self) -> Found:
        for connection in self._connections.values():
            if connection.request is not None:
                self._failed[connection.kind] += 1
            connection.socket.close()
        waiting, self._waiting = len(self._waiting), deque()
        kinds = {
            kind: latency_of([took * 1e3 for took in all_took], self._failed[kind])
            for kind, all_took in self._took.items()
            if all_took or self._failed[kind]
        }
        together = [took * 1e3 for all_took in self._took.values() for took in all_took]
        seconds = max(1e-9, self._last_answer - self._start)
        return Found(
            offered_per_s=self._plan.per_s or self._due_count / seconds,
            per_s=len(together) / (max(seconds, self._plan.seconds) if self._plan.per_s else seconds),
            all=latency_of(together, sum(self._failed.values()) + waiting),
            kinds=kinds,
            late_ms=1e3 * percentiles(self._late, 99.9)[0],
            stopped_ms=self._stops.total_ms if self._stops.known else None,
            steady=self._steady() if self._stops.known else None,
        )

    def _steady(self) -> Latency:
        left: list[float] = []
        for kind, took in self._took.items():
            left += undisturbed(self._due[kind], took, self._start, self._stops.intervals)
        return latency_of([1e3 * one for one in left])


def examine(data: bytes) -> tuple[bool, bool, bool]:
    """Of what has come of an HTTP answer: is its status a good one, is it all there, does the server close then?"""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return False, False, False
    good = data[9:12] in _ALLOWED
    head = data[:head_end].lower()
    last = b"\r\nconnection: close" in head or (head.startswith(b"http/1.0") and b"keep-alive" not in head)
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        line_end = head.find(b"\r\n", at + 17)
        length = int(head[at + 17 : line_end if line_end >= 0 else head_end])
        return good, len(data) >= head_end + 4 + length, last
    if b"\r\ntransfer-encoding: chunked" in head:
        return good, data.endswith(b"0\r\n\r\n"), last
    return good, data[9:12] == b"204", last


def run(url: str, prepared: Prepared, **plan: Any) -> Found:
    """Carry a `Plan` out against `url`, in another process. Raises CannotMeasure if that fails."""
    parts = urlsplit(url)
    whole = Plan(host=parts.hostname or "127.0.0.1", port=parts.port or 80, prepared=prepared, **plan)
    command = [sys.executable, "-m", "gramme.bench.generator"]
    done = subprocess.run(command, input=msgspec.msgpack.encode(whole), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise CannotMeasure(f"the generator ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Found)


def main() -> None:
    """The generator's process."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(Generator(plan).run()))


if __name__ == "__main__":
    main()
