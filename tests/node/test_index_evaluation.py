"""What a partition's leader makes of writes with indexes, and a partition of an index of its feeders' batches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.rows_of_one import KEY, SCHEMA

from gramme.kernel.time import Stamp, Timestamp
from gramme.node.changes import item_changes
from gramme.node.evaluator import Answer, Change, Context
from gramme.node.table_evaluator import TableEvaluator
from gramme.storage.engine.rows import Space
from gramme.tables.descriptor import Index
from gramme.tables.indexes import PartitionSchema, encode_schema
from gramme.tables.item import decode_item, encode_item, item_json, stored_size
from gramme.tables.keys import key_of
from gramme.tables.requests import (
    ApplyIndex,
    BackfillDone,
    CollectionFull,
    Condition,
    Configured,
    ConfigurePartition,
    DeleteItem,
    IndexApplied,
    Item,
    PutItem,
    Refused,
    ScanRange,
    UpdateItem,
    Written,
)
from gramme.tables.values import item_size


class _Partition:
    """The rows of one replica; every change is applied at once."""

    def __init__(self, schema: PartitionSchema | None = SCHEMA) -> None:
        self.evaluator = TableEvaluator(b"" if schema is None else encode_schema(schema))
        self.rows: dict[bytes, bytes] = {}
        self.changes: list[tuple[bytes | None, bytes | None]] = []
        self.stamp = 0

    def write(self, request: Any) -> Any:
        self.stamp += 1
        context = Context(Timestamp(self.stamp), Stamp(self.stamp))
        plan = self.evaluator.write(request, self.rows.get, context)
        if isinstance(plan, Answer):
            return plan.reply
        assert isinstance(plan, Change)
        self.rows.update(plan.puts)
        for key in plan.deletes:
            self.rows.pop(key, None)
        self.changes += [(change.old, change.new) for change in plan.changes]
        return plan.reply

    def put(self, item: Item, condition: Condition | None = None) -> Any:
        return self.write(PutItem(key_of(KEY, item), encode_item(item, KEY.names), item_size(item), condition))

    def space(self, prefix: bytes) -> dict[bytes, bytes]:
        return {key: value for key, value in sorted(self.rows.items()) if key.startswith(prefix)}

    def items(self) -> list[Item]:
        return [decode_item(item_json(stored)) for stored in self.space(bytes((Space.ITEMS,))).values()]

    def entries(self) -> list[Item]:
        return [decode_item(item_json(stored)) for stored in self.space(bytes((Space.LOCAL_INDEX, 1))).values()]

    def read(self, request: ScanRange) -> Any:
        def scan(start: bytes, end: bytes, reverse: bool) -> Any:
            rows = [(key, value) for key, value in sorted(self.rows.items()) if start <= key < end]
            return iter(reversed(rows) if reverse else rows)

        return self.evaluator.read(request, self.rows.get, scan)


_keys = st.fixed_dictionaries({n: st.sampled_from("xy").map(lambda t: {"S": t}) for n in ("pk", "sk")})
_others = st.fixed_dictionaries({}, optional={n: st.sampled_from("abc").map(lambda t: {"S": t}) for n in ("a", "b")})
_puts = st.tuples(_keys, _others).map(lambda pair: ("put", {**pair[0], **pair[1]}))
_updates = st.tuples(st.sampled_from(["SET a = :v", "REMOVE a", "SET b = :v", "ADD n :n"]), _keys)
_operations = st.lists(st.one_of(_puts, _updates, _keys.map(lambda key: ("delete", key))), max_size=30)


def _request(operation: tuple[str, Item]) -> Any:
    what, item = operation
    primary = {name: item[name] for name in KEY.names}
    key = key_of(KEY, primary)
    if what == "put":
        return PutItem(key, encode_item(item, KEY.names), item_size(item))
    if what == "delete":
        return DeleteItem(key)
    values = {name: value for name, value in ((":v", {"S": "b"}), (":n", {"N": "1"})) if name in what}
    return UpdateItem(key, primary, what, Condition(None, None, values or None))


@given(_operations)
def test_after_any_history_entries_and_counts_are_what_the_items_say(operations: list[tuple[str, Item]]) -> None:
    partition = _Partition()
    followed: dict[str, Item] = {}
    for operation in operations:
        reply = partition.write(_request(operation))
        assert isinstance(reply, Written)
    items = partition.items()
    expected = [{n: item[n] for n in ("pk", "sk", "a")} for item in items if "a" in item]
    assert sorted(partition.entries(), key=str) == sorted(expected, key=str)
    collections: dict[str, int] = {}
    for item in items:
        size = item_size(item)
        if "a" in item:
            size += item_size({n: item[n] for n in ("pk", "sk", "a")})
        collections[item["pk"]["S"]] = collections.get(item["pk"]["S"], 0) + size
    counted = partition.space(bytes((Space.LOCAL_INDEX, 0)))
    assert sorted(int.from_bytes(value, "big") for value in counted.values()) == sorted(collections.values())
    for old, new in partition.changes:  # whoever follows the records knows the items that are in the shared index
        for image, present in ((old, False), (new, True)):
            if image is not None:
                item = decode_item(image)
                name = f"{item['pk']}{item['sk']}"
                if present and "a" in item:
                    followed[name] = item
                else:
                    followed.pop(name, None)
    assert sorted(followed.values(), key=str) == sorted((i for i in items if "a" in i), key=str)


def test_a_write_that_changes_no_entry_leaves_no_record_and_costs_no_units() -> None:
    partition = _Partition()
    item: Item = {"pk": {"S": "p"}, "sk": {"S": "s"}, "n": {"N": "1"}}
    assert partition.put(item).indexes == ()
    assert partition.put({**item, "a": {"S": "x"}}).indexes == (("local", 1), ("shared", 1))
    assert len(partition.changes) == 1
    again = partition.put({**item, "a": {"S": "x"}, "n": {"N": "2"}})
    assert again.indexes == (("shared", 1),)
    assert again.collection_bytes == again.new_size + item_size({**item, "a": {"S": "x"}}) - item_size({"n": item["n"]})


def test_wrong_index_keys_come_before_conditions_and_change_nothing() -> None:
    partition = _Partition()
    wrong: Item = {"pk": {"S": "p"}, "sk": {"S": "s"}, "a": {"N": "1"}}
    reply = partition.put(wrong, Condition("attribute_exists(pk)"))
    assert isinstance(reply, Refused)
    assert "Type mismatch for Index Key a Expected: S Actual: N IndexName: local" in reply.message
    assert partition.rows == {}


@pytest.mark.plain
def test_a_full_collection_takes_nothing_more_and_may_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_changes, "MAX_COLLECTION_BYTES", 60)
    partition = _Partition()
    item: Item = {"pk": {"S": "p"}, "sk": {"S": "1"}, "b": {"S": "x" * 30}}
    assert isinstance(partition.put(item), Written)
    before = dict(partition.rows)
    assert isinstance(partition.put({**item, "sk": {"S": "2"}}), CollectionFull)
    assert partition.rows == before
    assert isinstance(partition.put({**item, "pk": {"S": "q"}}), Written)
    assert isinstance(partition.put({**item, "b": {"S": "x"}}), Written)
    assert isinstance(partition.write(DeleteItem(key_of(KEY, item))), Written)


def test_pages_of_a_local_index_go_on_where_they_ended_and_can_fetch_items() -> None:
    partition = _Partition()
    for n in range(7):
        partition.put({"pk": {"S": "p"}, "sk": {"S": f"s{n}"}, "a": {"S": f"{9 - n}"}, "b": {"S": "b"}})
    start, seen = b"", list[str]()
    while True:
        page = partition.read(ScanRange(start, b"", 3, index=1, fetch=KEY))
        seen += [decode_item(row)["sk"]["S"] for row in page.items]
        assert all(decode_item(row)["b"] == {"S": "b"} for row in page.items)
        if page.last_key is None:
            break
        start = page.last_key + b"\0"
    assert seen == [f"s{n}" for n in range(6, -1, -1)]
    backwards = partition.read(ScanRange(b"", b"", None, reverse=True, index=1))
    assert [decode_item(row)["sk"]["S"] for row in backwards.items] == seen[::-1]
    assert backwards.size == sum(map(stored_size, partition.space(bytes((Space.LOCAL_INDEX, 1))).values()))


# --- schema


def test_a_new_schema_counts_from_the_next_write_on_and_an_old_one_never() -> None:
    partition = _Partition(None)
    item: Item = {"pk": {"S": "p"}, "sk": {"S": "s"}, "a": {"S": "x"}}
    partition.put(item)
    assert partition.changes == []
    late = Index(name="late", kind="GLOBAL", hash=(("a", "S"),), range=(), projection="ALL", number=7, backfill=True)
    newer = PartitionSchema(5, KEY, (late,))
    configure = ConfigurePartition(5, encode_schema(newer))
    assert partition.write(configure) == Configured(5, ())
    partition.put({**item, "a": {"S": "y"}})
    assert len(partition.changes) == 1
    assert partition.write(ConfigurePartition(4, b"")) == Configured(5, ())
    partition.write(BackfillDone(7))
    assert partition.write(configure) == Configured(5, (7,))
    partition.evaluator.reset(lambda start, end, reverse: iter(()))  # as a new leader
    assert partition.write(configure) == Configured(5, (7,))


# --- batches of feeders


def _batch(epoch: int, seq: int, *rows: tuple[bytes, bytes | None], feeder: int = 20, through: int = 0) -> ApplyIndex:
    return ApplyIndex(
        feeder, epoch, seq, through, [(key, json, 0 if json is None else len(json)) for key, json in rows]
    )


def test_only_the_next_batch_of_an_epoch_is_taken() -> None:
    index = _Partition(None)
    assert index.write(_batch(5, 0)) == IndexApplied(5, 0, 0)
    assert index.write(_batch(5, 1, (b"k", b"one"), through=8)) == IndexApplied(5, 1, 8)
    held = dict(index.rows)
    for late in (_batch(5, 1, (b"k", b"again")), _batch(5, 3, (b"k", b"gap")), _batch(4, 0, (b"k", b"deposed"))):
        assert index.write(late) == IndexApplied(5, 1, 8)
    assert index.rows == held
    assert index.write(_batch(6, 1, (b"k", b"no greeting"))) == IndexApplied(5, 1, 8)
    assert index.write(_batch(6, 0)) == IndexApplied(6, 0, 8)
    assert index.write(_batch(5, 2, (b"k", b"fenced"))) == IndexApplied(6, 0, 8)
    assert index.write(_batch(6, 1, (b"k", None), through=9)) == IndexApplied(6, 1, 9)
    assert index.space(bytes((Space.ITEMS,))) == {}


def test_feeders_do_not_disturb_each_other_and_the_last_row_of_a_key_counts() -> None:
    index = _Partition(None)
    for feeder in (20, 21):
        index.write(_batch(1, 0, feeder=feeder))
    index.write(_batch(1, 1, (b"a", b"old"), (b"a", None), (b"a", b"new"), feeder=20))
    assert index.write(_batch(1, 1, (b"b", b"x"), (b"b", None), feeder=21)) == IndexApplied(1, 1, 0)
    rows = index.space(bytes((Space.ITEMS,)))
    assert {key[1:]: item_json(stored) for key, stored in rows.items()} == {b"a": b"new"}
