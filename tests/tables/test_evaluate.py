"""Writes against stored items: decisions, replies, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gramme.tables.decisions import Fail, Nothing, Put, Remove
from gramme.tables.evaluate import evaluate
from gramme.tables.item import encode_item, encode_stored, encode_tombstone
from gramme.tables.numbers import OVERFLOW, TOO_PRECISE
from gramme.tables.requests import (
    Condition,
    ConditionFailed,
    DeleteItem,
    Item,
    PutItem,
    Refused,
    ReturnValues,
    UpdateItem,
    WriteRequest,
    Written,
)
from gramme.tables.values import item_size

_KEY: Item = {"pk": {"S": "k"}}
_ITEM: Item = {**_KEY, "n": {"N": "5"}, "m": {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}}
_JSON = encode_item(_ITEM, ("pk",))
_SIZE = item_size(_ITEM)
_STORED = encode_stored(_JSON, _SIZE, 77)


def _update(text: str | None, returned: ReturnValues = ReturnValues.NONE, **values: dict[str, Any]) -> UpdateItem:
    condition = Condition(None, None, {f":{name}": value for name, value in values.items()} or None)
    return UpdateItem(b"k", _KEY, text, condition, returned)


def _stored(item: Item) -> bytes:
    return encode_stored(encode_item(item, ("pk",)), item_size(item), 1)


def test_a_put_replaces_the_item_and_returns_the_old_one_on_request() -> None:
    new: Item = {**_KEY, "a": {"S": "b"}}
    json_new, size = encode_item(new, ("pk",)), item_size(new)
    assert evaluate(PutItem(b"k", json_new, size), None) == Put(json_new, size, Written(None, 0, size))
    put = PutItem(b"k", json_new, size, return_values=ReturnValues.ALL_OLD)
    assert evaluate(put, _STORED) == Put(json_new, size, Written(_JSON, _SIZE, size))
    assert evaluate(put, None) == Put(json_new, size, Written(None, 0, size))


def test_a_delete_removes_the_item_or_finds_none() -> None:
    delete = DeleteItem(b"k", return_values=ReturnValues.ALL_OLD)
    assert evaluate(delete, _STORED) == Remove(Written(_JSON, _SIZE, 0))
    assert evaluate(delete, None) == Nothing(Written(None, 0, 0))
    assert evaluate(delete, encode_tombstone(5)) == Nothing(Written(None, 0, 0))


@pytest.mark.parametrize("make", ["put", "delete", "update"])
def test_a_failed_condition_changes_nothing_and_returns_the_item_on_request(make: str) -> None:
    condition = Condition("attribute_not_exists(pk)")
    for wanted in (False, True):
        requests: dict[str, WriteRequest] = {
            "put": PutItem(b"k", b"{}", 0, condition, ReturnValues.ALL_OLD, wanted),
            "delete": DeleteItem(b"k", condition, ReturnValues.ALL_OLD, wanted),
            "update": UpdateItem(b"k", _KEY, "REMOVE n", condition, ReturnValues.ALL_OLD, wanted),
        }
        assert evaluate(requests[make], _STORED) == Fail(ConditionFailed(_JSON if wanted else None, _SIZE))


def test_a_condition_on_a_missing_item_sees_no_attributes_not_even_the_key() -> None:
    request = UpdateItem(b"k", _KEY, "SET a = :v", Condition("attribute_exists(pk)", None, {":v": {"S": "x"}}))
    assert evaluate(request, None) == Fail(ConditionFailed(None, 0))
    assert evaluate(request, encode_tombstone(5)) == Fail(ConditionFailed(None, 0))
    request = UpdateItem(b"k", _KEY, "SET a = :v", Condition("attribute_not_exists(pk)", None, {":v": {"S": "x"}}))
    assert isinstance(evaluate(request, None), Put)


def test_the_condition_comes_before_the_update() -> None:
    request = UpdateItem(b"k", _KEY, "SET pk = :v", Condition("n = :v", None, {":v": {"S": "x"}}))
    assert isinstance(evaluate(request, _STORED), Fail)
    assert evaluate(request, _STORED) == Fail(ConditionFailed(None, _SIZE))


def test_an_update_creates_the_item_from_its_key() -> None:
    made = evaluate(_update("SET a = :v ADD c :n", v={"S": "x"}, n={"N": "2"}), None)
    assert isinstance(made, Put)
    assert json.loads(made.item) == {**_KEY, "a": {"S": "x"}, "c": {"N": "2"}}
    assert made.item.startswith(b'{"pk":')
    assert evaluate(_update(None), None) == Put(b'{"pk":{"S":"k"}}', 3, Written(None, 0, 3))


@pytest.mark.parametrize("text", ["REMOVE a", "DELETE a :v"])
def test_an_update_that_only_removes_creates_nothing(text: str) -> None:
    values = {"v": {"SS": ["x"]}} if ":v" in text else {}
    assert evaluate(_update(text, ReturnValues.ALL_NEW, **values), None) == Nothing(Written(None, 0, 0))


def test_an_update_to_the_same_item_is_no_change() -> None:
    assert evaluate(_update("SET n = :v", ReturnValues.ALL_NEW, v={"N": "5"}), _STORED) == Nothing(
        Written(_JSON, _SIZE, _SIZE)
    )
    assert evaluate(_update(None), _STORED) == Nothing(Written(None, _SIZE, _SIZE))


@pytest.mark.parametrize(
    ("mode", "stored", "returned"),
    [
        (ReturnValues.NONE, _STORED, None),
        (ReturnValues.ALL_OLD, _STORED, _ITEM),
        (ReturnValues.ALL_OLD, None, None),
        (ReturnValues.UPDATED_OLD, _STORED, {"n": {"N": "5"}, "m": {"M": {"x": {"N": "1"}}}}),
        (ReturnValues.UPDATED_NEW, _STORED, {"n": {"N": "6"}}),
        (
            ReturnValues.ALL_NEW,
            _STORED,
            {**_KEY, "n": {"N": "6"}, "m": {"M": {"y": {"N": "2"}}}},
        ),
    ],
)
def test_return_values_of_an_update(mode: ReturnValues, stored: bytes | None, returned: Item | None) -> None:
    text = "SET n = :v REMOVE m.x" if stored is not None else "SET n = :v"
    decision = evaluate(_update(text, mode, v={"N": "6"}), stored)
    assert isinstance(decision, Put)
    attributes = decision.reply.attributes
    assert (None if attributes is None else json.loads(attributes)) == returned
    assert decision.size == decision.reply.new_size == item_size(json.loads(decision.item))


@pytest.mark.parametrize("text", ["SET pk = :v", "SET pk.a = :v", "REMOVE pk", "ADD n :n SET pk = :v"])
@pytest.mark.parametrize("stored", [None, _STORED])
def test_key_attributes_cannot_be_updated(text: str, stored: bytes | None) -> None:
    message = "One or more parameter values were invalid: Cannot update attribute pk. This attribute is part of the key"
    assert evaluate(_update(text, v={"S": "x"}, n={"N": "1"}), stored) == Fail(Refused(message))


@pytest.mark.parametrize(("extra", "allowed"), [(0, True), (1, False)])
def test_an_item_grows_to_400_kb_and_no_further(extra: int, allowed: bool) -> None:
    room = 400 * 1024 - item_size(_KEY) - len("data")
    decision = evaluate(_update("SET data_ = :v", v={"S": "x" * (room - 1 + extra)}), _stored(_KEY))
    if allowed:
        assert isinstance(decision, Put)
        assert decision.size == 400 * 1024
    else:
        assert decision == Fail(Refused("Item size to update has exceeded the maximum allowed size"))


def test_one_large_list_named_many_times_is_refused() -> None:
    item: Item = {**_KEY, "l": {"L": [{"S": "x" * 100}] * 3500}}
    text = "SET " + ", ".join(f"a{index} = l" for index in range(300))
    assert evaluate(_update(text), _stored(item)) == Fail(
        Refused("Item size to update has exceeded the maximum allowed size")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SET a = b", "The provided expression refers to an attribute that does not exist in the item"),
        ("SET a.b = :v", "The document path provided in the update expression is invalid for update"),
        ("SET n = m + :v", "An operand in the update expression has an incorrect data type"),
        ("SET n = :big + :big", OVERFLOW),
        ("SET n = :big + :v", TOO_PRECISE),
        ("SET n = :u", "Invalid UpdateExpression: An expression attribute value used in expression is not defined; "
         "attribute value: :u"),
    ],
)  # fmt: skip
def test_updates_that_do_not_fit_are_refused(text: str, message: str) -> None:
    decision = evaluate(_update(text, v={"N": "1"}, big={"N": "9" + "0" * 125}), _STORED)
    assert decision == Fail(Refused(message))
