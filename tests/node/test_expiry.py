"""Expiry in simulated time: what goes, what stays, by whom it is seen, and how much of a node it takes (row H16)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.node.streamed import BY_GROUP, KEY_SCHEMA, NAME, Streamed
from tests.node.three import ALL, N0, N1

from gramme.kernel.ids import NodeId, Slot
from gramme.kernel.time import SECOND, Instant, Stamp, Timestamp
from gramme.node import expiry
from gramme.node.evaluator import Answer, Change, Context
from gramme.node.expiry import Sweep
from gramme.node.router import Router
from gramme.node.table_evaluator import TableEvaluator
from gramme.tables.catalog import CreateTable, SetTimeToLive
from gramme.tables.descriptor import Index, Partition
from gramme.tables.indexes import PartitionSchema, encode_schema
from gramme.tables.item import decode_item, encode_item, item_json
from gramme.tables.keys import key_of
from gramme.tables.requests import Conflict, ExpireItem, PutItem, ScanRange, Written
from gramme.tables.values import item_size

FIVE_MINUTES_NS = 300 * SECOND


class Expiring(Streamed):
    """With a table whose items expire by the attribute `ttl`."""

    def switch(self, enabled: bool) -> None:
        """Expiry on or off, and known everywhere."""
        self.catalog(SetTimeToLive(NAME, enabled, "ttl"))
        self.until(self.configured, "partitions know it")

    def now_s(self) -> int:
        """The wall clock of node 0, in seconds."""
        return self.cluster.machines[N0].clock.timestamp() // SECOND

    def put_until(self, key: str, seconds: int, **attributes: Any) -> None:
        """An item that expires so many seconds from now."""
        self.put(key, ttl={"N": str(self.now_s() + seconds)}, **attributes)

    def names(self) -> list[str]:
        """The partition keys of all items."""
        found: list[str] = []
        for place in self.table().partitions:
            request = ScanRange(place.start, place.end, consistent=True)
            reply: Any = self._call(N0, partial(_send, place, request))
            found += [msgspec.json.decode(json)["pk"]["S"] for json in reply.items]
        return sorted(found)


def _send(place: Partition, request: Any, router: Router, deadline: Instant, done: Callable[[Any], None]) -> None:
    router.send(place, request, deadline, done)


@pytest.fixture
def three() -> Expiring:
    made = Expiring()
    made.create_streamed()
    made.switch(True)
    return made


def test_expired_items_go_within_five_minutes_and_all_others_stay(three: Expiring) -> None:
    three.put_until("soon", 20)
    three.put_until("later", 86_400)
    three.put("never")
    three.put("text", ttl={"S": str(three.now_s() - 5)})
    three.put("ancient", ttl={"N": str(three.now_s() - 6 * 365 * 86_400)})
    three.run(10 * SECOND)
    assert "soon" in three.names()
    three.run(FIVE_MINUTES_NS)
    assert three.names() == ["ancient", "later", "never", "text"]
    three.advance_wall(86_400)
    three.run(10 * SECOND)
    assert three.names() == ["ancient", "never", "text"]


def test_the_stream_tells_once_that_the_service_did_it(three: Expiring) -> None:
    (stream,) = three.streams()
    three.put_until("a", 5)
    three.put("b")
    three.remove("b")
    three.run(FIVE_MINUTES_NS)
    removals = [(record.old is not None, record.service) for record in three.records(stream) if record.new is None]
    assert sorted(removals) == [(True, False), (True, True)]


def test_entries_of_indexes_go_too() -> None:
    three = Expiring()
    three.catalog(CreateTable(NAME, KEY_SCHEMA, (("pk", "S"), ("g", "S")), "PAY_PER_REQUEST", indexes=(BY_GROUP,)))
    three.switch(True)
    for number in range(8):
        three.put_until(f"expiring {number}", 5, g={"S": "g"})
    three.put("staying", g={"S": "g"})
    three.run(FIVE_MINUTES_NS)
    (index,) = three.table().indexes
    rows = [
        row
        for place in index.partitions
        for node in ALL
        if three.replica(node, place.group).leading
        for row in three.replica(node, place.group).rows.scan(b"\x01", b"\x02", False)
    ]
    assert [decode_item(item_json(stored))["pk"]["S"] for _, stored in rows] == ["staying"]


def test_a_new_leader_goes_on(three: Expiring) -> None:
    for number in range(12):
        three.put_until(f"item {number}", 30)
    three.run(5 * SECOND)
    three.crash(N1)
    three.run(20 * SECOND)
    three.start(N1)
    three.crash(NodeId(2))
    three.run(FIVE_MINUTES_NS)
    assert three.names() == []


def test_nothing_expires_once_expiry_is_off(three: Expiring) -> None:
    three.put_until("a", 30)
    three.switch(False)
    three.run(FIVE_MINUTES_NS)
    assert three.names() == ["a"]
    three.switch(True)
    three.run(10 * SECOND)
    assert three.names() == []


def test_a_table_that_changes_no_more_is_not_read(three: Expiring, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = Sweep.step

    def counted(sweep: Sweep, wall: Timestamp) -> list[bytes]:
        steps.append(1)
        return step(sweep, wall)

    monkeypatch.setattr(Sweep, "step", counted)
    three.put_until("a", 3_600)
    three.run(FIVE_MINUTES_NS)
    steps.clear()
    three.run(FIVE_MINUTES_NS)
    assert steps == []
    three.put("b")
    three.run(FIVE_MINUTES_NS)
    assert len(steps) == 1
    three.advance_wall(3_600)
    three.run(10 * SECOND)
    assert len(steps) > 1
    assert three.names() == ["b"]


def test_steps_are_bounded_and_the_pace_is_kept(three: Expiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "_STEP_ROWS", 3)
    found: list[int] = []
    step = Sweep.step

    def watched(sweep: Sweep, wall: Timestamp) -> list[bytes]:
        keys = step(sweep, wall)
        found.append(len(keys))
        return keys

    monkeypatch.setattr(Sweep, "step", watched)
    for number in range(40):
        three.put_until(f"item {number}", 1)
    three.run(FIVE_MINUTES_NS)
    assert three.names() == []
    assert max(found) == 3
    assert sum(found) == 40, "no item is asked for twice"


def test_a_partition_that_takes_no_writes_is_left_alone_for_a_while(three: Expiring) -> None:
    three.put_until("a", 1)
    partitions = [three.replica(node, place.group) for node in ALL for place in three.table().partitions]
    for partition in partitions:
        partition.refusing = True
    three.run(FIVE_MINUTES_NS)
    assert three.names() == ["a"]
    for partition in partitions:
        partition.refusing = False
    three.run(FIVE_MINUTES_NS)
    assert three.names() == []


# --- the command


KEY = key_of(KEY_SCHEMA, {"pk": {"S": "a"}})
NOW_S = 1_790_000_000
LOCAL = Index(name="local", kind="LOCAL", hash=(("pk", "S"),), range=(("g", "S"),), projection="ALL", number=1)


class _Partition:
    """The rows of one replica, and its evaluator."""

    def __init__(self, schema: PartitionSchema) -> None:
        self.evaluator = TableEvaluator(encode_schema(schema))
        self.rows: dict[bytes, bytes] = {}

    def write(self, request: Any) -> Change | Answer:
        context = Context(Timestamp(NOW_S * SECOND), Stamp(NOW_S * SECOND), lambda: Slot(0))
        plan = self.evaluator.write(request, self.rows.get, context)
        if isinstance(plan, Change):
            self.rows.update(plan.puts)
            for key in plan.deletes:
                self.rows.pop(key, None)
        return plan

    def put(self, **attributes: Any) -> None:
        item = {"pk": {"S": "a"}, **attributes}
        self.write(PutItem(KEY, encode_item(item, ("pk",)), item_size(item)))


def _old() -> dict[str, str]:
    return {"N": str(NOW_S - 5)}


def test_the_command_deletes_what_has_expired_and_says_who_did_it() -> None:
    partition = _Partition(PartitionSchema(1, KEY_SCHEMA, (LOCAL,), "stream", "ttl"))
    partition.put(ttl=_old(), g={"S": "g"})
    plan = partition.write(ExpireItem(KEY))
    assert isinstance(plan, Change)
    assert plan.reply.old_size > 0
    (record,) = plan.changes
    assert (record.service, record.new) == (True, None)
    assert not any(row[:1] in (b"\x01", b"\x02") for row in partition.rows), "neither item nor entry"


@pytest.mark.parametrize("attributes", [{}, {"ttl": {"N": str(NOW_S)}}, {"ttl": {"S": "1"}}, {"ttl": {"N": "1"}}])
def test_the_command_spares_what_was_given_another_time_since(attributes: Any) -> None:
    partition = _Partition(PartitionSchema(1, KEY_SCHEMA, (), None, "ttl"))
    partition.put(**attributes)
    assert partition.write(ExpireItem(KEY)) == Answer(Written(None, 0, 0), (b"\x01" + KEY,))


def test_the_command_spares_everything_where_expiry_is_off_and_minds_no_absent_item() -> None:
    off = _Partition(PartitionSchema(1, KEY_SCHEMA, ()))
    off.put(ttl=_old())
    assert isinstance(off.write(ExpireItem(KEY)), Answer)
    empty = _Partition(PartitionSchema(1, KEY_SCHEMA, (), None, "ttl"))
    assert empty.write(ExpireItem(KEY)) == Answer(Written(None, 0, 0), (b"\x01" + KEY,))


def test_what_a_transaction_holds_is_left_for_later() -> None:
    partition = _Partition(PartitionSchema(1, KEY_SCHEMA, (), None, "ttl"))
    partition.put(ttl=_old())
    holds: Any = partition.evaluator.holds.by_key
    holds[KEY] = object()
    plan = partition.write(ExpireItem(KEY))
    assert isinstance(plan, Answer)
    assert isinstance(plan.reply, Conflict)
    del holds[KEY]
    assert isinstance(partition.write(ExpireItem(KEY)), Change)
