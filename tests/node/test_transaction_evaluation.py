"""A partition's part in transactions against a naive model, and every late message in every state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.rows_of_one import KEY, LOCAL, SCHEMA, Rows

from gramme.node.table_evaluator import TableEvaluator
from gramme.node.totals import decode_totals
from gramme.storage.engine.rows import Space
from gramme.tables.descriptor import Index
from gramme.tables.indexes import PartitionSchema, encode_schema, entry_of
from gramme.tables.item import decode_item, encode_item, item_json, stored_size, stored_stamp
from gramme.tables.keys import key_of
from gramme.tables.requests import (
    Condition,
    ConditionFailed,
    ConfigurePartition,
    Conflict,
    DeleteItem,
    Found,
    Item,
    PutItem,
    ReadVersions,
    Version,
    VersionsRead,
    Written,
)
from gramme.tables.transaction_commands import (
    DropMarkers,
    Finish,
    Inquire,
    Inquired,
    NotPrepared,
    Outcome,
    Prepare,
    Prepared,
    Settled,
    WriteAll,
)
from gramme.tables.transactions import Action, ConditionCheck, TransactionDone
from gramme.tables.values import item_size

ID = b"a row of a ledger"


def _item(name: str, value: str = "") -> Item:
    return {"pk": {"S": name[0]}, "sk": {"S": name[1]}, **({"a": {"S": value}} if value else {})}


def _key(name: str) -> bytes:
    return key_of(KEY, _item(name))


def _put(name: str, value: str, condition: str | None = None) -> PutItem:
    item = _item(name, value)
    carried = None if condition is None else Condition(condition)
    return PutItem(_key(name), encode_item(item, KEY.names), item_size(item), carried)


# --- against a model

_NAMES = ("xx", "xy", "yx")
_names = st.sampled_from(_NAMES)
_wanted = st.sampled_from([None, "attribute_exists(pk)", "attribute_not_exists(pk)"])
_action = st.tuples(_names, st.sampled_from(["put", "delete", "check"]), st.sampled_from("abc"), _wanted)
_actions = st.lists(_action, min_size=1, max_size=3, unique_by=lambda action: action[0])
_steps = st.one_of(
    st.tuples(st.just("plain"), _action),
    st.tuples(st.just("prepare"), st.integers(0, 3), st.integers(-3, 3), _actions),
    st.tuples(st.just("finish"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("all"), _actions),
    st.tuples(st.just("leader")),
    st.tuples(st.just("clock"), st.integers(0, 5)),
)


class _Model:
    """What should be there: values and stamps of items, the newest deletion, and who holds what."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[str, int]] = {}
        self.deleted = 0
        self.held: dict[str, tuple[int, int, str, str]] = {}  # by item: transaction, stamp, what, value

    def version(self, name: str) -> int:
        return self.items[name][1] if name in self.items else self.deleted

    def reason(self, action: Any, tx: int) -> Any:
        name, _, _, wanted = action
        if name in self.held and self.held[name][0] != tx:
            return Conflict
        if wanted is not None and (name in self.items) != (wanted == "attribute_exists(pk)"):
            return ConditionFailed
        return None

    def do(self, name: str, what: str, value: str, stamp: int) -> None:
        if what == "put":
            self.items[name] = (value, stamp)
        elif what == "check" and name in self.items:
            self.items[name] = (self.items[name][0], stamp)
        else:
            self.items.pop(name, None)
            self.deleted = max(self.deleted, stamp)


def _as_action(action: Any) -> Action:
    name, what, value, wanted = action
    if what == "put":
        return _put(name, value, wanted)
    if what == "delete":
        return DeleteItem(_key(name), None if wanted is None else Condition(wanted))
    return ConditionCheck(_key(name), Condition(wanted))


def _tx(number: int) -> bytes:
    return b"transaction %d" % number


@settings(max_examples=150, deadline=None)
@given(st.lists(_steps, max_size=25))
def test_any_history_gives_what_the_model_says(steps: list[Any]) -> None:
    rows = Rows(TableEvaluator(encode_schema(SCHEMA)))
    rows.stamp = 10
    model = _Model()
    for step in steps:
        _carry_out(step, rows, model)
        _compare(rows, model)


def _carry_out(step: Any, rows: Rows, model: _Model) -> None:
    match step:
        case ("plain", (name, what, value, _)) if what != "check":
            reason = model.reason(step[1], -1)
            present = name in model.items
            reply = rows.write(_as_action(step[1]))
            assert type(reply) is (reason or Written)
            if reason is None and (what == "put" or present):
                model.do(name, what, value, rows.stamp)
        case ("prepare", tx, offset, actions):
            _prepare(tx, rows.stamp + offset, actions, rows, model)
        case ("finish", tx, commit):
            assert rows.write(Finish(_tx(tx), commit)) == Settled()
            for name, (holder, stamp, what, value) in list(model.held.items()):
                if holder == tx:
                    del model.held[name]
                    if commit:
                        model.do(name, what, value, stamp)
        case ("all", actions):
            reasons = [model.reason(action, -1) for action in actions]
            reply = rows.write(WriteAll([_as_action(action) for action in actions]))
            if any(reasons):
                assert [None if reason is None else type(reason) for reason in reply.reasons] == reasons
            else:
                assert isinstance(reply, TransactionDone)
                for name, what, value, _ in actions:
                    model.do(name, what, value, rows.stamp)
        case ("leader",):
            rows.new_leader()
        case ("clock", by):
            rows.wall = rows.stamp + by


