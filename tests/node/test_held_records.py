"""The host's order of durability where some records are not hurried: held, but never overtaken, and not for ever."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, ClusterId, GroupId, NodeId, Slot
from gramme.kernel.ports import SegmentWrite
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import Instant, Timestamp
from gramme.node.host import HELD_BYTES, HELD_RECORDS, HOLD_NS, Host
from gramme.node.ports import Ports
from gramme.storage.engine.memory import MemoryEngine
from gramme.storage.log.shared import LogSettings, SharedLog


class _World:
    """Clock, scheduler, disk and network of one host; the disk is done when it is told so."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        ports = Ports(self, self, Random(1), self, self, MemoryEngine(lambda done: done()))  # type: ignore[arg-type]
        self.host = Host(ports, SharedLog(ClusterId(bytes(16)), LogSettings(), list), NodeId(0), self.sent.append)

    def instant(self) -> Instant:
        return Instant(self.now)

    def timestamp(self) -> Timestamp:
        return Timestamp(self.now)

    def call_at(self, when: Instant, callback: Callable[[], None]) -> _World:
        heapq.heappush(self._events, (when, len(self._events), callback))
        return self

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_at(Instant(self.now), callback)

    def cancel(self) -> None:
        raise AssertionError("nothing is canceled here")

    def send(self, node: NodeId, messages: Sequence[Any]) -> None:
        self.sent += messages

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


def _record(size: int = 10) -> Record:
    return Record(RecordKind.OBJECT, GroupId(0), Slot(0), Ballot(0), 0, 0, bytes(size))


def test_unhurried_records_wait_for_their_time() -> None:
    world = _World()
    world.execute(Effects(records=[_record()], sends=[(NodeId(1), "kept")], unhurried=True))
    assert world.sent == ["kept"]
    world.run(HOLD_NS - 1)
    assert not world.jobs
    world.run(HOLD_NS)
    assert len(world.jobs) == 1


def test_hurried_records_take_them_along() -> None:
    world = _World()
    world.execute(Effects(records=[_record()], unhurried=True))
    world.execute(Effects(records=[_record()]))
    assert len(world.jobs) == 1
    world.jobs.pop()()
    assert world.host.log.durable_lsn == world.host.log.last_lsn == 2
    world.run(2 * HOLD_NS)
    assert not world.jobs  # nothing is left that waits


def test_who_waits_for_what_was_appended_so_far_waits_for_held_records_too() -> None:
    world = _World()
    world.execute(Effects(records=[_record()], unhurried=True))
    world.execute(Effects(sends_durable=[(NodeId(1), "durable")]))
    assert len(world.jobs) == 1
    assert world.sent == []
    world.jobs.pop()()
    world.run(0)
    assert world.sent == ["durable"]


def test_while_the_disk_is_busy_nothing_is_forgotten() -> None:
    world = _World()
    world.execute(Effects(records=[_record()], durable_events=["first"]))
    world.execute(Effects(records=[_record()], unhurried=True))
    world.execute(Effects(durable_events=["second"]))
    assert len(world.jobs) == 1
    world.jobs.pop()()
    assert world.sent == ["first"]
    world.jobs.pop()()
    assert world.sent == ["first", "second"]


def test_a_thousand_records_or_four_megabytes_do_not_wait() -> None:
    world = _World()
    for _ in range(HELD_RECORDS - 1):
        world.execute(Effects(records=[_record()], unhurried=True))
    assert not world.jobs
    world.execute(Effects(records=[_record()], unhurried=True))
    assert len(world.jobs) == 1
    world.jobs.pop()()
    world.execute(Effects(records=[_record(HELD_BYTES)], unhurried=True))
    assert len(world.jobs) == 1


def test_effects_of_which_one_is_hurried_are_hurried_together() -> None:
    both = Effects(records=[_record()], unhurried=True)
    both.merge(Effects(records=[_record()]))
    assert not both.unhurried
