"""An open loop against a cluster whose nodes may die, in a process of its own: requests are sent when they are due.

Owns the schedule (Poisson arrivals), the connections, and what a client does about a node that is gone. Rules: latency
counts from the moment at which a request was *due*, through queues in front of connections and through every further
try, so that nothing is left out because the server was slow (coordinated omission); how late the generator itself was
is reported beside it. A request that has no good answer within `patience_s` has failed. Plan (JSON) on standard input,
`Found` on standard output. (`generator` is the other one: one endpoint, no second try, several times faster.)
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, Literal

import httptools
import msgspec
import uvloop

from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import percentiles
from gramme.placement.ring import POSITION_BITS, position_of

_SWEEP_S: Final = 0.02
_DOWN_S: Final = 1.0
_GRACE_S: Final = 0.5
_GOOD: Final = (200, 204, 300, 404)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. `ports`: of the nodes, on loopback. `kind`: what a request is; `name`: bucket or table.

    `preference`: the primaries of each ring partition, as indices of `ports`, for a client that knows the ring; without
    it every request goes to any node. `place`: `state.place_of` the bucket. `attempt_s`: how long one node may be
    silent before another is asked."""

    ports: list[int]
    kind: Literal["objects", "table", "ping"]
    name: str = ""
    query: str = ""
    per_s: float = 500
    seconds: float = 10
    write_share: float = 0.5
    keys: int = 10_000
    value_bytes: int = 1024
    connections: int = 24
    patience_s: float = 10
    attempt_s: float = 1
    preference: list[list[int]] = []
    place: bytes = b""
    seed: int = 1


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A row for each request, in the order of arrival: when it was due (seconds from the start), how long it took
    (milliseconds, -1: it failed), and whether it was a write. `late_ms`: by how much the generator sent later than
    due, where a connection was free: 99.9th percentile."""

    due_s: list[float]
    took_ms: list[float]
    write: list[bool]
    late_ms: float
    retried: int


class _Request:
    __slots__ = ("data", "due", "index", "partition", "tried_until", "tries")

    def __init__(self, index: int, due: float, data: bytes, partition: int) -> None:
        self.index = index
        self.due = due
        self.data = data
        self.partition = partition
        self.tries = 0
        self.tried_until = 0.0


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: _Load, node: int) -> None:
        self.load = load
        self.node = node
        self.request: _Request | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._parser: Any = httptools.HttpResponseParser(self)

    def send(self, request: _Request) -> None:
        """Write it and wait."""
        self.request = request
        self.transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        request, self.request = self.request, None
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if request is not None:
            self.load.answered(self, request, status)

    def connection_lost(self, exc: Exception | None) -> None:
        request, self.request = self.request, None
        self.load.closed(self, request)


class _Load:
    """See the module."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = Random(plan.seed)
        self._loop = asyncio.get_running_loop()
        self._idle: list[list[_Connection]] = [[] for _ in plan.ports]
        self._open = [0] * len(plan.ports)
        self._busy: dict[_Connection, None] = {}
        self._queues: list[deque[_Request]] = [deque() for _ in plan.ports]
        self._down_until = [0.0] * len(plan.ports)
        self._due: list[float] = []
        self._took: list[float] = []
        self._write: list[bool] = []
        self._late: list[float] = []
        self._left = 0
        self._retried = 0
        self._value = self._rng.randbytes(plan.value_bytes // 2).hex().encode()

    async def run(self) -> Found:
        """Everything, from connecting to the last answer."""
        plan = self._plan
        for node in range(len(plan.ports)):
            for _ in range(plan.connections):
                await self._connect(node)
        gc.collect()
        gc.freeze()
        self._start = self._loop.time() + 0.05
        due = 0.0
        while True:
            due += self._rng.expovariate(plan.per_s)
            if due >= plan.seconds:
                break
            self._due.append(due)
        self._took = [-1.0] * len(self._due)
        self._left = len(self._due)
        self._requests = [self._request(index, due) for index, due in enumerate(self._due)]
        await self._send_all()
        return Found(
            due_s=[round(due, 4) for due in self._due], took_ms=[round(took, 3) for took in self._took],
            write=self._write, late_ms=percentiles(self._late, 99.9)[0], retried=self._retried,
        )  # fmt: skip

    async def _send_all(self) -> None:
        swept, at = 0.0, 0
        limit = self._start + self._plan.seconds + self._plan.patience_s + _GRACE_S
        while self._left and (now := self._loop.time()) < limit:
            while at < len(self._requests) and self._start + self._due[at] <= now:
                self._submit(self._requests[at], now)
                at += 1
            if now - swept > _SWEEP_S:
                swept = now
                self._sweep(now)
            next_due = self._start + self._due[at] if at < len(self._requests) else now + _SWEEP_S
            await asyncio.sleep(max(0.0, min(next_due - now, _SWEEP_S)))

    # --- requests -----------------------------------------------------------------------------------------------------

    def _request(self, index: int, due: float) -> _Request:
        plan = self._plan
        write = self._rng.random() < plan.write_share
        self._write.append(write)
        key = b"key-%06d" % self._rng.randrange(plan.keys)
        partition = position_of(plan.place, key) * len(plan.preference) >> POSITION_BITS
        return _Request(index, due, self._encoded(key, write), partition)

    def _encoded(self, key: bytes, write: bool) -> bytes:
        plan = self._plan
        if plan.kind == "ping":
            return b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
        if plan.kind == "objects":
            path = b"/buckets/%s/keys/%s%s" % (plan.name.encode(), key, plan.query.encode())
            if not write:
                return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
            head = b"PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
            return head % (path, len(self._value)) + self._value
        operation = b"PutItem" if write else b"GetItem"
        pk = b'{"pk":{"S":"%s"}' % key
        body = b'{"TableName":"%s",' % plan.name.encode()
        body += b'"Item":%s,"data":{"S":"%s"}}}' % (pk, self._value) if write else b'"Key":%s}}' % pk
        head = (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\n"
            b"X-Amz-Target: DynamoDB_20120810.%s\r\nContent-Length: %d\r\n\r\n"
        )
        return head % (operation, len(body)) + body

    def _submit(self, request: _Request, now: float) -> None:
        node = self._choose(request, now)
        idle = self._idle[node]
        if not idle and not self._open[node]:
            self._again(request, now)
            return
        if not idle:
            self._queues[node].append(request)
            return
        if not request.tries:
            self._late.append((now - self._start - request.due) * 1e3)
        self._send(idle.pop(), request, now)

    def _choose(self, request: _Request, now: float) -> int:
        """A primary if the ring is known, any node else, but none that has just failed while there is another."""
        everyone = range(len(self._plan.ports))
        if self._plan.preference:
            for node in self._plan.preference[request.partition]:
                if self._is_up(node, now):
                    return node
        up = [node for node in everyone if self._is_up(node, now)] or everyone
        return up[self._rng.randrange(len(up))]

    def _is_up(self, node: int, now: float) -> bool:
        return self._open[node] > 0 and self._down_until[node] <= now

    def _send(self, connection: _Connection, request: _Request, now: float) -> None:
        request.tries += 1
        request.tried_until = now + self._plan.attempt_s
        self._busy[connection] = None
        connection.send(request)

    def answered(self, connection: _Connection, request: _Request, status: int) -> None:
        """The connection is free again; what is not a good answer is asked for elsewhere."""
        now = self._loop.time()
        self._busy.pop(connection, None)
        queue = self._queues[connection.node]
        if queue:
            self._send(connection, queue.popleft(), now)
        else:
            self._idle[connection.node].append(connection)
        if status in _GOOD:
            self._took[request.index] = (now - self._start - request.due) * 1e3
            self._left -= 1
        else:
            self._again(request, now)

    def closed(self, connection: _Connection, request: _Request | None) -> None:
        """A node went away, or was given up."""
        node, now = connection.node, self._loop.time()
        self._busy.pop(connection, None)
        self._open[node] -= 1
        if connection in self._idle[node]:
            self._idle[node].remove(connection)
        self._down_until[node] = now + _DOWN_S
        if request is not None:
            self._again(request, now)
        if not self._open[node]:
            while self._queues[node]:
                self._again(self._queues[node].popleft(), now)

    def _again(self, request: _Request, now: float) -> None:
        if now - self._start - request.due >= self._plan.patience_s:
            self._left -= 1
            return
        self._retried += 1
        self._loop.call_later(0.005, lambda: self._submit(request, self._loop.time()))

    def _sweep(self, now: float) -> None:
        """Give silent nodes up, and come back to those that were gone."""
        for connection in list(self._busy):
            if connection.request is not None and connection.request.tried_until <= now:
                connection.transport.abort()
        for node, until in enumerate(self._down_until):
            if until <= now and self._open[node] < self._plan.connections:
                self._down_until[node] = now + _DOWN_S / 4
                self._loop.create_task(self._reconnect(node))

    async def _reconnect(self, node: int) -> None:
        try:
            while self._open[node] < self._plan.connections:
                await self._connect(node)
        except OSError:
            self._down_until[node] = self._loop.time() + _DOWN_S
        else:
            self._down_until[node] = 0.0

    async def _connect(self, node: int) -> None:
        _, connection = await self._loop.create_connection(
            lambda: _Connection(self, node), "127.0.0.1", self._plan.ports[node]
        )
        self._open[node] += 1
        self._idle[node].append(connection)


def start(plan: Plan) -> subprocess.Popen[bytes]:
    """Begin; `finish` waits for the end. Something may be done to the nodes meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gramme.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(plan))
    process.stdin.close()
    return process


def finish(process: subprocess.Popen[bytes]) -> Found:
    """What was found. Raises CannotMeasure if the generator failed."""
    assert process.stdout is not None
    output = process.stdout.read()
    if process.wait() != 0:
        raise CannotMeasure(f"the load generator ended with {process.returncode}")
    return msgspec.json.decode(output, type=Found)


def run(plan: Plan, meanwhile: Callable[[], None] | None = None) -> Found:
    """`start`, `meanwhile`, `finish`."""
    process = start(plan)
    try:
        if meanwhile is not None:
            meanwhile()
        return finish(process)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """The generator's process."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)

    async def load() -> Found:
        return await _Load(plan).run()

    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(load())))


if __name__ == "__main__":
    main()