def _prepare(tx: int, stamp: int, actions: list[Any], rows: Rows, model: _Model) -> None:
    if any(holder[0] == tx for holder in model.held.values()):
        return  # a transaction prepares once
    reasons = [model.reason(action, tx) for action in actions]
    newest = max(model.version(name) for name, *_ in actions)
    reply = rows.write(Prepare(_tx(tx), stamp, ID, [_as_action(action) for action in actions]))
    if any(reasons):
        assert [None if reason is None else type(reason) for reason in reply.reasons] == reasons
    elif stamp <= newest:
        assert reply == NotPrepared((), newest)
    else:
        assert isinstance(reply, Prepared)
        assert rows.stamp >= stamp
        for name, what, value, _ in actions:
            model.held[name] = (tx, stamp, what, value)


def _compare(rows: Rows, model: _Model) -> None:
    read = rows.read(ReadVersions([_key(name) for name in _NAMES]))
    for name, version in zip(_NAMES, read.items, strict=True):
        assert version.held == (name in model.held)
        assert version.stamp == model.version(name)
        expected = None if name not in model.items else encode_item(_item(name, model.items[name][0]), KEY.names)
        assert version.found.item == expected
    _compare_derived(rows)


def _compare_derived(rows: Rows) -> None:
    """Local index and totals are functions of the items; the records tell of every change."""
    images = {key: item_json(stored) for key, stored in rows.space(Space.ITEMS).items()}
    entries = {}
    for key, image in images.items():
        entry = entry_of(LOCAL, KEY, key, decode_item(image), image)
        if entry is not None:
            entries[entry.key] = entry.json
    assert {k: item_json(v) for k, v in rows.space(Space.LOCAL_INDEX, b"\1").items()} == entries
    totals = {number: (count, size) for number, count, size in decode_totals(rows.totals.row())}
    sizes = [stored_size(stored) for stored in rows.space(Space.ITEMS).values()]
    assert totals.get(0, (0, 0)) == (len(images), sum(sizes))
    assert totals.get(1, (0, 0))[0] == len(entries)
    followed: dict[bytes, bytes] = {}
    for change in rows.changes:
        assert followed.get(change.key) == change.old
        if change.new is None:
            del followed[change.key]
        else:
            followed[change.key] = change.new
    assert followed == {key: image for key, image in images.items() if "a" in decode_item(image)}


# --- late messages

_T, _LATER = b"the transaction ", b"another one     "


@pytest.fixture
def rows() -> Rows:
    rows = Rows(TableEvaluator(encode_schema(SCHEMA)))
    rows.wall = 100
    rows.write(_put("xx", "old"))
    return rows


def _prepare_t(stamp: int = 200) -> Prepare:
    checked = ConditionCheck(_key("yx"), Condition("attribute_not_exists(pk)"))
    return Prepare(_T, stamp, ID, [_put("xx", "new"), DeleteItem(_key("xy")), checked])


def _state(rows: Rows) -> dict[bytes, bytes]:
    return dict(rows.rows)


def test_a_second_prepare_answers_as_the_first_and_changes_nothing(rows: Rows) -> None:
    first = rows.write(_prepare_t())
    before = _state(rows)
    assert isinstance(first, Prepared)
    assert rows.write(_prepare_t()) == first
    assert _state(rows) == before


def test_after_the_commit_neither_prepare_nor_finish_changes_anything(rows: Rows) -> None:
    rows.write(_prepare_t())
    rows.write(Finish(_T, commit=True))
    before = _state(rows)
    for late in (Finish(_T, commit=True), Finish(_T, commit=False), _prepare_t()):
        reply = rows.write(late)
        assert reply == (NotPrepared((), 200) if isinstance(late, Prepare) else Settled())
        assert _state(rows) == before
    for alone in _prepare_t().actions:  # each item for itself refuses: the put one, the deleted one, the absent one
        reply = rows.write(Prepare(_T, 200, ID, [_unconditional(alone)]))
        assert reply == NotPrepared((), 200)


def _unconditional(action: Action) -> Action:
    return DeleteItem(action.key) if isinstance(action, ConditionCheck) else action


def test_what_is_written_after_a_commit_is_newer_than_its_stamp(rows: Rows) -> None:
    rows.write(_prepare_t(stamp=10_000))  # of a coordinator whose clock is ahead
    rows.write(Finish(_T, commit=True))
    rows.write(_put("xx", "newest"))
    stored = rows.space(Space.ITEMS)[_key("xx")]
    assert stored_stamp(stored) > 10_000


