"""How much one transaction may be: 4 MB of items, and never more than a record of the log or an answer holds."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.rows_of_one import Rows
from tests.node.transaction_cluster import Cluster
from tests.node.transaction_cluster import key as account_key
from tests.node.transaction_cluster import names as account_names

from gramme.kernel.time import Stamp, Timestamp
from gramme.node.evaluator import Change, Context
from gramme.node.mutation import Mutation, encode_mutation
from gramme.node.table_evaluator import TableEvaluator
from gramme.node.transactions.holding import MAX_CHANGE_BYTES, MAX_SHOWN_BYTES
from gramme.paxos.entry import MAX_COMMAND_BYTES
from gramme.tables.descriptor import Index, KeySchema
from gramme.tables.indexes import PartitionSchema, encode_schema
from gramme.tables.item import encode_item
from gramme.tables.keys import encode_key
from gramme.tables.requests import (
    Condition,
    ConditionFailed,
    DeleteItem,
    Item,
    PutItem,
    ReadVersions,
    Refused,
    UpdateItem,
)
from gramme.tables.transaction_commands import Finish, NotPrepared, Prepare, Prepared, Settled, WriteAll
from gramme.tables.transactions import (
    MAX_BYTES,
    OVERSIZED,
    Action,
    ConditionCheck,
    TransactionCanceled,
    TransactionDone,
)
from gramme.tables.values import item_size

KEY = KeySchema("pk", "S")
LOCALS = tuple(
    Index(name=f"local{n}", kind="LOCAL", hash=(("pk", "S"),), range=(("a", "S"),), projection="ALL", number=n)
    for n in range(1, 6)
)
SHARED = Index(name="shared", kind="GLOBAL", hash=(("a", "S"),), range=(), projection="ALL", number=6)
_TX = b"transaction-0001"
_LARGE = 400_000


def _rows(*indexes: Index) -> Rows:
    rows = Rows(TableEvaluator(encode_schema(PartitionSchema(1, KEY, indexes))))
    rows.wall = 100
    return rows


def _key(number: int) -> bytes:
    return encode_key(KEY, {"S": f"{number:03}"})


def _item(number: int, size: int, **attributes: Any) -> Item:
    return {"pk": {"S": f"{number:03}"}, "x": {"S": "y" * (size - 6)}, **attributes}


def _put(number: int, size: int = _LARGE, **attributes: Any) -> PutItem:
    item = _item(number, size, **attributes)
    return PutItem(_key(number), encode_item(item, KEY.names), item_size(item))


def _touch(number: int) -> UpdateItem:
    """Grows the item by two bytes."""
    values = {":n": {"BOOL": True}}
    return UpdateItem(_key(number), {"pk": {"S": f"{number:03}"}}, "SET n = :n", Condition(None, None, values))


def _check(number: int) -> ConditionCheck:
    return ConditionCheck(_key(number), Condition("attribute_exists(pk)"))


def _delete(number: int) -> DeleteItem:
    return DeleteItem(_key(number))


def _both(rows: Rows, actions: list[Action]) -> list[Any]:
    """The replies of either way to begin; what was prepared is let go."""
    prepared = rows.write(Prepare(_TX, rows.stamp + 1_000, b"id", actions))
    rows.write(Finish(_TX, commit=False))
    return [prepared, rows.write(WriteAll(actions))]


@pytest.mark.parametrize("action", [_touch, _check, _put])
def test_all_items_together_have_four_megabytes(action: Any) -> None:
    rows = _rows()
    for number in range(11):
        rows.write(_put(number))
    before = dict(rows.rows)
    for reply in _both(rows, [action(number) for number in range(11)]):
        assert isinstance(reply, NotPrepared)
        assert set(reply.reasons) == {Refused(f"{OVERSIZED}{11 * (_LARGE + (2 if action is _touch else 0))}")}
        assert len(reply.reasons) == 11
    assert rows.rows == before
    prepared, done = _both(rows, [action(number) for number in range(10)])
    assert isinstance(prepared, Prepared)
    assert isinstance(done, TransactionDone)


def test_exactly_four_megabytes_are_not_too_much() -> None:
    rest = MAX_BYTES - 10 * _LARGE
    for size, expected in ((rest, TransactionDone), (rest + 1, NotPrepared)):
        rows = _rows()
        assert isinstance(rows.write(WriteAll([*(_put(n) for n in range(10)), _put(10, size)])), expected)


def _committed_bytes(rows: Rows) -> int:
    """Of the log record with which what is prepared would be committed."""
    change = rows.evaluator.write(Finish(_TX, commit=True), rows.rows.get, Context(Timestamp(rows.wall), Stamp(1)))
    assert isinstance(change, Change)
    return len(encode_mutation(Mutation(change.puts, change.deletes, b"", list(change.changes), change.grown)))


def test_deletions_are_bounded_by_what_their_change_records_hold() -> None:
    rows = _rows(SHARED)
    for number in range(70):
        rows.write(_put(number, a={"S": "value"}))
    most = MAX_CHANGE_BYTES // _LARGE
    for reply in _both(rows, [_delete(number) for number in range(most + 1)]):
        assert isinstance(reply, NotPrepared)
        assert all(isinstance(reason, Refused) and reason.message.startswith(OVERSIZED) for reason in reply.reasons)
    deletions: list[Action] = [_delete(number) for number in range(most - 1)]
    assert isinstance(rows.write(Prepare(_TX, rows.stamp + 1_000, b"id", deletions)), Prepared)
    assert _committed_bytes(rows) < MAX_COMMAND_BYTES
    rows.changes.clear()
    steps = 1
    while rows.write(Finish(_TX, commit=True)) != Settled():
        steps += 1
        assert rows.write(Finish(b"another", commit=True)) == Settled()
    assert len(rows.changes) == len(deletions)
    assert 10 < steps <= len(deletions)


def test_what_is_prepared_fits_into_the_log_when_it_is_committed() -> None:
    """Five copies for local indexes, a change record with both images, and JSON eight times the item's size."""
    rows = _rows(*LOCALS, SHARED)
    flags: Item = {"flags": {"L": [{"BOOL": False}] * 20_000}}
    for number in range(16):
        rows.write(_put(number, 1_000, a={"S": "old"}, **flags))
    prepared = []
    for count in (2, 9, 16):
        actions: list[Action] = [_put(number, 1_000, a={"S": "new"}, **flags) for number in range(count)]
        prepared.append(isinstance(rows.write(Prepare(_TX, rows.stamp + 1_000, b"id", actions)), Prepared))
        if prepared[-1]:
            assert _committed_bytes(rows) < MAX_COMMAND_BYTES
            rows.write(Finish(_TX, commit=False))
    assert prepared == [True, True, False]


