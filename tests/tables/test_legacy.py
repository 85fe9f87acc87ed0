"""Parameters from before expressions: their meaning as Amazon's DynamoDB Local answered it, and their bounds.

`recorded_legacy.jsonl` holds [attribute, ComparisonOperator, operand, answer] by line; an answer is whether the
condition held for `_ITEM`, in Expected and in ScanFilter alike, or the text of the refusal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gramme.kernel.errors import InvalidInput
from gramme.tables import legacy
from gramme.tables.decisions import Fail, Nothing, Put
from gramme.tables.evaluate import evaluate
from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.request import GENERATED, carried_condition, parsed_condition, prepare
from gramme.tables.item import encode_item, encode_stored
from gramme.tables.requests import Condition, ConditionFailed, Item, PutItem, Refused, ReturnValues, UpdateItem

_CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "recorded_legacy.jsonl").read_text(encoding="utf-8").splitlines()
]
_O = {"S": "old"}
_ITEM: Item = {
    "pk": {"S": "sem"},
    "s": {"S": "hello"},
    "n": {"N": "5"},
    "b": {"B": "aGVsbG8="},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2"]},
    "bs": {"BS": ["aGVsbG8="]},
    "l": {"L": [{"S": "a"}, {"N": "1"}]},
    "m": {"M": {"a": {"S": "b"}}},
    "t": {"BOOL": True},
    "z": {"NULL": True},
}


def _answer(attribute: str, operator: str, operand: Any) -> bool | str:
    condition: dict[str, Any] = {"ComparisonOperator": operator}
    if operand is not None:
        condition["AttributeValueList"] = [operand]
    try:
        comparisons = legacy.read_conditions({attribute: condition})
        assert comparisons == legacy.read_expected({attribute: condition})
    except InvalidInput as error:
        return str(error)
    placeholders = legacy.Placeholders()
    text = legacy.condition_text(comparisons, None, placeholders)
    return parsed_condition(text, placeholders.names, placeholders.values, "ScanFilter").holds(
        _ITEM, placeholders.values
    )


def test_comparisons_mean_what_dynamodb_local_answered() -> None:
    assert len(_CASES) > 1500
    different = [(case, found) for case in _CASES if (found := _answer(*case[:3])) != case[3]]
    assert different == []


def _updated(updates: dict[str, Any], stored: Item | None, mode: ReturnValues = ReturnValues.ALL_NEW) -> Any:
    placeholders = legacy.Placeholders()
    text = GENERATED + legacy.update_text(legacy.read_updates(updates), placeholders)
    key = {"pk": {"S": "k"}}
    condition = Condition(None, placeholders.names, placeholders.values)
    old = None if stored is None else encode_stored(encode_item({**key, **stored}, ("pk",)), 0, 1)
    decision = evaluate(UpdateItem(b"k", key, text, condition, mode), old)
    if isinstance(decision, Fail):
        assert isinstance(decision.reply, Refused)
        return decision.reply.message
    assert isinstance(decision, Put | Nothing)
    returned = decision.reply.attributes
    item = {} if returned is None else json.loads(returned)
    item.pop("pk", None)
    return item


@pytest.mark.parametrize(
    ("update", "before", "after"),
    [
        ({"Value": {"S": "x"}}, None, {"a": {"S": "x"}}),
        ({"Action": "PUT", "Value": {"L": []}}, {"a": {"N": "1"}}, {"a": {"L": []}}),
        ({"Action": "ADD", "Value": {"N": "2"}}, {"a": {"N": "1"}}, {"a": {"N": "3"}}),
        ({"Action": "ADD", "Value": {"N": "2"}}, None, {"a": {"N": "2"}}),
        ({"Action": "ADD", "Value": {"L": [{"S": "n"}]}}, {"a": {"L": []}}, {"a": {"L": [{"S": "n"}]}}),
        ({"Action": "ADD", "Value": {"L": [{"S": "n"}]}}, {"a": {"L": [_O]}}, {"a": {"L": [_O, {"S": "n"}]}}),
        ({"Action": "ADD", "Value": {"L": [{"N": "1"}]}}, {}, {"a": {"L": [{"N": "1"}]}}),
        ({"Action": "ADD", "Value": {"SS": ["b", "c"]}}, {"a": {"SS": ["a", "b"]}}, {"a": {"SS": ["a", "b", "c"]}}),
        ({"Action": "DELETE", "Value": {"SS": ["b"]}}, {"a": {"SS": ["a", "b"]}}, {"a": {"SS": ["a"]}}),
        ({"Action": "DELETE", "Value": {"SS": ["a"]}}, {"a": {"SS": ["a"]}}, {}),
        ({"Action": "DELETE"}, {"a": {"S": "x"}}, {}),
        ({"Action": "DELETE"}, {}, {}),
        ({"Action": "DELETE"}, None, {}),
    ],
)  # fmt: skip
def test_updates_do_what_dynamodb_local_did(update: Any, before: Item | None, after: Item) -> None:
    assert _updated({"a": update}, before) == after


@pytest.mark.parametrize("value", [{"N": "1"}, {"SS": ["1"]}, {"L": [{"N": "1"}]}])
def test_an_update_of_another_type_is_refused_in_the_words_of_legacy_updates(value: Any) -> None:
    assert _updated({"a": {"Action": "ADD", "Value": value}}, {"a": {"BOOL": True}}) == (
        "Type mismatch for attribute to update"
    )


def test_several_updates_are_one_and_dots_are_part_of_names() -> None:
    updates = {
        "a.b": {"Value": {"S": "x"}},
        "size": {"Action": "ADD", "Value": {"N": "1"}},
        "gone": {"Action": "DELETE"},
    }
    assert _updated(updates, {"gone": {"S": "g"}, "size": {"N": "4"}}) == {"a.b": {"S": "x"}, "size": {"N": "5"}}
    assert _updated(updates, {"gone": {"S": "g"}}, ReturnValues.UPDATED_OLD) == {"gone": {"S": "g"}}


def test_a_deletion_alone_creates_no_item() -> None:
    placeholders = legacy.Placeholders()
    text = GENERATED + legacy.update_text(legacy.read_updates({"a": {"Action": "DELETE"}}), placeholders)
    request = UpdateItem(b"k", {"pk": {"S": "k"}}, text, Condition(None, placeholders.names, None))
    assert isinstance(evaluate(request, None), Nothing)


def test_conditions_are_joined_by_the_operator() -> None:
    for operator, holds in (("AND", False), ("OR", True), (None, False)):
        expected: dict[str, Any] = {"s": {"Value": {"S": "hello"}}, "n": {"Exists": False}}
        placeholders = legacy.Placeholders()
        text = GENERATED + legacy.condition_text(legacy.read_expected(expected), operator, placeholders)
        request = PutItem(b"k", b"{}", 2, Condition(text, placeholders.names, placeholders.values))
        decision = evaluate(request, encode_stored(encode_item(_ITEM, ("pk",)), 0, 1))
        assert isinstance(decision, Put) is holds
        assert holds or (isinstance(decision, Fail) and isinstance(decision.reply, ConditionFailed))


def test_what_is_longer_than_an_expression_may_be_is_taken_up_to_its_own_bound() -> None:
    conditions = {f"attribute-{i}": {"Exists": False} for i in range(legacy.MAX_CONDITIONS)}
    placeholders = legacy.Placeholders()
    text = GENERATED + legacy.condition_text(legacy.read_expected(conditions), "AND", placeholders)
    assert carried_condition(text, placeholders.names, {}).holds({}, {})
    with pytest.raises(legacy.InvalidParameter, match=str(legacy.MAX_CONDITIONS)):
        legacy.read_expected({**conditions, "one more": {"Exists": False}})
    values = [{"N": str(i)} for i in range(legacy.MAX_CONDITIONS + 1)]
    with pytest.raises(legacy.InvalidParameter, match=str(legacy.MAX_CONDITIONS)):
        legacy.read_conditions({"a": {"ComparisonOperator": "IN", "AttributeValueList": values}})
    with pytest.raises(legacy.InvalidParameter, match=str(legacy.MAX_CONDITIONS)):
        legacy.read_updates({f"a{i}": {"Action": "DELETE"} for i in range(legacy.MAX_CONDITIONS + 1)})


def test_a_client_cannot_write_a_generated_text() -> None:
    with pytest.raises(InvalidExpression, match="Syntax error"):
        prepare(condition=f"{GENERATED}attribute_exists(a)")
    with pytest.raises(InvalidExpression, match="Syntax error"):
        prepare(update=f"{GENERATED}SET a = b")
