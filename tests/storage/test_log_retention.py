"""Which segments may be deleted (REPLICATION.md §5), and that deletion loses nothing that is still needed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec
import pytest
from tests.storage.log_files import CLUSTER, SMALL, Files, entry

from gramme.kernel.ids import Ballot, GroupId, Lsn, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import SECOND, Instant
from gramme.storage.log.shared import LogSettings, SharedLog

KEEP = 15 * SECOND


class Node:
    """A log with checkpoints of what was promised, as a node would keep it."""

    def __init__(self, install_end: Callable[[Record], Slot] | None = None) -> None:
        self.files = Files()
        self.promised: dict[GroupId, Ballot] = {}
        self.engine: dict[GroupId, int] = {}
        self.objects = 0
        self.log = SharedLog(CLUSTER, SMALL, self.checkpoint, install_end=install_end)

    def checkpoint(self) -> list[Record]:
        return [Record(RecordKind.CHECKPOINT, group, Slot(0), at, 0, 0, b"") for group, at in self.promised.items()]

    def append(self, *records: Record) -> None:
        for record in records:
            if record.kind is not RecordKind.DROP:
                self.promised[record.group] = max(record.ballot, self.promised.get(record.group, Ballot(0)))
        self.log.append(records)

    def sync(self) -> None:
        job = self.log.take()
        if job is not None:
            self.files.put(job.writes)
            self.log.on_durable(job)

    def write(self, *records: Record) -> None:
        self.append(*records)
        self.sync()

    def fill(self, segments: int, group: int = 99) -> None:
        """Write until `segments` more were begun, with entries that the engine has at once."""
        target = self.log.segment_stats()[-1].number + segments
        while self.log.segment_stats()[-1].number < target:
            slot = self.engine.get(GroupId(group), 0) + 1
            self.engine[GroupId(group)] = slot
            self.write(entry(slot, group=group))

    def deletable(self, now: int = KEEP) -> list[int]:
        return self.log.deletable(lambda group: Slot(self.engine.get(group, 0)), Lsn(self.objects), Instant(now))

    def aged(self) -> list[int]:
        """What may go once everything closed has been closed for long."""
        self.deletable(0)
        return self.deletable(KEEP)


def test_a_segment_goes_when_a_later_one_holds_a_durable_checkpoint() -> None:
    node = Node()
    node.write(entry(1))
    node.engine[GroupId(7)] = 1
    while len(node.log.segment_stats()) == 1:
        node.append(entry(1))
    assert node.aged() == []
    job = node.log.take()
    assert job is not None
    assert node.aged() == []
    node.log.on_durable(job)
    assert node.aged() == [1]


def test_a_segment_stays_for_the_time_that_outcomes_are_rebuilt_from_it() -> None:
    node = Node()
    node.fill(1)
    assert node.deletable(5) == []
    assert node.deletable(KEEP + 4) == []
    assert node.deletable(KEEP + 5) == [1]


def test_a_slot_that_the_engine_lacks_pins_its_segment_and_all_after_it() -> None:
    node = Node()
    node.fill(1)
    node.write(entry(5))
    node.fill(2)
    assert node.aged() == [1]
    node.engine[GroupId(7)] = 4
    assert node.aged() == [1]
    node.engine[GroupId(7)] = 5
    assert node.aged() == [1, 2, 3]


def test_a_dropped_group_pins_nothing_once_its_drop_is_durable() -> None:
    node = Node()
    node.write(entry(5))
    node.fill(1)
    assert node.aged() == []
    node.append(entry(0, kind=RecordKind.DROP))
    assert node.aged() == []
    node.sync()
    assert node.aged() == [1]


def test_objects_pin_until_the_engine_has_them() -> None:
    node = Node()
    node.write(entry(0, kind=RecordKind.OBJECT))
    node.fill(1)
    assert node.aged() == []
    node.objects = 1
    assert node.aged() == [1]


def test_an_installed_suffix_pins_up_to_its_end() -> None:
    node = Node(install_end=lambda record: Slot(record.slot + len(record.body)))
    node.write(entry(10, b"1234", kind=RecordKind.INSTALL))
    node.fill(1)
    node.engine[GroupId(7)] = 13
    assert node.aged() == []
    node.engine[GroupId(7)] = 14
    assert node.aged() == [1]


@pytest.mark.parametrize(
    ("follower", "needed"),
    [(RecordKind.ACCEPT, 14), (RecordKind.LEARN, 14), (RecordKind.INSTALL, 15), (RecordKind.BASE, 15)],
)
def test_an_installed_suffix_of_unknown_end_is_bounded_by_what_follows(follower: RecordKind, needed: int) -> None:
    """An entry in slot 15 follows or cuts there, so slot 14 was the last; a suffix or snapshot after 15 leaves 15."""
    node = Node()
    node.write(entry(10, b"....", kind=RecordKind.INSTALL))
    node.fill(1)
    node.engine[GroupId(7)] = 1000
    assert node.aged() == []
    node.write(entry(15, b"", kind=follower))
    node.engine[GroupId(7)] = needed - 1
    assert node.aged() == []
    node.engine[GroupId(7)] = needed
    assert node.aged() == [1]


def test_segments_go_oldest_first_and_the_open_one_never() -> None:
    node = Node()
    node.fill(3)
    assert node.aged() == [1, 2, 3]
    with pytest.raises(AssertionError, match="oldest first"):
        node.log.deleted(2)
    for number in (1, 2, 3):
        node.log.deleted(number)
    with pytest.raises(AssertionError, match="never deleted"):
        node.log.deleted(4)
    assert node.aged() == []


def test_an_idle_groups_promise_outlives_the_segment_it_was_made_in() -> None:
    """REPLICATION.md §5, planted: delete a segment that holds an idle group's promise."""
    node = Node()
    node.write(Record(RecordKind.PROMISE, GroupId(3), Slot(0), Ballot(77 << 16), 0, 0, b""))
    node.fill(3)
    for number in node.aged():
        node.log.deleted(number)
        del node.files.content[number]
    recovery = node.files.recover()
    assert not recovery.damaged
    assert [record.ballot for _, record in recovery.records if record.group == 3] == [77 << 16]


