"""One host with a clock, a disk and a network that do what they are told, and nothing around it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.ids import ClusterId, NodeId
from gramme.kernel.ports import SegmentWrite
from gramme.kernel.time import Instant, Timestamp
from gramme.node.host import Host
from gramme.node.ports import Ports
from gramme.storage.engine.memory import MemoryEngine
from gramme.storage.log.shared import LogSettings, SharedLog


class LoneHost:
    """Clock, scheduler, disk and network of one host; the disk is done when it is told so."""

    def __init__(self) -> None:
        self.now = 0
        self._count = 0
        self.jobs: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self.frames: list[tuple[NodeId, Any]] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        ports = Ports(self, self, Random(1), self, self, MemoryEngine(lambda done: done()))  # type: ignore[arg-type]
        self.host = Host(ports, SharedLog(ClusterId(bytes(16)), LogSettings(), list), NodeId(0), self.sent.append)

    def instant(self) -> Instant:
        return Instant(self.now)

    def timestamp(self) -> Timestamp:
        return Timestamp(self.now)

    def call_at(self, when: Instant, callback: Callable[[], None]) -> LoneHost:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, callback))
        return self

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_at(Instant(self.now), callback)

    def cancel(self) -> None:
        raise AssertionError("nothing is canceled here")

    def send(self, node: NodeId, messages: Sequence[Any]) -> None:
        self.sent += messages
        self.frames += [(node, message) for message in messages]

    def submit(self, writes: Sequence[SegmentWrite], on_durable: Callable[[], None]) -> None:
        if on_durable.__name__ == "_job_durable":
            self.jobs.append(on_durable)

    def run(self, until: int) -> None:
        while self._events and self._events[0][0] <= until:
            when, _, callback = heapq.heappop(self._events)
            self.now = max(self.now, when)
            callback()
        self.now = until

    # --- an owner

    def durable(self, event: Any) -> None:
        self.sent.append(event)

    def output(self, output: Any) -> None:
        raise AssertionError("no outputs here")

    def end_turn(self, now: Instant) -> Effects | None:
        return None

    def execute(self, effects: Effects) -> None:
        self.host.execute(effects, self)
        self.run(self.now)
