"""The simulated log disk: what a crash may do, what it may not, and that a seed fixes all of it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

import pytest
from tests.storage.log_files import checkpoint, entry

from gramme.kernel.ids import ClusterId, Lsn
from gramme.kernel.ports import SegmentWrite
from gramme.kernel.record import Record
from gramme.sim.disk import SECTOR_BYTES, SimLogDisk
from gramme.storage.log.recovery import Recovery, recover
from gramme.storage.log.shared import LogJob, LogSettings, SharedLog

CLUSTER = ClusterId(b"0123456789abcdef")
SETTINGS = LogSettings(segment_bytes=32768, identifiers_per_segment=64)


class Loop:
    """Just enough virtual time."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def schedule(self, delay_ns: int, callback: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay_ns, self._sequence, callback))

    def step(self) -> bool:
        if not self._events:
            return False
        self.now, _, callback = heapq.heappop(self._events)
        callback()
        return True

    def drain(self) -> None:
        while self.step():
            pass


def build(seed: int = 1) -> tuple[Loop, SimLogDisk]:
    loop = Loop()
    return loop, SimLogDisk(Random(seed), loop.schedule)


def test_jobs_are_durable_later_in_order_and_share_an_fsync() -> None:
    loop, disk = build()
    done: list[int] = []
    for number in range(5):
        disk.submit([SegmentWrite(1, number * 10, b"0123456789")], lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == []
    loop.drain()
    assert done == [0, 1, 2, 3, 4]
    assert disk.fsyncs == 2  # the first alone, the four that waited together
    disk.reopen()
    assert disk.segments() == [1]
    assert disk.read(1) == b"0123456789" * 5


def test_a_gap_before_the_first_write_reads_as_zeros() -> None:
    loop, disk = build()
    disk.submit([SegmentWrite(3, 600, b"x")], lambda: None)
    loop.drain()
    disk.reopen()
    assert disk.read(3) == bytes(600) + b"x"


def test_reading_after_writing_began_is_an_error() -> None:
    _, disk = build()
    disk.submit([SegmentWrite(1, 0, b"x")], lambda: None)
    with pytest.raises(AssertionError):
        disk.segments()
    with pytest.raises(AssertionError):
        disk.read(1)


def test_a_crash_tears_by_sectors_and_never_touches_what_was_durable() -> None:
    outcomes = set()
    for seed in range(60):
        loop, disk = build(seed)
        disk.submit([SegmentWrite(1, 0, b"a" * 3000)], lambda: None)
        loop.drain()
        called: list[int] = []
        disk.submit([SegmentWrite(1, 3000, b"b" * 3000)], lambda called=called: called.append(1))  # type: ignore[misc]
        disk.crash()
        loop.drain()
        assert not called
        disk.reopen()
        data = disk.read(1).ljust(6000, b"\0")
        assert data[:3000] == b"a" * 3000
        for at in range(3072, 6000, SECTOR_BYTES):
            assert len(set(data[at : min(at + SECTOR_BYTES, 6000)])) == 1
        outcomes.add(bytes(data[at] for at in range(3072, 6000, SECTOR_BYTES)))
    assert bytes(6) in outcomes
    assert b"b" * 6 in outcomes
    assert len(outcomes) > 10


def test_a_killed_process_leaves_its_writer_to_finish() -> None:
    loop, disk = build()
    called: list[int] = []
    disk.submit([SegmentWrite(1, 0, b"first")], lambda: called.append(1))
    disk.submit([SegmentWrite(1, 5, b"second")], lambda: called.append(2))
    disk.kill()
    loop.drain()
    disk.reopen()
    assert disk.read(1) == b"firstsecond"
    assert not called


def test_a_deleted_segment_may_reappear_only_if_the_crash_came_first() -> None:
    seen = set()
    for seed in range(40):
        loop, disk = build(seed)
        for segment in (1, 2, 3):
            disk.submit([SegmentWrite(segment, 0, b"x")], lambda: None)
        loop.drain()
        disk.delete(1)
        disk.delete(2)
        disk.crash()
        seen.add(tuple(disk.stored()))
    assert seen == {(1, 2, 3), (2, 3), (3,)}
    loop, disk = build()
    disk.submit([SegmentWrite(1, 0, b"x"), SegmentWrite(2, 0, b"x")], lambda: None)
    disk.delete(1)
    loop.drain()
    disk.crash()
    assert disk.stored() == [2]


@pytest.mark.parametrize("cause", ["full", "broken"])
def test_a_failed_fsync_is_told_and_nothing_is_durable_any_more(cause: str) -> None:
    loop, disk = build()
    reasons: list[str] = []
    called: list[int] = []
    disk.on_failure = reasons.append
    if cause == "full":
        disk.free = 99
    else:
        disk.fail_next()
    assert disk.free_bytes() == disk.free
    disk.submit([SegmentWrite(1, 0, b"x" * 100)], lambda: called.append(1))
    disk.submit([SegmentWrite(1, 100, b"y")], lambda: called.append(2))
    loop.drain()
    expected = "No space left on device" if cause == "full" else "Input/output error"
    assert reasons == [f"writing the log failed: {expected}"]
    disk.free = 1 << 30
    disk.submit([SegmentWrite(1, 0, b"z")], lambda: called.append(3))
    loop.drain()
    assert called == []
    assert disk.stored() == []
    disk.crash()
    disk.reopen()
    disk.submit([SegmentWrite(1, 0, b"z")], lambda: called.append(4))
    loop.drain()
    assert called == [4]


class Life:
    """Lives of one log on one disk: write, crash, recover, go on; checks each recovery against what was durable."""

    def __init__(self, seed: int, disk_class: type[SimLogDisk] = SimLogDisk) -> None:
        self.rng = Random(seed)
        self.loop = Loop()
        self.disk = disk_class(Random(seed + 1), self.loop.schedule)
        self.appended: dict[int, Record] = {}
        self.durable = Lsn(0)
        self.slot = 0

    def recover(self) -> Recovery:
        self.disk.reopen()
        recovery = recover([(number, self.disk.read(number)) for number in self.disk.segments()], CLUSTER)
        assert not recovery.damaged, str(recovery.damaged[0])
        held = dict(recovery.records)
        for lsn, record in recovery.records:
            assert self.appended[lsn] == record
        lost = [lsn for lsn in self.appended if lsn not in held and lsn <= self.durable]
        assert not lost, f"durable LSNs {lost} are lost"
        assert recovery.next_lsn > max(held, default=0)
        self.appended = dict(recovery.records)  # what was cut never comes back
        self.durable = recovery.last_lsn
        return recovery

    def live(self) -> None:
        log = SharedLog(CLUSTER, SETTINGS, checkpoint, self.recover())
        flying: list[LogJob] = []

        def durable(job: LogJob) -> None:
            flying.remove(job)
            log.on_durable(job)
            self.durable = log.durable_lsn

        for _ in range(self.rng.randrange(1, 60)):
            for _ in range(self.rng.randrange(1, 8)):
                self.slot += 1
                record = entry(self.slot, self.rng.randbytes(self.rng.randrange(400)))
                self.appended[log.append([record])] = record
            if len(flying) < 2 and (job := log.take()) is not None:
                if job.last_lsn not in self.appended:
                    self.appended[job.last_lsn] = checkpoint()[0]
                flying.append(job)
                self.disk.submit(job.writes, lambda job=job: durable(job))  # type: ignore[misc]
            if self.rng.random() < 0.2:
                self.loop.drain()
            if not flying and self.rng.random() < 0.3 and (mark := log.take_mark()) is not None:
                self.disk.submit([mark], lambda: None)
            elif self.rng.random() < 0.5:
                self.loop.step()
        if self.rng.random() < 0.8:
            self.disk.crash()
        else:
            self.disk.kill()
        for lsn in [lsn for lsn in self.appended if lsn > log.last_lsn]:
            del self.appended[lsn]


def test_a_log_survives_any_crash_of_its_disk_without_loss_or_false_damage() -> None:
    for seed in range(150):
        life = Life(seed)
        for _ in range(6):
            life.live()
        life.recover()


class ForgetfulDisk(SimLogDisk):
    """Planted: it acknowledges every tenth fsync and keeps only the later half of each job."""

    def sync_jobs(self, jobs: list[tuple[list[SegmentWrite], list[int]]]) -> None:
        if self.fsyncs % 10 == 9:
            jobs = [(writes[len(writes) // 2 :], deletes) for writes, deletes in jobs]
        super().sync_jobs(jobs)


class TailCutter(SimLogDisk):
    """Planted: a crash cuts bytes that were synced long ago off the newest segment."""

    def crash(self) -> None:
        super().crash()
        if self.stored():
            newest = self.stored()[-1]
            self.truncate(newest, self.size_bytes(newest) * 3 // 4)


@pytest.mark.parametrize("fault", [ForgetfulDisk, TailCutter])
def test_a_disk_that_loses_what_it_acknowledged_is_caught(fault: type[SimLogDisk]) -> None:
    caught = 0
    for seed in range(20):
        life = Life(seed, fault)
        try:
            for _ in range(6):
                life.live()
            life.recover()
        except AssertionError as error:
            caught += str(error).startswith("segment ")  # the log itself calls it damage
    assert caught >= 15


def test_the_same_seed_gives_the_same_bytes() -> None:
    def run(seed: int) -> list[bytes]:
        life = Life(seed)
        for _ in range(4):
            life.live()
        life.disk.reopen()
        return [life.disk.read(number) for number in life.disk.segments()]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_bit_rot_turns_one_bit() -> None:
    loop, disk = build()
    disk.submit([SegmentWrite(1, 0, bytes(4))], lambda: None)
    loop.drain()
    disk.flip(1, 2, bit=5)
    disk.reopen()
    assert disk.read(1) == b"\0\0\x20\0"
    with pytest.raises(KeyError):
        disk.flip(9, 0)
