"""What a node makes of a damaged log: who takes part no more, and who only does not trust its memory of outcomes.

A seed replays the same run only while the code that draws from it is the same; so what the simulator found is told here
once more, by hand. Groups do not heal here: how they do is told in `test_self_healing.py`."""

from __future__ import annotations

import pytest
from tests.node.three import ALL, DELETE, ITEM, KEY, N0, N1, N2, SCHEMA, STRONG, Three

from gramme.kernel.ids import CATALOG_GROUP, CommandId, GroupId, NodeId, Slot, ballot_round
from gramme.kernel.record import RecordKind
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.extents import first_extent
from gramme.storage.engine.rows import extent_range
from gramme.storage.log.layout import (
    IDENTIFIER_BYTES,
    IDENTIFIERS_AT,
    Identifier,
    read_header,
    read_identifier,
    segment_seed,
)
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.keys import encode_key
from gramme.tables.requests import Condition, Found, PutItem, Written

_INSERT = PutItem(KEY, ITEM, 3, Condition("attribute_not_exists(pk)"))
_ONCE = CommandId(b"an insert, once!")
_ABSENT = Found(None, 0)


def _identifiers(three: Three, node: NodeId) -> list[tuple[int, Identifier]]:
    """(segment, identifier) of all records on a node's disk, oldest first."""
    found = []
    for segment, data in three.cluster.machines[node].log_disk.contents().items():
        header, _ = read_header(segment, data)
        assert header is not None
        for number in range(header.capacity):
            start = IDENTIFIERS_AT + IDENTIFIER_BYTES * number
            identifier = read_identifier(data[start : start + IDENTIFIER_BYTES], segment_seed(segment))
            if identifier is not None:
                found.append((segment, identifier))
    return found


def damage(
    three: Three, node: NodeId, group: GroupId, kind: RecordKind, slot: Slot | None = None, *, last: bool = False
) -> Identifier:
    """Turn a bit in the body of the first record of that kind (and slot), or the last, of a node that is down."""
    machine = three.cluster.machines[node]
    assert machine.process is None
    found = [
        (segment, identifier)
        for segment, identifier in _identifiers(three, node)
        if (identifier.group, identifier.kind) == (group, kind)
        and identifier.body_bytes
        and slot in (None, identifier.slot)
    ]
    segment, identifier = found[-1 if last else 0]
    machine.log_disk.flip(segment, identifier.offset + IDENTIFIER_BYTES)
    machine.damaged = True
    return identifier


def _with_a_table() -> tuple[Three, TableDescriptor, GroupId]:
    """Engines are flushed often, so that a restart replays little."""
    three = Three(flush_interval_ns=200 * MILLISECOND, segment_bytes=32 << 10, healing=False)
    table = three.create()
    return three, table, table.partitions[0].group


def _write(three: Three, table: TableDescriptor, count: int, size: int = 10) -> None:
    for number in range(count):
        key = encode_key(SCHEMA, {"S": f"other{number}"})
        item = b'{"pk":{"S":"other%d"},"p":{"S":"%s"}}' % (number, b"x" * size)
        assert isinstance(three.submit(N0, table, PutItem(key, item, size + 10)), Written)


def _no_leader(three: Three, group: GroupId, length_ns: int) -> bool:
    """Whether nobody leads for so long, once the old lease is over."""
    three.run(3 * SECOND)
    end_ns = three.world.now_ns + length_ns
    while three.world.now_ns < end_ns:
        if three.leader(group) is not None:
            return False
        three.run(10 * MILLISECOND)
    return True


# --- what may have been forgotten -------------------------------------------------------------------------------------