def test_segments_found_at_recovery_are_judged_by_what_they_hold() -> None:
    node = Node()
    node.fill(2)
    node.write(entry(5), entry(0, kind=RecordKind.OBJECT))
    recovery = node.files.recover()
    again = Node()
    again.promised, again.engine, again.files = node.promised, node.engine, node.files
    again.log = SharedLog(CLUSTER, SMALL, again.checkpoint, recovery)
    assert [stats.number for stats in again.log.segment_stats()] == [1, 2, 3, 4]
    assert again.aged() == []  # the new segment has no durable checkpoint yet
    again.write(entry(6, group=8))
    assert again.aged() == [1, 2]
    again.engine[GroupId(7)] = 5
    assert again.aged() == [1, 2]
    again.objects = recovery.last_lsn
    assert again.aged() == [1, 2, 3]


def test_random_lives_lose_no_promise_and_no_slot_that_the_engine_lacks() -> None:
    for seed in range(40):
        _random_life(Random(seed))


def _random_life(rng: Random) -> None:
    node = Node()
    last: dict[GroupId, int] = {}
    now = 0
    deleted = 0
    for _ in range(400):
        group = GroupId(1 + rng.randrange(4))
        if rng.random() < 0.1:
            ballot = Ballot(node.promised.get(group, 0) + 1)
            node.append(Record(RecordKind.PROMISE, group, Slot(0), ballot, 0, 0, b""))
        else:
            last[group] = last.get(group, 0) + 1
            made = entry(last[group], rng.randbytes(rng.randrange(300)), group)
            node.append(msgspec.structs.replace(made, ballot=Ballot(0)))
        if rng.random() < 0.3:
            node.sync()
        if rng.random() < 0.1:
            node.engine[group] = last.get(group, 0)
        now += SECOND
        for number in node.deletable(now):
            node.log.deleted(number)
            del node.files.content[number]
            deleted += 1
        if rng.random() < 0.02:
            node.sync()
            recovery = node.files.recover()
            node.log = SharedLog(CLUSTER, LogSettings(32768, 32), node.checkpoint, recovery)
    node.sync()
    recovery = node.files.recover()
    assert not recovery.damaged
    assert recovery.torn is None
    assert deleted > 0
    for group, ballot in node.promised.items():
        assert max(record.ballot for _, record in recovery.records if record.group == group) == ballot
    for group, slot in last.items():
        held = [r.slot for _, r in recovery.records if r.group == group and r.kind is RecordKind.ACCEPT]
        needed = range(node.engine.get(group, 0) + 1, slot + 1)
        assert held[len(held) - len(needed) :] == list(needed)
