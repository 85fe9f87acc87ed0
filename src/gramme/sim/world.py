"""Virtual time: one heap of events for a whole cluster, its clients and its faults.

Owns what "now" is. An event is (instant, sequence number, callback); two runs that schedule the same events in the
same order run them in the same order, so a seed fixes everything. A `Process` is one incarnation of a node: when it
crashes, every callback it registered is dropped; while it is paused its callbacks wait and its clock goes on, which is
what SIGSTOP and a suspended machine do (REPLICATION.md §3: `Instant` is CLOCK_BOOTTIME).
Source: DESIGN.md §3; the idea of the simulator is FoundationDB's (SIGMOD 2021, section 4).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import Any, Final

from gramme.api.http import HttpRequest
from gramme.kernel.ids import NodeId
from gramme.kernel.ports import LogDisk
from gramme.kernel.time import MICROSECOND, SECOND, Instant, Timestamp

EPOCH_NS: Final = 1_790_000_000 * SECOND
"""The wall clock at virtual instant 0 (September 2026)."""

TURN_NS: Final = 60 * MICROSECOND
"""The longest turn of a simulated event loop: how far `call_soon` may run after what else arrives meanwhile."""

EVENT_LIMIT: Final = 2_000_000
"""More events than any sane run has: past it, somebody reacts to himself without end."""

LOG_LINES: Final = 400
"""How many of the nodes' newest structured log lines a run keeps, to be shown with a violation."""


class Livelock(AssertionError):
    """A run does not come to an end."""


class Event:
    """A pending callback; fits `kernel.ports.Timer`."""

    __slots__ = ("callback", "process", "sequence", "when_ns")

    def __init__(self, when_ns: int, sequence: int, callback: Callable[[], None], process: Process | None) -> None:
        self.when_ns = when_ns
        self.sequence = sequence
        self.callback: Callable[[], None] | None = callback
        self.process = process

    def cancel(self) -> None:
        """Forget the callback; a second call does nothing."""
        self.callback = None

    def __lt__(self, other: Event) -> bool:
        return (self.when_ns, self.sequence) < (other.when_ns, other.sequence)


class World:
    """The heap, the virtual instant `now_ns` (from 0), the seed's randomness, and the hash of what has happened."""

    def __init__(self, seed: int, event_limit: int = EVENT_LIMIT) -> None:
        self.seed = seed
        self._event_limit = event_limit
        self.now_ns = 0
        self.events_run = 0
        self.log: deque[tuple[int, NodeId, str, Mapping[str, Any]]] = deque(maxlen=LOG_LINES)
        self._heap: list[tuple[int, int, Event]] = []
        self._sequence = 0
        self._trace = blake2b(digest_size=8)

    def randomness(self, *names: object) -> Random:
        """A generator of its own for one purpose, so that drawing more for one thing does not shift another."""
        return Random("/".join(map(str, (self.seed, *names))))

    def after(self, delay_ns: int, callback: Callable[[], None], process: Process | None = None) -> Event:
        """Run `callback` `delay_ns` (≥ 0) from now, in the life of `process` if one is named."""
        assert delay_ns >= 0, delay_ns
        self._sequence = sequence = self._sequence + 1
        event = Event(self.now_ns + delay_ns, sequence, callback, process)
        heapq.heappush(self._heap, (event.when_ns, sequence, event))
        return event

    def note(self, *parts: bytes | str | int) -> None:
        """Mix a fact (a message's bytes, an answer) into the trace hash."""
        for part in parts:
            if isinstance(part, int):
                part = str(part)
            self._trace.update(part if isinstance(part, bytes) else part.encode())
            self._trace.update(b"\0")

    def trace_hash(self) -> str:
        """16 hexadecimal digits over every event that ran and every fact noted."""
        return self._trace.hexdigest()

    def run(self, until_ns: int, stop: Callable[[], bool] | None = None) -> bool:
        """Run events in order until virtual `until_ns`, or until `stop()` is true after one of them: then True."""
        heap = self._heap
        while heap and heap[0][0] <= until_ns:
            when_ns, sequence, event = heapq.heappop(heap)
            callback = event.callback
            if callback is None:
                continue
            process = event.process
            self.now_ns = when_ns
            if process is not None and not process.admits(event):
                continue
            self.events_run += 1
            if self.events_run > self._event_limit:
                raise Livelock(f"{self.events_run} events have run and it is only {when_ns / SECOND:.6f} s")
            self._trace.update(b"%d %d;" % (when_ns, sequence))
            callback()
            if stop is not None and stop():
                return True
        self.now_ns = max(self.now_ns, until_ns)
        return False


