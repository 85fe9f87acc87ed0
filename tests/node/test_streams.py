"""Lives of streams: with a table, on a live one, off and on again, past their table; and through trouble."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.streamed import BOTH, BY_GROUP, KEY_SCHEMA, NAME, Streamed, encoded, put
from tests.node.three import ALL, N0, N1, N2, PUT

from gramme.kernel.ids import CATALOG_GROUP, NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.catalog import streams as catalog_streams
from gramme.node.catalog.commands import ForgetStreams
from gramme.node.catalog.schema_service import Push
from gramme.node.table_evaluator import SealedEvaluator
from gramme.tables.catalog import CreateTable, DeleteTable, ListTables, SetTimeToLive, StreamChange, UpdateTable
from gramme.tables.requests import Condition, DeleteItem, Failed, FailureKind, GetItem, Refused
from gramme.tables.streams import RETENTION_S, ListStreams, Position, ReadChanges
from gramme.tables.transaction_commands import Finish, Prepare, Prepared
from gramme.tables.transactions import ConditionCheck

A = {"S": "a"}


def s(text: str) -> dict[str, Any]:
    return {"S": text}


def n(number: int) -> dict[str, Any]:
    return {"N": str(number)}


# --- records


def test_each_change_is_a_record_with_both_images_at_every_node() -> None:
    three = Streamed()
    table = three.create_streamed()
    (stream,) = three.streams()
    assert (stream.label, stream.view, stream.status) == (table.latest_stream, BOTH, "ENABLED")
    three.put("a", v=n(1))
    three.put("a", v=n(2))
    three.remove("a")
    three.remove("a")
    expected = [
        (None, {"pk": A, "v": n(1)}),
        ({"pk": A, "v": n(1)}, {"pk": A, "v": n(2)}),
        ({"pk": A, "v": n(2)}, None),
    ]
    three.run(100 * MILLISECOND)
    for node in ALL:
        assert three.changes_of(stream, "a", node) == expected
        assert three.records(stream, node, consistent=False) == three.records(stream)


def test_a_write_that_changes_nothing_makes_no_record() -> None:
    three = Streamed()
    three.create_streamed()
    (stream,) = three.streams()
    three.put("a", v=n(1), tags={"SS": ["x", "y"]})
    three.put("a", v=n(1), tags={"SS": ["x", "y"]})
    three.put("a", tags={"SS": ["y", "x"]}, v=n(1))
    assert len(three.records(stream)) == 1
    three.put("a", tags={"SS": ["y", "z"]}, v=n(1))
    assert len(three.records(stream)) == 2


def test_records_tell_when_they_were_written() -> None:
    three = Streamed()
    three.create_streamed()
    (stream,) = three.streams()
    before = [three.cluster.machines[node].clock.timestamp() for node in ALL]
    three.put("a")
    after = [three.cluster.machines[node].clock.timestamp() for node in ALL]
    (record,) = three.records(stream)
    assert min(before) <= record.stamp <= max(after)
    assert not record.service


def test_pages_are_bounded_in_records_and_bytes() -> None:
    three = Streamed()
    three.create_streamed()
    (stream,) = three.streams()
    for count in range(6):
        three.put("a", v=n(count), padding=s("p" * 1_000))
    (place,) = [place for place in stream.partitions if three.shard(stream, place)]
    every = three.shard(stream, place)
    page = three.read(place, ReadChanges(stream.label, Position(0, 0), 2, consistent=True))
    assert page.records == every[:2]
    assert page.next == Position(every[1].at.slot, 1)
    page = three.read(place, ReadChanges(stream.label, every[1].at, 100, 4_500, consistent=True))
    assert page.records == every[1:3]  # the third would go past the bound
    page = three.read(place, ReadChanges(stream.label, Position(0, 0), 100, 1, consistent=True))
    assert page.records == every[:1]  # one always fits
    page = three.bounds(stream, place)
    behind = three.replica(N0, place.group).replica.last_slot + 1
    assert (page.records, page.end) == ([], Position(behind, 0))
    assert page.oldest == Position(1, 0)
    page = three.read(place, ReadChanges(stream.label, every[-1].at, 100, consistent=True))
    assert (page.records, page.next, page.last) == (every[-1:], page.end, None)
    page = three.read(place, ReadChanges(stream.label, page.next, 100, consistent=True))
    assert (page.records, page.next, page.last) == ([], page.end, None)


def test_transactions_leave_records_with_both_images() -> None:
    three = Streamed()
    table = three.create_streamed()
    (stream,) = three.streams()
    keys = [f"k{count}" for count in range(6)]
    assert len({table.partition_of(encoded(key)).group for key in keys}) > 1
    three.put("k0", v=n(0))
    three.put("k1", v=n(0))
    there = Condition("attribute_exists(pk)")
    three.transact(
        put("k0", v=n(1)), DeleteItem(encoded("k1")), *(put(key, v=n(1)) for key in keys[2:5]),
        ConditionCheck(encoded("k5"), Condition("attribute_not_exists(pk)")),
    )  # fmt: skip
    assert three.changes_of(stream, "k0")[1:] == [({"pk": s("k0"), "v": n(0)}, {"pk": s("k0"), "v": n(1)})]
    assert three.changes_of(stream, "k1")[1:] == [({"pk": s("k1"), "v": n(0)}, None)]
    for key in keys[2:5]:
        assert three.changes_of(stream, key) == [(None, {"pk": s(key), "v": n(1)})]
    before = three.records(stream)
    three.transact(*(ConditionCheck(encoded(key), there) for key in ("k0", "k2")))
    assert three.records(stream) == before  # what was only checked did not change


def test_a_transaction_in_one_partition_is_one_slot_of_several_records() -> None:
    three = Streamed()
    table = three.create_streamed()
    (stream,) = three.streams()
    place = table.partitions[0]
    keys = [key for key in (f"k{count}" for count in range(40)) if table.partition_of(encoded(key)) == place][:5]
    three.transact(*(put(key) for key in keys))
    records = three.shard(stream, place, limit=2)
    assert [record.at for record in records] == [Position(records[0].at.slot, index) for index in range(5)]


# --- off and on


def test_a_stream_of_a_live_table_begins_and_ends_with_its_shards() -> None:
    three = Streamed()
    three.create_streamed(view=None)
    three.put("a", v=n(1))
    assert three.streams() == []
    table = three.turn_on()
    assert table.stream is not None
    first = three.stream(table.stream.label)
    assert first is not None
    assert (first.status, first.closed) == ("ENABLED", None)
    three.put("a", v=n(2))
    table = three.turn_off()
    assert (table.stream, table.latest_stream) == (None, first.label)
    three.put("a", v=n(3))
    second_label = three.turn_on(view="KEYS_ONLY").latest_stream
    three.put("a", v=n(4))
    one, two = three.streams()
    assert (one.label, one.status, one.view) == (first.label, "DISABLED", BOTH)
    assert (two.label, two.status, two.view) == (second_label, "ENABLED", "KEYS_ONLY")
    assert one.label < two.label
    assert three.changes_of(one, "a") == [({"pk": A, "v": n(1)}, {"pk": A, "v": n(2)})]
    assert three.changes_of(two, "a") == [({"pk": A, "v": n(3)}, {"pk": A, "v": n(4)})]
    for place in table.partitions:
        closed, opened = (three.bounds(x, place) for x in (one, two))
        assert closed.last is not None
        assert closed.first < closed.last < opened.first
        assert opened.last is None


def test_what_is_already_so_is_refused() -> None:
    three = Streamed()
    three.create_streamed(view=None)
    assert isinstance(three.ask(UpdateTable(NAME, stream=StreamChange(None))), Refused)
    three.turn_on()
    assert isinstance(three.ask(UpdateTable(NAME, stream=StreamChange("KEYS_ONLY"))), Refused)
    assert len(three.streams()) == 1


def test_labels_grow_even_where_the_clock_goes_back() -> None:
    three = Streamed(skew=False)
    three.create_streamed()
    labels = [three.table().latest_stream]
    for _ in range(3):
        three.turn_off()
        three.advance_wall(-5)
        labels.append(three.turn_on().latest_stream)
    assert labels == sorted(set(labels))
    assert [stream.label for stream in three.streams()] == labels


def test_lists_are_paged_in_the_order_of_tables_and_labels() -> None:
    three = Streamed()
    three.create_streamed()
    three.turn_off()
    three.turn_on()
    one, two = three.streams()
    page = three.ask(ListStreams(None, None, 1))
    assert page.streams == (one,)
    assert page.more
    page = three.ask(ListStreams(None, (NAME, one.label), 1))
    assert page.streams == (two,)
    assert not page.more
    assert three.ask(ListStreams(NAME, (NAME, two.label), 1)).streams == ()
    assert three.ask(ListStreams("Cart", None, 9)).streams == ()


def test_the_oldest_closed_streams_go_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_streams, "MAX_STREAMS", 3)
    three = Streamed()
    old = three.create_streamed()
    three.delete(NAME)
    labels = []
    table = three.create_streamed()
    labels.append(table.latest_stream)
    assert len(three.streams()) == 2
    for _ in range(2):
        three.turn_off()
        labels.append(three.turn_on().latest_stream)
    assert [stream.label for stream in three.streams()] == labels
    three.until(lambda: three.gone_everywhere(old.partitions), "what only the oldest needed is gone")
    three.put("a")
    assert len(three.records(three.streams()[-1])) == 1


# --- trouble


def _leader_elsewhere(three: Streamed, group: int) -> NodeId:
    leader = three.leader(group)  # type: ignore[arg-type]
    return next(node for node in ALL if node != leader)


@pytest.mark.parametrize("steps_ms", [0, 2, 5, 10, 20])
def test_a_new_catalog_leader_finishes_what_was_begun(steps_ms: int) -> None:
    three = Streamed()
    three.create_streamed(view=None)
    leader = three.leader(CATALOG_GROUP)
    assert leader is not None
    other = _leader_elsewhere(three, CATALOG_GROUP)
    assert three.ask(UpdateTable(NAME, stream=StreamChange(BOTH)), other).table.status == "UPDATING"
    three.run(steps_ms * MILLISECOND)
    three.crash(leader)
    three.until(lambda: three.table(other).status == "ACTIVE", "the next catalog leader is done")
    three.start(leader)
    three.put("a", node=other)
    (stream,) = three.streams(other)
    assert stream.status == "ENABLED"
    assert len(three.records(stream, other)) == 1


def test_a_stream_outlives_leaders_restarts_and_its_own_end() -> None:
    three = Streamed()
    table = three.create_streamed()
    (stream,) = three.streams()
    keys = [f"k{count}" for count in range(8)]
    for key in keys:
        three.put(key, v=n(1))
    for place in table.partitions:
        three.lead(N1, place.group)
    for key in keys:
        three.put(key, v=n(2))
    three.turn_off()
    three.crash(*ALL)
    three.start(*ALL)
    for key in keys:
        three.put(key, v=n(3))
    for key in keys:
        changes = three.changes_of(stream, key)
        assert [new["v"] for _, new in changes if new is not None] == [n(1), n(2)]


def test_a_snapshot_brings_shards_and_records_along() -> None:
    three = Streamed(retain_log_bytes=0)
    table = three.create_streamed(view=None)
    three.put("a", v=n(0))
    three.crash(N2)
    three.turn_on()
    (stream,) = three.streams()
    for count in range(1, 40):
        three.put("a", v=n(count), padding=s("p" * 2_000))
    three.run(5 * SECOND)
    three.start(N2)
    three.until(lambda: three.node(N2).snapshots_in.installed > 0, "a snapshot was installed")
    place = table.partition_of(PUT.key)
    three.until(lambda: three.log(place, N2) == three.log(place, N0), "node 2 has caught up")
    three.run(SECOND)
    assert three.records(stream, N2, consistent=False) == three.records(stream)
    for each in table.partitions:
        three.lead(N2, each.group)
    assert len(three.records(stream, N2)) == 39


# --- expiry's attribute


def test_expiry_reaches_the_partitions_while_the_table_stays_active() -> None:
    three = Streamed()
    table = three.create_streamed()
    for enabled in (True, False):
        reply = three.ask(SetTimeToLive(NAME, enabled, "t"))
        assert reply.table.status == "ACTIVE"
        three.until(three.configured, "all partitions have confirmed")
        three.run(100 * MILLISECOND)
        wanted = "t" if enabled else None
        assert {three.schema(place, node).expiry for place in table.partitions for node in ALL} == {wanted}
    (stream,) = three.streams()
    three.put("a")
    assert len(three.records(stream)) == 1  # one shard throughout
    assert three.bounds(stream, stream.partitions[0]).last is None


def test_the_next_catalog_leader_pushes_an_expiry_that_was_set() -> None:
    three = Streamed()
    table = three.create_streamed(view=None)
    leader = three.leader(CATALOG_GROUP)
    assert leader is not None
    for node in ALL:  # nobody can confirm
        if node != leader:
            three.cluster.cut(node, leader)
    other = _leader_elsewhere(three, CATALOG_GROUP)
    three.until(lambda: three.leader(CATALOG_GROUP) not in (None, leader), "another catalog leader")
    three.ask(SetTimeToLive(NAME, True, "t"), other)
    three.cluster.network.heal_all()
    three.until(three.configured, "all partitions have confirmed")
    three.until(
        lambda: {three.schema(place, node).expiry for place in table.partitions for node in ALL} == {"t"}, "all know"
    )


def test_nobody_is_told_any_more_once_the_table_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Streamed()
    table = three.create_streamed(view=None)
    asked: list[Push] = []
    monkeypatch.setattr(Push, "advance", lambda push: asked.append(push))  # as if no partition answered
    three.ask(SetTimeToLive(NAME, True, "t"))
    three.run(SECOND)
    assert len(asked) > 1
    three.delete(NAME)
    three.until(lambda: three.gone_everywhere(table.partitions), "the groups are dropped")
    asked.clear()
    three.run(SECOND)
    assert asked == []


def test_a_stream_can_be_turned_on_while_an_index_is_there_and_the_other_way_round() -> None:
    three = Streamed()
    three.create_streamed(indexes=(BY_GROUP,))
    three.put("a", g=s("x"))
    (stream,) = three.streams()
    assert len(three.records(stream)) == 1
    three.turn_off()
    three.put("a", g=s("y"))
    three.run(2 * SECOND)
    table = three.table()
    assert len(three.records(stream)) == 1  # confirmed by the index, kept for the stream
    place = next(p for p in table.partitions if three.log(p, N0).confirmed > 0)
    records = list(three.replica(N0, place.group).rows.scan(b"\x04", b"\x05", False))
    assert len(records) == 1  # that of the second change was the index's alone


# --- past the table


def test_a_deleted_tables_streams_stay_for_a_day() -> None:
    three = Streamed()
    table = three.create_streamed(indexes=(BY_GROUP,))
    three.put("a", g=s("x"))
    three.delete(NAME)
    assert three.ask(ListTables(None, 9)).names == ()
    (stream,) = three.streams()
    assert (stream.status, stream.closed is None) == ("DISABLED", False)
    for node in ALL:
        assert len(three.records(stream, node)) == 1
    for place in table.partitions:
        assert three.bounds(stream, place).last is not None
    replicas = [three.replica(N0, place.group) for place in table.partitions]
    three.until(lambda: all(isinstance(each.evaluator, SealedEvaluator) for each in replicas), "the seals are applied")
    index_groups = tuple(place for index in table.indexes for place in index.partitions)
    assert three.gone_everywhere(index_groups)
    for request in (PUT, GetItem(PUT.key), GetItem(PUT.key, consistent=True)):
        assert three.submit(N1, table, request) == Failed(FailureKind.NO_TABLE)
    three.crash(*ALL)
    three.start(*ALL)
    assert len(three.records(stream)) == 1
    assert three.submit(N1, table, GetItem(PUT.key)) == Failed(FailureKind.NO_TABLE)
    three.advance_wall(RETENTION_S + 400)
    three.until(lambda: three.gone_everywhere(table.partitions), "the groups are dropped")
    assert three.streams() == []


def test_a_table_of_the_same_name_has_streams_of_its_own() -> None:
    three = Streamed()
    old = three.create_streamed()
    three.put("a", v=n(1))
    three.delete(NAME)
    new = three.create_streamed()
    three.put("a", v=n(2))
    one, two = three.streams()
    assert (one.table_id, two.table_id) == (old.table_id, new.table_id)
    assert three.changes_of(one, "a") == [(None, {"pk": A, "v": n(1)})]
    assert three.changes_of(two, "a") == [(None, {"pk": A, "v": n(2)})]
    three.advance_wall(RETENTION_S + 400)
    three.until(lambda: three.gone_everywhere(old.partitions), "the old groups are dropped")
    assert three.streams() == [two]
    assert three.submit(N1, new, GetItem(PUT.key, consistent=True)).item is not None


def test_a_deletion_is_finished_by_the_next_catalog_leader() -> None:
    three = Streamed()
    table = three.create_streamed()
    three.put("a")
    leader = three.leader(CATALOG_GROUP)
    assert leader is not None
    others = [node for node in ALL if node != leader]
    replies: list[Any] = []
    router = three.node(others[0]).router
    deadline = three.node(others[0]).host.now() + 5 * SECOND
    router.catalog(DeleteTable(NAME), deadline, replies.append)  # type: ignore[arg-type]
    three.run(2 * MILLISECOND)
    three.crash(leader)
    three.until(lambda: bool(replies), "the deletion is answered")
    three.start(leader)
    (stream,) = three.streams(others[0])
    assert stream.status == "DISABLED"
    assert len(three.records(stream, others[0])) == 1
    assert three.submit(others[0], table, GetItem(PUT.key, consistent=True)) == Failed(FailureKind.NO_TABLE)


def test_streams_are_forgotten_at_once_where_a_test_control_asks() -> None:
    three = Streamed()
    table = three.create_streamed()
    three.ask(ForgetStreams(NAME, at_once=True))
    assert len(three.streams()) == 1  # one that is on stays
    three.delete(NAME)
    three.ask(ForgetStreams(NAME, at_once=True))
    assert three.streams() == []
    three.until(lambda: three.gone_everywhere(table.partitions), "the groups are dropped")


def test_a_table_created_with_expiry_tells_its_partitions() -> None:
    three = Streamed()
    create = CreateTable(NAME, KEY_SCHEMA, (("pk", "S"),), "PAY_PER_REQUEST", settings={"TimeToLive": "t"})
    three.ask(create)
    assert {three.schema(place, node).expiry for place in three.table().partitions for node in ALL} == {"t"}


def test_a_replica_that_missed_the_seal_is_sealed_by_a_snapshot() -> None:
    three = Streamed(retain_log_bytes=0)
    table = three.create_streamed()
    (stream,) = three.streams()
    place = table.partition_of(encoded("a"))
    three.crash(N2)
    for count in range(40):
        three.put("a", v=n(count), padding=s("p" * 2_000))
    three.delete(NAME)
    three.run(5 * SECOND)
    three.start(N2)
    three.until(lambda: three.log(place, N2) == three.log(place, N0), "node 2 has caught up")
    assert three.node(N2).snapshots_in.installed > 0
    assert isinstance(three.replica(N2, place.group).evaluator, SealedEvaluator)
    assert next(three.replica(N2, place.group).rows.scan(b"\x01", b"\x02", False), None) is None
    three.lead(N2, place.group)
    assert len(three.shard(stream, place, N2)) == 40
    assert three.submit(N2, table, GetItem(PUT.key, consistent=True)) == Failed(FailureKind.NO_TABLE)


def test_an_item_that_a_transaction_holds_goes_with_its_table() -> None:
    three = Streamed()
    table = three.create_streamed()
    (stream,) = three.streams()
    place = table.partition_of(encoded("a"))
    prepare = Prepare(b"t" * 16, three.cluster.machines[N0].clock.timestamp(), b"i" * 16, [put("a")])
    assert isinstance(three.send(place, prepare), Prepared)
    three.delete(NAME)
    for node in ALL:
        three.until(lambda node=node: three.log(place, node).open is None, "sealed")  # type: ignore[misc]
        assert next(three.replica(node, place.group).rows.scan(b"\x03", b"\x04", False), None) is None
    assert three.send(place, Finish(prepare.tx, True)) == Failed(FailureKind.NO_TABLE)
    assert three.records(stream) == []