def test_a_commit_without_anything_prepared_changes_nothing_but_takes_a_slot(rows: Rows) -> None:
    before = _state(rows)
    assert rows.write(Finish(_T, commit=True)) == Settled()
    assert not rows.answered  # see `_finish`: an unfinished earlier attempt must not be taken for done
    assert _state(rows) == before


def test_a_prepare_after_its_cancel_holds_again_and_can_be_let_go(rows: Rows) -> None:
    rows.write(_prepare_t())
    rows.write(Finish(_T, commit=False))
    before = _state(rows)
    assert isinstance(rows.write(_prepare_t()), Prepared)
    assert rows.write(Prepare(_LATER, 300, ID, [_put("xx", "no")])) == NotPrepared((Conflict(),))
    rows.write(Finish(_T, commit=False))
    assert _state(rows) == before


def test_another_transaction_cannot_finish_what_is_held(rows: Rows) -> None:
    rows.write(_prepare_t())
    before = _state(rows)
    rows.write(Finish(_LATER, commit=True))
    rows.write(Finish(_LATER, commit=False))
    assert _state(rows) == before


def test_deletions_of_any_kind_raise_the_version_of_what_is_absent(rows: Rows) -> None:
    rows.write(DeleteItem(_key("xx")))
    deleted = rows.stamp
    assert rows.read(ReadVersions([_key("yy")])) == VersionsRead((Version(Found(None, 0), deleted, False),))
    late = Prepare(_T, deleted, ID, [_put("xx", "late")])
    assert rows.write(late) == NotPrepared((), deleted)
    assert isinstance(rows.write(Prepare(_T, deleted + 1, ID, [_put("xx", "now")])), Prepared)


def test_an_index_that_comes_between_prepare_and_commit_passes_over_what_it_cannot_take() -> None:
    rows = Rows(TableEvaluator())
    item: Item = {**_item("xx"), "b": {"N": "1"}}
    assert isinstance(
        rows.write(Prepare(_T, 5, ID, [PutItem(_key("xx"), encode_item(item, KEY.names), item_size(item))])), Prepared
    )
    late = Index(name="b", kind="GLOBAL", hash=(("b", "S"),), range=(), projection="ALL", number=3, backfill=True)
    rows.write(ConfigurePartition(2, encode_schema(PartitionSchema(2, KEY, (late,)))))
    rows.write(Finish(_T, commit=True))
    assert decode_item(item_json(rows.space(Space.ITEMS)[_key("xx")])) == item
    assert rows.changes == []


# --- one phase

_ALL: list[Action] = [_put("xx", "new"), _put("xy", "new")]


def test_a_marker_tells_what_a_one_phase_transaction_has_done(rows: Rows) -> None:
    assert rows.write(Inquire([(_T, 150)], fence=False)) == Inquired((Outcome(None),))
    done = rows.write(WriteAll(_ALL, _T, 150))
    assert isinstance(done, TransactionDone)
    rows.write(_put("xx", "newer"))
    assert rows.write(WriteAll(_ALL, _T, 150)) == done  # and does nothing
    assert rows.write(Inquire([(_T, 150), (_LATER, 151)], fence=False)) == Inquired((Outcome(done), Outcome(None)))
    assert rows.write(Inquire([(_T, 150)], fence=True)) == Inquired((Outcome(done),))
    assert decode_item(item_json(rows.space(Space.ITEMS)[_key("xx")])) == _item("xx", "newer")


def test_a_fenced_transaction_never_takes_effect(rows: Rows) -> None:
    assert rows.write(Inquire([(_T, 150)], fence=True)) == Inquired((Outcome(None, fenced=True),))
    before = _state(rows)
    assert rows.write(WriteAll(_ALL, _T, 150)) == NotPrepared((), 150)
    assert rows.write(WriteAll(_ALL, _LATER, 149)) == NotPrepared((), 150)
    assert rows.write(Inquire([(_T, 150)], fence=False)) == Inquired((Outcome(None, fenced=True),))
    assert _state(rows) == before
    assert isinstance(rows.write(WriteAll(_ALL, _LATER, 151)), TransactionDone)
    assert isinstance(rows.write(WriteAll(_ALL)), TransactionDone)  # without a token nobody asks


def test_a_late_copy_is_refused_when_its_marker_is_dropped(rows: Rows) -> None:
    rows.write(WriteAll(_ALL, _T, 150))
    rows.write(DropMarkers([_T], 150))
    assert rows.space(Space.TRANSACTIONS, b"marker/") == {}
    before = _state(rows)
    assert rows.write(WriteAll(_ALL, _T, 150)) == NotPrepared((), 150)
    rows.write(DropMarkers([_T], 140))  # an old one does not lower the floor
    assert rows.write(WriteAll(_ALL, _T, 150)) == NotPrepared((), 150)
    assert _state(rows) == before


def test_a_refused_one_phase_transaction_changes_nothing_and_says_why(rows: Rows) -> None:
    before = _state(rows)
    reply = rows.write(WriteAll([*_ALL, ConditionCheck(_key("yx"), Condition("attribute_exists(pk)"))], _T, 150))
    assert reply == NotPrepared((None, None, ConditionFailed(None, 0)))
    assert _state(rows) == before