class MachineClock:
    """The two clocks of one machine: they drift and are off, within the bounds that leases rely on.

    `rate_ppm` must stay within ±5,000, so that two machines differ by at most the 1 % of REPLICATION.md §3.
    """

    def __init__(self, world: World, rate_ppm: int, boot_offset_ns: int, wall_offset_ns: int) -> None:
        assert -5_000 <= rate_ppm <= 5_000, rate_ppm
        self._world = world
        self._rate_ppm = rate_ppm
        self._boot_offset_ns = boot_offset_ns
        self.wall_offset_ns = wall_offset_ns

    def reboot(self, boot_offset_ns: int) -> None:
        """The machine itself restarts: instants of before mean nothing any more. No process may run on it."""
        self._boot_offset_ns = boot_offset_ns

    def instant(self) -> Instant:
        """Nanoseconds since some instant that is this machine's own."""
        now_ns = self._world.now_ns
        return Instant(now_ns + now_ns * self._rate_ppm // 1_000_000 + self._boot_offset_ns)

    def timestamp(self) -> Timestamp:
        """Wall time as this machine believes it."""
        return Timestamp(EPOCH_NS + self._world.now_ns + self.wall_offset_ns)

    def virtual_ns(self, when: Instant) -> int:
        """The first virtual nanosecond at which `instant()` is not before `when`."""
        own_ns = when - self._boot_offset_ns
        virtual_ns = own_ns * 1_000_000 // (1_000_000 + self._rate_ppm)
        while virtual_ns + virtual_ns * self._rate_ppm // 1_000_000 < own_ns:
            virtual_ns += 1
        return virtual_ns


class Process:
    """One incarnation of a node: its event loop (`kernel.ports.Scheduler`) and whether it lives, sleeps or is dead."""

    def __init__(self, world: World, node: NodeId, incarnation: int, clock: MachineClock) -> None:
        self.node = node
        self.incarnation = incarnation
        self.clock = clock
        self.alive = True
        self._world = world
        self._paused = False
        self._backlog: list[Event] = []
        self._rng = world.randomness("loop", node, incarnation)
        self._soon_ns = 0

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Event:
        """Run `callback` when this machine's clock shows `when`; at once (in a later event) if that is past."""
        return self._world.after(max(0, self.clock.virtual_ns(when) - self._world.now_ns), callback, self)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the end of this turn. A turn lasts a random moment, so that what arrives within it is
        batched, as on a real loop; two calls keep their order."""
        self._soon_ns = max(self._soon_ns, self._world.now_ns + self._rng.randrange(TURN_NS))
        self._world.after(self._soon_ns - self._world.now_ns, callback, self)

    def post(self, callback: Callable[[], None]) -> None:
        """Run `callback` in this process now, or when it wakes, or never if it is dead: an arrival from outside."""
        self._world.after(0, callback, self)

    def serve(self, request: HttpRequest, callback: Callable[[], None]) -> None:
        """`post` of what answers a client's request."""
        self.post(callback)

    def hear(self, messages: list[Any], on_messages: Callable[[list[Any]], None]) -> None:
        """Hand over the messages of a frame."""
        on_messages(messages)

    def work(self, kind: str, callback: Callable[[], Any]) -> Any:
        """Do a part of what runs now, of a kind with a cost of its own; "" is the simulator's own work. Here nothing
        costs anything (see `sim.loop`)."""
        return callback()

    def emit(self, action: Callable[[], None], kind: str = "") -> None:
        """Something leaves this process."""
        action()

    def disk(self, disk: LogDisk) -> LogDisk:
        """`disk` as this process uses it."""
        return disk

    def kill(self) -> None:
        """End this incarnation: nothing that it registered will run."""
        self.alive = False
        self._backlog.clear()

    def pause(self) -> None:
        """Stop running callbacks; they wait."""
        self._paused = True

    def resume(self) -> None:
        """Run what waited, in its order, as late as it now is."""
        self._paused = False
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            if event.callback is not None:
                self._requeue(event)

    @property
    def paused(self) -> bool:
        """Whether callbacks wait."""
        return self._paused

    def admits(self, event: Event) -> bool:
        """Whether `event` may run now. While paused it is kept for later."""
        if self.alive and not self._paused:
            return True
        if self.alive:
            self._backlog.append(event)
        return False

    def _requeue(self, event: Event) -> None:
        """Schedule a kept event again; cancelling the original must still cancel it."""

        def run() -> None:
            if event.callback is not None:
                event.callback()

        self._world.after(0, run, self)
