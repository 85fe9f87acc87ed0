"""Change records go when nobody needs them, not earlier nor much later; no new leader reads them again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.streamed import BY_GROUP, Streamed
from tests.node.three import ALL, N0, N1

import gramme.node.changes.feeder as feeder_module
import gramme.node.changes.retention as retention_module
from gramme.kernel.ids import NodeId, Slot
from gramme.kernel.time import SECOND, Stamp
from gramme.node.changes.change_log import ChangeLog, Shard, configured, trimmed
from gramme.node.changes.feeder import Feeder
from gramme.node.mutation import ChangeRecord, decode_change
from gramme.tables.descriptor import KeySchema, Partition
from gramme.tables.indexes import PartitionSchema
from gramme.tables.streams import RETENTION_S, Position, ReadChanges

HOUR = 3_600


def g(count: int) -> dict[str, Any]:
    return {"S": f"g{count}"}


def kept(three: Streamed, place: Partition, node: NodeId = N0) -> int:
    """Change records that a replica has."""
    return sum(1 for _ in three.replica(node, place.group).rows.scan(b"\x04", b"\x05", False))


def total(three: Streamed, node: NodeId = N0) -> int:
    return sum(kept(three, place, node) for place in three.table().partitions)


def _watch_reading(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The change records that feeders read from now on."""
    read: list[bytes] = []

    def decode(value: bytes) -> ChangeRecord:
        read.append(value)
        return decode_change(value)

    monkeypatch.setattr(feeder_module, "decode_change", decode)
    return read


def test_records_expire_after_a_day_and_readers_are_told() -> None:
    three = Streamed(skew=False)
    three.create_streamed()
    (stream,) = three.streams()
    for count in range(20):
        three.put(f"k{count}", g=g(0))
    three.advance_wall(23 * HOUR)
    for count in range(20):
        three.put(f"k{count}", g=g(1))
    three.run(3 * SECOND)
    assert total(three) == 40
    three.advance_wall(HOUR + 600)
    three.until(lambda: all(total(three, node) == 20 for node in ALL), "the older ones are gone everywhere")
    for place in stream.partitions:
        records = three.shard(stream, place)
        oldest = three.bounds(stream, place).oldest
        assert Position(1, 0) != oldest
        assert all((r.at.slot, r.at.index) >= (oldest.slot, oldest.index) for r in records)
    three.advance_wall(RETENTION_S + 600)
    three.until(lambda: total(three) == 0, "all are gone")
    three.put("k1", g=g(2))
    assert len(three.records(stream)) == 1


def test_a_reader_that_keeps_asking_misses_nothing_when_what_it_has_read_expires() -> None:
    three = Streamed(skew=False)
    three.create_streamed()
    (stream,) = three.streams()
    three.put("a")
    (place,) = [place for place in stream.partitions if kept(three, place)]
    at = three.read(place, ReadChanges(stream.label, Position(0, 0), 100, consistent=True)).next
    three.advance_wall(RETENTION_S + 600)
    three.until(lambda: kept(three, place) == 0, "the record is gone")
    page = three.read(place, ReadChanges(stream.label, at, 100, consistent=True))
    assert (page.oldest.slot, page.oldest.index) <= (at.slot, at.index)


def test_what_an_index_has_not_confirmed_never_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Streamed(skew=False)
    three.create_streamed(indexes=(BY_GROUP,))
    three.put("a", g=g(0))
    three.run(SECOND)
    feed = Feeder._feed
    monkeypatch.setattr(Feeder, "_feed", lambda self, lane: None)
    three.put("a", g=g(1))
    three.advance_wall(2 * RETENTION_S)
    three.run(5 * SECOND)
    assert total(three) == 1
    monkeypatch.setattr(Feeder, "_feed", feed)
    for feeder in [feeder for node in ALL for feeder in three.node(node).feeders.running.values()]:
        feeder.wake()
    three.until(lambda: total(three) == 0, "the index has it")


@pytest.mark.plain
def test_much_goes_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "_STEP_SLOTS", 7)
    three = Streamed(skew=False)
    table = three.create_streamed()
    for count in range(40):
        three.put("a", v=g(count))
    (place,) = [place for place in table.partitions if kept(three, place)]
    leader = three.leader(place.group)
    assert leader is not None
    before = three.replica(leader, place.group).replica.last_slot
    three.advance_wall(RETENTION_S + 600)
    three.until(lambda: kept(three, place) == 0, "all are gone")
    commands = three.replica(leader, place.group).replica.last_slot - before
    assert 40 // 8 <= commands <= 40 // 8 + 2


