"""Wrong JSON types and constraint violations: type, text, and which of several comes first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.caller import Caller

from gramme.api.dynamodb.errors import ApiError
from gramme.api.dynamodb.operations import OPERATIONS
from gramme.api.dynamodb.shapes import InputShape

_NULL_NAME = (
    "1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null"
)


def _at(value: str, path: str, constraint: str) -> str:
    return f"Value {value} at '{path}' failed to satisfy constraint: Member must {constraint}"


@pytest.mark.parametrize(
    ("operation", "body", "text"),
    [
        ("ListTables", {"Limit": "x"}, "STRING_VALUE cannot be converted to Integer"),
        ("ListTables", {"Limit": True}, "TRUE_VALUE cannot be converted to Integer"),
        ("ListTables", {"Limit": []}, "Unrecognized collection type class java.lang.Integer"),
        ("ListTables", {"Limit": {}}, "Start of structure or map found where not expected"),
        ("ListTables", {"ExclusiveStartTableName": 1}, "NUMBER_VALUE cannot be converted to String"),
        ("ListTables", {"ExclusiveStartTableName": 1.5}, "DECIMAL_VALUE cannot be converted to String"),
        ("ListTables", {"ExclusiveStartTableName": False}, "FALSE_VALUE cannot be converted to String"),
        ("GetItem", {"TableName": []}, "Unrecognized collection type class java.lang.String"),
        ("GetItem", {"ConsistentRead": "maybe"}, "Unexpected token received from parser"),
        ("GetItem", {"ConsistentRead": 1}, "NUMBER_VALUE cannot be converted to Boolean"),
        ("GetItem", {"ExpressionAttributeNames": "x"}, "Unexpected field type"),
        (
            "GetItem",
            {"ExpressionAttributeNames": []},
            "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>",
        ),
        ("GetItem", {"AttributesToGet": {}}, "Start of structure or map found where not expected"),
        ("GetItem", {"AttributesToGet": "a"}, "Unexpected field type"),
        ("GetItem", {"TableName": "abc", "Key": 5}, "Unexpected field type"),
        ("GetItem", {"TableName": "abc", "Key": {"pk": "a"}}, "Unexpected value type in payload"),
        ("GetItem", {"TableName": "abc", "Key": {"pk": {"S": 5}}}, "NUMBER_VALUE cannot be converted to String"),
        (
            "PutItem",
            {"TableName": "abc", "Item": {"pk": {"B": "abc"}}},
            "Base64 encoded length is expected a multiple of 4 bytes but found: 3",
        ),
        ("CreateTable", {"KeySchema": {}}, "Start of structure or map found where not expected"),
        ("CreateTable", {"KeySchema": ["x"]}, "Unexpected value type in payload"),
        (
            "CreateTable",
            {"KeySchema": [[]]},
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.KeySchemaElement",
        ),
        ("CreateTable", {"ProvisionedThroughput": 1}, "Unexpected field type"),
        (
            "CreateTable",
            {"ProvisionedThroughput": {"ReadCapacityUnits": "1"}},
            "STRING_VALUE cannot be converted to Long",
        ),
        ("BatchWriteItem", {"RequestItems": {"abc": [{"PutRequest": []}]}}, None),
        ("BatchGetItem", {"RequestItems": {"abc": {"Keys": [{"pk": 1}]}}}, "Unexpected value type in payload"),
    ],
)
def test_wrong_json_types(operation: str, body: dict[str, Any], text: str | None) -> None:
    name, message = Caller().refuse(operation, body)
    assert name == "SerializationException"
    if text is not None:
        assert message == text


def test_a_wrong_json_type_anywhere_comes_before_every_constraint() -> None:
    caller = Caller()
    body = {"TableName": "x!", "ReturnValues": "bad", "Item": {"a": {"N": "not a number"}, "b": {"S": 5}}}
    assert caller.refuse("PutItem", body)[0] == "SerializationException"
    body = {"TableName": "abc", "Item": {"a": {"N": "not a number"}}, "ExpressionAttributeValues": {":v": {"S": 5}}}
    assert caller.refuse("PutItem", body)[0] == "SerializationException"


@pytest.mark.parametrize(
    ("operation", "name", "text"),
    [
        ("GetItem", None, _NULL_NAME),
        ("Query", None, _NULL_NAME),
        (
            "GetItem",
            "",
            "1 validation error detected: " + _at("''", "tableName", "have length greater than or equal to 1"),
        ),
        (
            "PutItem",
            "a" * 256,
            "1 validation error detected: "
            + _at(f"'{'a' * 256}'", "tableName", "have length less than or equal to 255"),
        ),
        (
            "Scan",
            "bad table!@#",
            "1 validation error detected: "
            + _at("'bad table!@#'", "tableName", "satisfy regular expression pattern: [a-zA-Z0-9_.-]+"),
        ),
        (
            "CreateTable",
            "ab",
            "1 validation error detected: " + _at("'ab'", "tableName", "have length greater than or equal to 3"),
        ),
        ("CreateTable", None, "The parameter 'TableName' is required but was not present in the request"),
        ("DeleteTable", None, "The parameter 'TableName' is required but was not present in the request"),
        ("DescribeTable", None, "The parameter 'TableName' is required but was not present in the request"),
    ],
)
def test_a_bad_table_name_is_reported_first_and_alone(operation: str, name: str | None, text: str) -> None:
    body = {"TableName": name, "ReturnConsumedCapacity": "bad", "Limit": 0}
    assert Caller().invalid(operation, body) == text


def test_other_violations_are_collected() -> None:
    body = {
        "TableName": "abc",
        "ReturnConsumedCapacity": "a",
        "ReturnItemCollectionMetrics": "b",
        "ReturnValues": "c",
        "ReturnValuesOnConditionCheckFailure": "d",
    }
    assert Caller().invalid("PutItem", body) == (
        "5 validation errors detected: "
        + "; ".join(
            [
                _at("'a'", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
                _at("null", "item", "not be null"),
                _at(
                    "'c'", "returnValues", "satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"
                ),
                _at("'b'", "returnItemCollectionMetrics", "satisfy enum value set: [SIZE, NONE]"),
                _at("'d'", "returnValuesOnConditionCheckFailure", "satisfy enum value set: [ALL_OLD, NONE]"),
            ]
        )
    )


def test_wording_differs_by_operation() -> None:
    caller = Caller()
    limit = "failed to satisfy constraint: Member must have value greater than or equal to 1"
    assert caller.invalid("Query", {"TableName": "abc", "Limit": 0}) == (
        f"1 validation error detected: Value at 'Limit' {limit}"
    )
    assert caller.invalid("Scan", {"TableName": "abc", "Limit": 0}) == (
        f"1 validation error detected: Value '0' at 'limit' {limit}"
    )
    assert caller.invalid("Query", {"TableName": "abc", "Select": "BAD"}) == (
        "1 validation error detected: Value 'BAD' at 'select' failed to satisfy constraint: Member must satisfy enum "
        "value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]"
    )


def test_nested_violations_name_their_place() -> None:
    body: dict[str, Any] = {
        "TableName": "abc",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "BAD"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "x"}, None],
    }
    assert Caller().invalid("CreateTable", body) == "3 validation errors detected: " + "; ".join(
        [
            _at("null", "attributeDefinitions.2.member.attributeType", "not be null"),
            _at("null", "attributeDefinitions.3.member", "not be null"),
            _at("'BAD'", "keySchema.1.member.keyType", "satisfy enum value set: [HASH, RANGE]"),
        ]
    )


def test_a_long_key_schema_is_shown_as_the_service_shows_it() -> None:
    element = {"AttributeName": "a", "KeyType": "HASH"}
    body = {"TableName": "abc", "KeySchema": [element] * 3, "AttributeDefinitions": []}
    shown = "[" + ", ".join(["KeySchemaElement(attributeName=a, keyType=HASH)"] * 3) + "]"
    assert Caller().invalid("CreateTable", body) == (
        f"1 validation error detected: Value '{shown}' at 'keySchema' failed to satisfy constraint: "
        "Member must have length less than or equal to 2"
    )


def test_words_for_booleans_fractions_and_nulls_are_taken_as_the_service_takes_them() -> None:
    caller = Caller()
    assert caller.call("ListTables", {"Limit": 1.9, "ExclusiveStartTableName": None}) == {"TableNames": []}
    assert caller.call("ListTables", {"Limit": 5, "Unknown": {"deep": [1]}}) == {"TableNames": []}
    assert "less than or equal to 100" in caller.invalid("ListTables", {"Limit": 1e300})
    caller.create_tables()
    key = {"TableName": "users", "Key": {"pk": {"S": "a"}}}
    caller.call("GetItem", {**key, "ConsistentRead": "yes"})
    caller.call("GetItem", {**key, "ConsistentRead": "FALSE"})
    consistent = [getattr(request, "consistent", None) for request in caller.backend.requests]
    assert consistent == [True, False]


_VALUES = st.recursive(
    st.sampled_from(["", "a", "ALL", "NONE", "TOTAL", "x" * 300, 0, 1, -1, 10**6, 10**12, 1.5, True, None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["S", "Keys", "a"]), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def _inputs(draw: st.DrawFn) -> tuple[InputShape, dict[str, Any]]:
    """An operation's input of the right types, and perhaps against its constraints."""
    shape = OPERATIONS[draw(st.sampled_from(sorted(OPERATIONS)))].shape
    body: dict[str, Any] = {}
    for member in draw(st.lists(st.sampled_from(shape.members), max_size=4)) if shape.members else ():
        allowed = st.sampled_from(member.enum) if member.enum else st.nothing()
        try:
            body[member.name] = member.shape.check(draw(allowed | _VALUES))
        except ApiError:
            body[member.name] = None
    return shape, body


@given(_inputs())
def test_what_is_let_through_at_a_glance_violates_nothing(given_: tuple[InputShape, dict[str, Any]]) -> None:
    shape, body = given_
    errors: list[str] = []
    for member in shape.members:
        member.constrain(body.get(member.name), member.name, errors)
    assert shape._conforms(body) == (not errors)


@given(_inputs(), st.dictionaries(st.sampled_from(["TableName", "Key", "Limit", "Unknown"]), _VALUES, max_size=2))
def test_what_is_plain_needs_no_check(given_: tuple[InputShape, dict[str, Any]], wild: dict[str, Any]) -> None:
    shape, body = given_
    body = {"TableName": "abc", "Key": {}, "Item": {}, "RequestItems": {}, **body, **wild}
    if shape.is_plain(body):
        before = dict(body)
        shape.check_types(body)
        shape.check_constraints(body)
        assert body == before
        assert not any(body.get(member) is not None for member in shape.refused)
