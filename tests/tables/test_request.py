"""The expressions of one request: placeholders, their order of faults, the cache, rows on their way out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gramme.tables.descriptor import KeySchema
from gramme.tables.expression import request
from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.key_condition import KeyRange, key_range
from gramme.tables.expression.request import CACHE_ENTRIES, CACHED_TEXT, LONG_ENTRIES, parsed_condition, prepare
from gramme.tables.expression.reserved import RESERVED_WORDS, is_reserved
from gramme.tables.item import encode_item, key_attributes
from gramme.tables.keys import SortOperator
from gramme.tables.rows import project_row, select_rows
from gramme.tables.values import WrongJsonType

_NAMES = "ExpressionAttributeNames"
_VALUES = "ExpressionAttributeValues"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": {"#a": "a"}}, f"{_NAMES} can only be specified when using expressions"),
        ({"values": {":a": {"S": "a"}}}, f"{_VALUES} can only be specified when using expressions: "
         "ConditionExpression is null"),
        ({"values": {":a": {"S": "a"}}, "projection": "a", "value_members": ("FilterExpression", "KeyCondition")},
         f"{_VALUES} can only be specified when using expressions: FilterExpression and KeyCondition are null"),
        ({"condition": "a=b", "names": {}}, f"{_NAMES} must not be empty"),
        ({"condition": "a=b", "names": {"a": "b"}}, f'{_NAMES} contains invalid key: Syntax error; key: "a"'),
        ({"condition": "a=b", "names": {"#": "b"}}, f'{_NAMES} contains invalid key: Syntax error; key: "#"'),
        ({"condition": "a=b", "names": {"#a": ""}},
         f"{_NAMES} contains invalid value: Empty attribute name for key #a"),
        ({"condition": "a=b", "names": {"#a": None}}, f"{_NAMES} contains invalid value: null for key #a"),
        ({"condition": "a=b", "names": {"#a": "é" * 32768}}, f"{_NAMES} contains invalid value: Attribute name is too "
         "large, must be less than 65536 bytes for key #a"),
        ({"condition": "a=b", "names": {"#" + "a" * 255: "a"}}, f"{_NAMES} contains invalid key: The expression "
         "attribute map contains a key that is too long; size of key: 256"),
        ({"condition": "a=b", "values": {}}, f"{_VALUES} must not be empty"),
        ({"condition": "a=b", "values": {"a": {"S": "a"}}}, f'{_VALUES} contains invalid key: Syntax error; key: "a"'),
        ({"condition": "a=b AND", "values": {":a": {}}}, f"{_VALUES} contains invalid value: Supplied AttributeValue "
         "is empty, must contain exactly one of the supported datatypes for key :a"),
        ({"condition": "a=b", "values": {":a": {"SS": []}}}, f"{_VALUES} contains invalid value: One or more parameter "
         "values were invalid: An string set  may not be empty for key :a"),
        ({"condition": "a=b", "names": {"#a": "a", "#b": "b"}, "values": {":a": {"S": "a"}}},
         f"Value provided in {_NAMES} unused in expressions: keys: {{#a, #b}}"),
        ({"condition": "#a=:a", "names": {"#a": "a"}, "values": {":a": {"S": "a"}, ":b": {"S": "a"}}},
         f"Value provided in {_VALUES} unused in expressions: keys: {{:b}}"),
        ({"update": "SET a =", "condition": "b ="},
         'Invalid UpdateExpression: Syntax error; token: "<EOF>", near: "="'),
        ({"condition": "", "update": "SET a = b"}, "Invalid ConditionExpression: The expression can not be empty;"),
    ],
)  # fmt: skip
def test_faults_of_a_request(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        prepare(**arguments)
    assert str(refused.value) == message


def test_a_wrong_json_type_comes_before_an_invalid_value() -> None:
    with pytest.raises(WrongJsonType, match="NUMBER_VALUE cannot be converted to String"):
        prepare(condition="a=:a", values={":a": {"N": "x"}, ":b": {"S": 1}})


def test_expressions_share_placeholders_and_values_are_normalised() -> None:
    values: dict[str, Any] = {":v": {"N": "01.0"}, ":w": {"S": "x"}}
    prepared = prepare(
        names={"#a": "a", "#b": "b.c"}, values=values, update="SET #b = :v", condition="#a = :w", projection="#a"
    )
    assert values[":v"] == {"N": "1"}
    assert prepared.update is not None
    assert prepared.condition is not None
    assert prepared.update.apply({}, values) == {"b.c": {"N": "1"}}
    assert prepared.condition.holds({"a": {"S": "x"}}, values)


def test_one_tree_serves_all_values_and_no_other_names() -> None:
    one = parsed_condition("#a = :v", {"#a": "a"}, {":v": {"N": "1"}})
    assert parsed_condition("#a = :v", {"#a": "a"}, {":v": {"S": "x"}}) is one
    assert parsed_condition("#a = :v", {"#a": "b"}, {":v": {"N": "1"}}) is not one
    assert parsed_condition("#a = :v", {"#a": "a"}, {":v": {"N": "1"}}, "FilterExpression") is not one
    with pytest.raises(InvalidExpression):
        parsed_condition("#a = :v", {"#a": "a"}, {})


def test_the_cache_is_bounded_in_entries_and_text() -> None:
    for index in range(CACHE_ENTRIES + 10):
        parsed_condition(f"a{index} = :v", None, {":v": {"N": "1"}})
    assert len(request._cache) == CACHE_ENTRIES
    longer = [f"a{index} = :v".ljust(CACHED_TEXT + 1) for index in range(LONG_ENTRIES + 1)]
    first = parsed_condition(longer[0], None, {":v": {"N": "1"}})
    assert parsed_condition(longer[0], None, {":v": {"N": "1"}}) is first  # as in the next action of a transaction
    for text in longer:
        parsed_condition(text, None, {":v": {"N": "1"}})
    assert len(request._long) == LONG_ENTRIES
    assert parsed_condition(longer[0], None, {":v": {"N": "1"}}) is not first


def test_reserved_words_are_known_in_any_case() -> None:
    assert len(RESERVED_WORDS) == 573
    assert is_reserved("status")
    assert is_reserved("Name")
    assert not is_reserved("pk")


_TABLE = KeySchema("pk", "S", "sk", "N")
_KEY_VALUES: dict[str, Any] = {":p": {"S": "k"}, ":a": {"N": "1"}, ":b": {"N": "2"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pk = :p", KeyRange({"S": "k"})),
        (":p = pk", KeyRange({"S": "k"})),
        ("pk = :p AND sk < :a", KeyRange({"S": "k"}, SortOperator.LESS, {"N": "1"})),
        (":a < sk AND pk = :p", KeyRange({"S": "k"}, SortOperator.GREATER, {"N": "1"})),
        ("(pk = :p) AND (:a >= sk)", KeyRange({"S": "k"}, SortOperator.LESS_OR_EQUAL, {"N": "1"})),
        ("pk = :p AND sk BETWEEN :a AND :b", KeyRange({"S": "k"}, SortOperator.BETWEEN, {"N": "1"}, {"N": "2"})),
    ],
)
def test_key_ranges(text: str, expected: KeyRange) -> None:
    condition = request.parsed_key_condition(text, None, _KEY_VALUES)
    assert key_range(condition.terms(), _KEY_VALUES, _TABLE) == expected


def test_a_prefix_of_the_sort_key() -> None:
    values: dict[str, Any] = {":p": {"S": "k"}, ":s": {"S": "pre"}}
    condition = request.parsed_key_condition("pk = :p AND begins_with(sk, :s)", None, values)
    expected = KeyRange({"S": "k"}, SortOperator.BEGINS_WITH, {"S": "pre"})
    assert key_range(condition.terms(), values, KeySchema("pk", "S", "sk", "S")) == expected


@pytest.mark.parametrize(
    ("text", "schema", "message"),
    [  # as the service answers, which DynamoDB Local words differently
        ("sk = :a", _TABLE, "Query condition missed key schema element: pk"),
        ("attr1 = :p", _TABLE, "Query condition missed key schema element: pk"),
        ("pk = :p AND attr1 = :a", _TABLE, "Query condition missed key schema element: sk"),
        ("pk = :p AND sk = :a", KeySchema("pk", "S"), "Query key condition not supported"),
        ("pk.x = :p", _TABLE, "KeyConditionExpressions cannot have conditions on nested attributes"),
    ],
)
def test_key_conditions_that_do_not_fit(text: str, schema: KeySchema, message: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        key_range(request.parsed_key_condition(text, None, _KEY_VALUES).terms(), _KEY_VALUES, schema)
    assert str(refused.value) == message


def test_rows_are_filtered_then_projected_and_otherwise_left_alone() -> None:
    rows = [encode_item({"pk": {"S": str(i)}, "n": {"N": str(i)}, "x": {"S": "x"}}, ("pk",)) for i in range(5)]
    values: dict[str, Any] = {":v": {"N": "2"}}
    prepared = prepare(values=values, filter="n > :v", projection="n, pk")
    assert select_rows(rows, None, None, {}) == rows
    assert select_rows(rows, prepared.filter, None, values) == rows[3:]
    assert select_rows(rows, prepared.filter, prepared.projection, values) == [
        b'{"pk":{"S":"3"},"n":{"N":"3"}}',
        b'{"pk":{"S":"4"},"n":{"N":"4"}}',
    ]
    assert prepared.projection is not None
    assert json.loads(project_row(rows[0], prepared.projection)) == {"pk": {"S": "0"}, "n": {"N": "0"}}
    assert key_attributes(rows[1], ("pk",)) == {"pk": {"S": "1"}}