def test_a_new_leaders_feeder_reads_only_what_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Streamed()
    table = three.create_streamed(indexes=(BY_GROUP,))
    for count in range(60):
        three.put("a", g=g(count))
    three.run(SECOND)
    (place,) = [place for place in table.partitions if kept(three, place)]
    assert kept(three, place) == 60
    decoded = _watch_reading(monkeypatch)
    target = next(node for node in ALL if node != three.leader(place.group))
    three.lead(target, place.group)
    three.put("a", g=g(60))
    three.run(SECOND)
    assert three.node(target).feeders.running[place.group].backlog == 0
    assert len(decoded) == 1


def test_only_what_is_not_confirmed_counts_as_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder_module, "MAX_BACKLOG_ROWS", 10)
    three = Streamed()
    three.create_streamed(indexes=(BY_GROUP,))
    for count in range(50):  # a stream keeps them all; the index has them, so no write is refused
        three.put("a", g=g(count))
    three.run(SECOND)
    assert total(three) == 50


def test_an_index_added_late_does_not_read_what_a_stream_has_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Streamed()
    three.create_streamed()
    for count in range(30):
        three.put(f"k{count % 5}", g=g(count))
    decoded = _watch_reading(monkeypatch)
    three.update(add=BY_GROUP, attribute_definitions=(("pk", "S"), ("g", "S")))
    assert decoded == []
    for count in range(5):
        three.put(f"k{count}", g=g(99))
    three.run(SECOND)
    assert len(decoded) == 5
    (stream,) = three.streams()
    assert len(three.records(stream, N1)) == 35


# --- the rule itself


@st.composite
def _logs(draw: Any) -> tuple[ChangeLog, int]:
    """A log as commands make it, and the slot that follows."""
    slot = 0
    shards: list[Shard] = []
    for number in range(draw(st.integers(0, 3))):
        first = slot = slot + draw(st.integers(1, 5))
        last = slot = slot + draw(st.integers(1, 5))
        shards.append(Shard(str(number), Slot(first), Slot(last), Stamp(last)))
    if shards and draw(st.booleans()):
        shards[-1] = Shard(shards[-1].label, shards[-1].first)
    end = slot + draw(st.integers(1, 6))
    confirmed = draw(st.integers(0, end - 1))
    return ChangeLog(confirmed, draw(st.integers(0, confirmed)), tuple(shards)), end


@settings(max_examples=400, deadline=None)
@given(_logs(), st.booleans(), st.data())
def test_a_record_goes_only_if_nobody_needs_it_and_goes_in_the_end(
    drawn: tuple[ChangeLog, int], feeds: bool, data: st.DataObject
) -> None:
    log, end = drawn
    present = set(range(log.trimmed + 1, end))
    expired = 0
    for _ in range(4):
        confirmed = data.draw(st.integers(0, end - 1), "confirmed")
        expired = max(expired, data.draw(st.integers(0, end - 1), "expired"))
        forgotten = tuple(s.label for s in log.shards if s.last is not None and s.last <= expired)
        after, ranges = trimmed(log, feeds, Slot(end - 1), confirmed, expired, forgotten)
        gone = {slot for behind, through in ranges for slot in range(behind + 1, through + 1)}
        held = confirmed if feeds else end - 1
        for slot in gone & present:
            assert slot <= max(held, log.confirmed)
            covered = any(s.first < slot and (s.last is None or slot < s.last) for s in log.shards)
            assert not covered or slot <= expired
        assert after.trimmed >= log.trimmed
        assert after.confirmed >= log.confirmed
        present -= gone
        log = after
    closed = tuple(s.label for s in log.shards if s.last is not None)
    after, ranges = trimmed(log, feeds, Slot(end - 1), end - 1, end - 1, closed)
    present -= {slot for behind, through in ranges for slot in range(behind + 1, through + 1)}
    assert present == set()


def test_shards_follow_the_schema() -> None:
    key = KeySchema("pk", "S")
    none, one, two = (PartitionSchema(v, key, (), stream) for v, stream in ((1, None), (2, "a"), (3, "b")))
    log = configured(ChangeLog(), none, one, Slot(5), Stamp(50))
    assert log.shards == (Shard("a", Slot(5)),)
    assert configured(log, one, one, Slot(6), Stamp(60)).shards == log.shards
    log = configured(log, one, two, Slot(9), Stamp(90))
    assert log.shards == (Shard("a", Slot(5), Slot(9), Stamp(90)), Shard("b", Slot(9)))
    log = configured(log, two, PartitionSchema(4, key, (), sealed=True), Slot(11), Stamp(110))
    assert log.shards[-1] == Shard("b", Slot(9), Slot(11), Stamp(110))