def test_a_lost_install_is_never_harmless_since_it_carries_a_promise() -> None:
    """Simulation (rot, seed 6): its slot is the one *before* its suffix, so it counted as applied; the replica went on
    with an older ballot for its log, and two barriers were chosen for one slot."""
    three, table, group = _with_a_table()
    _write(three, table, 5)
    three.lead(N1, group)
    _write(three, table, 5)
    three.run(2 * SECOND)  # flushed
    three.crash(N2)
    installs = [i.slot for _, i in _identifiers(three, N2) if (i.group, i.kind) == (group, RecordKind.INSTALL)]
    lost = damage(three, N2, group, RecordKind.INSTALL, max(installs))
    assert lost.slot > 0
    three.start(N2)
    partition = three.replica(N2, group)
    assert partition.rows.applied.slot >= lost.slot
    assert group in three.node(N2).groups.amnesiac
    three.crash(N1)
    assert _no_leader(three, group, 5 * SECOND), "an amnesiac replica voted"


def test_a_lost_entry_that_is_applied_is_harmless() -> None:
    three, table, group = _with_a_table()
    _write(three, table, 5)
    three.run(2 * SECOND)
    three.crash(N2)
    lost = damage(three, N2, group, RecordKind.ACCEPT)
    three.start(N2)
    assert three.replica(N2, group).rows.applied.slot >= lost.slot
    assert group not in three.node(N2).groups.amnesiac
    three.crash(N1)
    three.until(lambda: three.leader(group) is not None, "two of three lead")


def test_a_group_whose_creation_is_lost_is_not_made_anew() -> None:
    """Simulation (rot): the node did not host the group, so the catalog asked it to, and the replica that it made voted
    as if it had never promised anything. It stays away also when the damaged segment is gone (REPLICATION.md §5)."""
    three, table, group = _with_a_table()
    busy = three.create("Busy")
    _write(three, table, 5)
    three.run(2 * SECOND)
    three.crash(N2)
    damage(three, N2, group, RecordKind.CREATE)
    first = three.cluster.machines[N2].log_disk.stored()[0]
    three.start(N2)
    three.run(5 * SECOND)  # the catalog has asked by now
    assert not _hosted(three, group)
    while first in three.cluster.machines[N2].log_disk.stored():
        _write(three, busy, 10, size=500)
        three.run(SECOND)
    three.crash(N2)
    three.start(N2)
    three.run(5 * SECOND)
    assert not _hosted(three, group), "the damage is gone, and what it did was forgotten"
    three.crash(N1)
    assert _no_leader(three, group, 5 * SECOND)


def test_a_table_of_which_a_replica_is_lost_leaves_nothing_behind_when_it_is_deleted() -> None:
    three, table, group = _with_a_table()
    _write(three, table, 5)
    three.run(2 * SECOND)
    three.crash(N2)
    damage(three, N2, group, RecordKind.CREATE)
    three.start(N2)
    three.run(5 * SECOND)
    assert not _hosted(three, group)
    rows = three.cluster.machines[N2].engine
    assert list(rows.scan(*extent_range(first_extent(group))))
    three.delete()
    assert not list(rows.scan(*extent_range(first_extent(group))))
    for _ in range(2):
        assert group not in three.node(N2).groups.amnesiac
        assert group in three.node(N2).groups.dropped
        three.crash(N2)
        three.start(N2)


def _hosted(three: Three, group: GroupId) -> bool:
    """Whether node 2 has a replica of `group`; if not, it says why, and knows that it must not make one."""
    groups = three.node(N2).groups
    if group in groups.partitions:
        return True
    assert group in groups.amnesiac
    assert group in groups.lost
    return False


def test_a_node_that_lost_its_replica_of_the_catalog_does_not_found_it_again() -> None:
    """Simulation (rot, seed 178)."""
    three, table, _ = _with_a_table()
    _write(three, table, 5)
    three.run(2 * SECOND)
    three.crash(N2)
    damage(three, N2, CATALOG_GROUP, RecordKind.CREATE)
    three.start(N2)
    three.run(2 * SECOND)
    assert CATALOG_GROUP not in three.node(N2).groups.partitions
    three.crash(N1)
    assert _no_leader(three, CATALOG_GROUP, 5 * SECOND)