def test_items_of_failed_conditions_are_shown_as_long_as_an_answer_holds_them() -> None:
    rows = _rows()
    for number in range(60):
        rows.write(_put(number))
    condition = Condition("attribute_not_exists(pk)")
    actions: list[Action] = [DeleteItem(_key(n), condition, return_on_failure=True) for n in range(60)]
    for reply in _both(rows, actions):
        assert isinstance(reply, NotPrepared)
        assert all(isinstance(reason, ConditionFailed) for reason in reply.reasons)
        shown = [reason.item for reason in reply.reasons if isinstance(reason, ConditionFailed)]
        held = [len(item) for item in shown if item is not None]
        assert MAX_SHOWN_BYTES - 2 * _LARGE < sum(held) <= MAX_SHOWN_BYTES
        assert shown[0] is not None
        assert shown[-1] is None


def test_a_read_of_too_much_brings_sizes_alone() -> None:
    rows = _rows()
    for number in range(12):
        rows.write(_put(number))
    items = rows.read(ReadVersions([_key(number) for number in range(12)])).items
    assert sum(version.found.size for version in items) == 12 * _LARGE
    assert [version.found.item is not None for version in items] == [True] * 10 + [False] * 2


def test_the_coordinator_adds_up_what_several_partitions_hold() -> None:
    cluster = Cluster()
    names = account_names(cluster)
    spread: dict[str, list[str]] = {name: [name] for name in names}
    number = 0
    while any(len(members) < 3 for members in spread.values()):
        other = f"more{number}"
        number += 1
        home = next(name for name in names if cluster.group_of(name) == cluster.group_of(other))
        if len(spread[home]) < 3:
            spread[home].append(other)
    members = [member for group in spread.values() for member in group]
    for member in members:
        item: Item = {"pk": {"S": member}, "x": {"S": "y" * 380_000}}
        put = PutItem(account_key(member), encode_item(item, ("pk",)), item_size(item))
        cluster.submit(put)
    updates = [
        UpdateItem(account_key(member), {"pk": {"S": member}}, "SET n = pk", Condition(None)) for member in members
    ]
    canceled = cluster.write(*updates)
    assert isinstance(canceled, TransactionCanceled)
    assert all(isinstance(reason, Refused) and reason.message.startswith(OVERSIZED) for reason in canceled.reasons)
    cluster.settle()
    assert isinstance(cluster.write(*updates[:10]), TransactionDone)
    cluster.settle()