def test_a_log_that_ends_below_its_chosen_mark_takes_its_replica_away_and_not_the_node() -> None:
    """Simulation (rot, seed 60): the mark stands in the next segment's checkpoint, the entry was lost unapplied."""
    three = Three(flush_interval_ns=1_000 * SECOND, flush_bytes=1 << 30, segment_bytes=32 << 10, healing=False)
    quiet, busy = three.create(), three.create("Busy")
    group = quiet.partitions[0].group
    _write(three, quiet, 3)
    three.run(SECOND)
    three.cluster.stall_engine(N2, True)
    _write(three, quiet, 1)
    three.run(SECOND)  # node 2 knows that it is chosen, and cannot apply it
    last = three.replica(N2, group).replica.chosen_slot
    assert last > three.replica(N2, group).rows.applied.slot
    segments = len(three.cluster.machines[N2].log_disk.stored())
    _write(three, busy, 40, size=500)
    three.run(SECOND)
    assert len(three.cluster.machines[N2].log_disk.stored()) > segments
    three.crash(N2)
    damage(three, N2, group, RecordKind.ACCEPT, last)
    three.start(N2)
    assert f"slot {last} is chosen" in three.node(N2).groups.amnesiac[group]
    assert group in three.node(N2).groups.lost
    assert busy.partitions[0].group in three.node(N2).groups.partitions


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_a_write_is_not_applied_again_where_damage_hides_that_it_was() -> None:
    """Simulation (rot, seed 64): the entry is in the engine, so its loss is harmless for the log; that its command was
    applied is known from the log alone."""
    three, table, group = _with_a_table()
    assert three.submit(N0, table, _INSERT, _ONCE) == Written(None, 0, 3)
    slot = three.replica(N0, group).rows.applied.slot
    three.submit(N0, table, DELETE)
    _write(three, table, 5)
    three.run(2 * SECOND)
    three.crash(N2)
    damage(three, N2, group, RecordKind.ACCEPT, slot)
    three.start(N2)
    assert group not in three.node(N2).groups.amnesiac
    assert three.replica(N2, group).outcomes.doubted(three.node(N2).host.now())
    three.lead(N2, group)
    assert three.submit(N2, table, _INSERT, _ONCE, repeated=True) == Written(None, 0, 3)
    assert three.submit(N2, table, STRONG) == _ABSENT
    assert three.leader(group) != N2, "another one, who knows, has answered"


@pytest.mark.parametrize("knows", ALL)
def test_who_doubts_gives_leadership_to_the_one_that_knows(knows: NodeId) -> None:
    """Simulation (range-losses, seed 1049): two that doubted handed a group to each other until they knew again, and it
    took no write for ten seconds."""
    three, table, group = _with_a_table()
    three.lead(knows, group)
    doubting = [node for node in ALL if node != knows]
    for node in doubting:
        three.replica(node, group).outcomes.doubt(three.node(node).host.now())
    three.lead(doubting[0], group)
    before = _round_of(three, group)
    three.until(lambda: three.leader(group) == knows, "the one that knows leads", SECOND)
    assert _round_of(three, group) == before + 1, "somebody else led meanwhile"
    assert isinstance(three.submit(doubting[1], table, DELETE), Written)


def test_where_all_doubt_leadership_stays_where_it_is() -> None:
    three, table, group = _with_a_table()
    for node in ALL:
        three.replica(node, group).outcomes.doubt(three.node(node).host.now())
    three.lead(N1, group)
    settled = _round_of(three, group)
    three.run(13 * SECOND)
    assert isinstance(three.submit(N0, table, DELETE), Written)
    assert (three.leader(group), _round_of(three, group)) == (N1, settled)


def _round_of(three: Three, group: GroupId) -> int:
    return max(ballot_round(three.replica(node, group).replica.ballot) for node in ALL)
