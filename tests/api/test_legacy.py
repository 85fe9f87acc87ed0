# ruff: noqa: E501, N802
"""Requests with parameters from before expressions, as clients send them: what they do, and which fault comes first.

Texts are the service's, as recorded by public test suites and DynamoDB Local.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.caller import Caller, event

INVALID = "One or more parameter values were invalid: "
MIXED = "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "


@pytest.fixture
def caller(caller: Caller) -> Caller:
    for sk in range(6):
        caller.call(
            "PutItem", {"TableName": "events", "Item": event("a", sk, v={"N": str(sk * sk)}, t={"S": f"t{sk}"})}
        )
    return caller


def S(text: str) -> dict[str, str]:
    return {"S": text}


def N(number: int) -> dict[str, str]:
    return {"N": str(number)}


def cond(operator: str, *values: Any) -> dict[str, Any]:
    return {"ComparisonOperator": operator, "AttributeValueList": list(values)}


A = {"pk": cond("EQ", S("a"))}


def put(**members: Any) -> dict[str, Any]:
    return {"TableName": "users", "Item": {"pk": S("k"), "n": N(1)}, **members}


def update(**members: Any) -> dict[str, Any]:
    return {"TableName": "users", "Key": {"pk": S("k")}, **members}


def query(**members: Any) -> dict[str, Any]:
    return {"TableName": "events", "KeyConditions": A, **members}


def scan(**members: Any) -> dict[str, Any]:
    return {"TableName": "events", **members}


# --- writes


def test_expected_guards_every_write(caller: Caller) -> None:
    absent = {"pk": {"Exists": False}}
    assert caller.call("PutItem", put(Expected=absent)) == {}
    failed = ("ConditionalCheckFailedException", "The conditional request failed")
    assert caller.refuse("PutItem", put(Expected=absent)) == failed
    assert caller.refuse("UpdateItem", update(Expected={"n": {"Value": N(2)}})) == failed
    assert caller.refuse("DeleteItem", update(Expected={"n": cond("GT", N(1))})) == failed
    either = {"n": cond("GT", N(1)), "x": {"ComparisonOperator": "NULL"}}
    assert caller.refuse("DeleteItem", update(Expected=either, ConditionalOperator="AND")) == failed
    assert caller.call("DeleteItem", update(Expected=either, ConditionalOperator="OR", ReturnValues="ALL_OLD")) == {
        "Attributes": {"pk": S("k"), "n": N(1)}
    }


def test_a_failed_expectation_shows_the_item_when_asked(caller: Caller) -> None:
    caller.call("PutItem", put())
    body = put(Expected={"n": {"Value": N(9)}}, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    answer = caller.raw("PutItem", json.dumps(body).encode())
    assert b'"Item":{"pk":{"S":"k"},"n":{"N":"1"}}' in answer.whole_body()


def test_attribute_updates_with_an_expectation(caller: Caller) -> None:
    caller.call("PutItem", put())
    edits = {"n": {"Action": "ADD", "Value": N(4)}, "new": {"Value": S("x")}, "none": {"Action": "DELETE"}}
    body = update(AttributeUpdates=edits, Expected={"n": {"Value": N(1)}}, ReturnValues="UPDATED_NEW")
    assert caller.call("UpdateItem", body) == {"Attributes": {"n": N(5), "new": S("x")}}
    assert caller.refuse("UpdateItem", body)[0] == "ConditionalCheckFailedException"
    assert caller.call("UpdateItem", update(AttributeUpdates={}, ReturnValues="ALL_NEW"))["Attributes"]["n"] == N(5)


def test_deletions_alone_create_nothing_and_no_updates_create_the_key(caller: Caller) -> None:
    caller.call("UpdateItem", update(AttributeUpdates={"a": {"Action": "DELETE"}}))
    assert caller.call("GetItem", update()) == {}
    caller.call("UpdateItem", update(AttributeUpdates={}))
    assert caller.call("GetItem", update()) == {"Item": {"pk": S("k")}}


def test_four_hundred_updates_in_one_request(caller: Caller) -> None:
    caller.call("UpdateItem", update(AttributeUpdates={f"a{i}": {"Value": N(i)} for i in range(400)}))
    assert len(caller.call("GetItem", update())["Item"]) == 401


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"a": {}}, f"{INVALID}Value must be provided when Exists is null for Attribute: a"),
        ({"a": {"Exists": True}}, f"{INVALID}Value must be provided when Exists is true for Attribute: a"),
        ({"a": {"Exists": False, "Value": S("x")}}, f"{INVALID}Value cannot be used when Exists is false for Attribute: a"),
        ({"a": {"Value": S("x"), "AttributeValueList": []}}, f"{INVALID}Value and AttributeValueList cannot be used together for Attribute: a"),
        ({"a": {"AttributeValueList": [S("x")]}}, f"{INVALID}AttributeValueList can only be used with a ComparisonOperator for Attribute: a"),
        ({"a": {"Exists": True, "ComparisonOperator": "EQ", "Value": S("x")}}, f"{INVALID}Exists and ComparisonOperator cannot be used together for Attribute: a"),
        ({"a": {"ComparisonOperator": "EQ"}}, f"{INVALID}Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a"),
        ({"a": cond("EQ")}, f"{INVALID}Invalid number of argument(s) for the EQ ComparisonOperator"),
        ({"a": cond("BETWEEN", S("x"))}, f"{INVALID}Invalid number of argument(s) for the BETWEEN ComparisonOperator"),
        ({"a": cond("IN")}, f"{INVALID}Invalid number of argument(s) for the IN ComparisonOperator"),
        ({"a": {"ComparisonOperator": "NULL", "Value": S("x")}}, f"{INVALID}Invalid number of argument(s) for the NULL ComparisonOperator"),
        ({"a": cond("IN", S("x"), N(1))}, f"{INVALID}AttributeValues inside AttributeValueList must be of same type"),
        ({"a": cond("BETWEEN", S("x"), S("a"))}, "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"),
        ({"a": cond("LE", {"BOOL": True})}, f"{INVALID}ComparisonOperator LE is not valid for BOOL AttributeValue type"),
        ({"a": {"Value": {}}}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        ({"a": {"Value": {"N": "x"}}}, "The parameter cannot be converted to a numeric value: x"),
        ({"": {"Exists": False}}, "Empty attribute name"),
        ({"a": None}, f"{INVALID}ExpectedAttributeValue must not be null for Attribute: a"),
    ],
)  # fmt: skip
def test_faults_of_expected(caller: Caller, expected: Any, message: str) -> None:
    for operation, body in (("PutItem", put), ("UpdateItem", update), ("DeleteItem", update)):
        assert caller.invalid(operation, body(Expected=expected)) == message
    assert caller.call("GetItem", update()) == {}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({}, f"{INVALID}Only DELETE action is allowed when no attribute value is specified"),
        ({"Action": "ADD"}, f"{INVALID}Only DELETE action is allowed when no attribute value is specified"),
        ({"Action": "DELETE", "Value": S("x")}, f"{INVALID}DELETE action with value is not supported for the type S"),
        ({"Action": "ADD", "Value": {"M": {}}}, f"{INVALID}ADD action is not supported for the type M"),
        ({"Value": {}}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        ({"Action": "SET", "Value": S("x")}, "1 validation error detected: Value 'SET' at 'attributeUpdates.a.member.action' failed to satisfy constraint: Member must satisfy enum value set: [ADD, DELETE, PUT]"),
        (None, f"{INVALID}AttributeValueUpdate must not be null for Attribute: a"),
    ],
)  # fmt: skip
def test_faults_of_attribute_updates(caller: Caller, edit: Any, message: str) -> None:
    assert caller.invalid("UpdateItem", update(AttributeUpdates={"a": edit})) == message
    assert caller.call("GetItem", update()) == {}


def test_key_attributes_are_not_updated(caller: Caller) -> None:
    assert caller.invalid("UpdateItem", update(AttributeUpdates={"pk": {"Value": S("x")}})) == (
        f"{INVALID}Cannot update attribute pk. This attribute is part of the key"
    )


def test_an_operator_needs_two_conditions(caller: Caller) -> None:
    alone = "ConditionalOperator cannot be used without Filter or Expected"
    one = "ConditionalOperator can only be used when Filter or Expected has two or more elements"
    single = {"a": {"ComparisonOperator": "NULL"}}
    assert caller.invalid("PutItem", put(ConditionalOperator="OR")) == alone
    assert caller.invalid("PutItem", put(ConditionalOperator="OR", Expected={})) == alone
    assert caller.invalid("PutItem", put(ConditionalOperator="OR", Expected=single)) == one
    assert caller.invalid("UpdateItem", update(ConditionalOperator="AND", AttributeUpdates={})) == alone
    assert caller.invalid("Scan", scan(ConditionalOperator="OR")) == alone
    assert caller.invalid("Scan", scan(ConditionalOperator="OR", ScanFilter=single)) == one
    assert caller.invalid("Query", query(ConditionalOperator="OR", QueryFilter=single)) == one


# --- reads


def test_key_conditions_select_by_every_operator(caller: Caller) -> None:
    def found(condition: Any) -> list[int]:
        answer = caller.call("Query", query(KeyConditions={**A, "sk": condition}))
        return [int(item["sk"]["N"]) for item in answer["Items"]]

    assert found(cond("EQ", N(3))) == [3]
    assert found(cond("LT", N(2))) == [0, 1]
    assert found(cond("LE", N(2))) == [0, 1, 2]
    assert found(cond("GT", N(3))) == [4, 5]
    assert found(cond("GE", N(3))) == [3, 4, 5]
    assert found(cond("BETWEEN", N(2), N(4))) == [2, 3, 4]
    assert caller.call("Query", query(ScanIndexForward=False, Limit=1))["Items"][0]["sk"] == N(5)


def test_filters_and_attributes_to_get(caller: Caller) -> None:
    squares = {"v": cond("GT", N(3)), "t": cond("NE", S("t4"))}
    answer = caller.call("Query", query(QueryFilter=squares, AttributesToGet=["v", "nothing"]))
    assert answer == {"Count": 3, "ScannedCount": 6, "Items": [{"v": N(4)}, {"v": N(9)}, {"v": N(25)}]}
    answer = caller.call("Scan", scan(ScanFilter={"sk": cond("IN", N(1), N(2))}, Select="COUNT"))
    assert answer == {"Count": 2, "ScannedCount": 6}
    either = {"sk": cond("EQ", N(1)), "v": cond("EQ", N(25))}
    assert caller.call("Scan", scan(ScanFilter=either, ConditionalOperator="OR"))["Count"] == 2
    assert caller.call("Scan", scan(ScanFilter=either, ConditionalOperator="AND"))["Count"] == 0
    assert caller.call("Scan", scan(ScanFilter={}))["Count"] == 6


def test_attributes_to_get_of_items(caller: Caller) -> None:
    key = {"pk": S("a"), "sk": N(2)}
    body = {"TableName": "events", "Key": key, "AttributesToGet": ["v"]}
    assert caller.call("GetItem", body) == {"Item": {"v": N(4)}}
    assert caller.call("GetItem", {**body, "AttributesToGet": ["x.y"]}) == {"Item": {}}
    batch = {"RequestItems": {"events": {"Keys": [key], "AttributesToGet": ["t", "sk"]}}}
    assert caller.call("BatchGetItem", batch)["Responses"] == {"events": [{"sk": N(2), "t": S("t2")}]}
    repeated = f"{INVALID}Duplicate value in attribute name: v"
    assert caller.invalid("GetItem", {**body, "AttributesToGet": ["v", "v"]}) == repeated
    batch["RequestItems"]["events"]["AttributesToGet"] = ["v", "v"]
    assert caller.invalid("BatchGetItem", batch) == repeated
    assert caller.invalid("Scan", scan(AttributesToGet=["v", "v"])) == repeated
    assert caller.invalid("GetItem", {**body, "AttributesToGet": [""]}) == "Empty attribute name"


def test_key_conditions_may_stand_beside_other_expressions(caller: Caller) -> None:
    body = query(FilterExpression="v > :x", ProjectionExpression="v", ExpressionAttributeValues={":x": N(10)})
    assert caller.call("Query", body)["Items"] == [{"v": N(16)}, {"v": N(25)}]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "Conditions can be of length 1 or 2 only"),
        ({**A, "sk": cond("EQ", N(1)), "v": cond("EQ", N(1))}, "Conditions can be of length 1 or 2 only"),
        ({"sk": cond("EQ", N(1))}, "Query condition missed key schema element: pk"),
        ({**A, "v": cond("EQ", N(1))}, "Query condition missed key schema element: sk"),
        ({"pk": cond("LT", S("a"))}, "Query key condition not supported"),
        ({**A, "sk": cond("NE", N(1))}, "Attempted conditional constraint is not an indexable operation"),
        ({**A, "sk": {"ComparisonOperator": "NULL"}}, "Attempted conditional constraint is not an indexable operation"),
        ({**A, "sk": cond("EQ", S("1"))}, f"{INVALID}Condition parameter type does not match schema type"),
        ({**A, "sk": cond("BEGINS_WITH", N(1))}, f"{INVALID}ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type"),
        ({"pk": cond("EQ")}, f"{INVALID}Invalid number of argument(s) for the EQ ComparisonOperator"),
        ({"pk": {}}, "1 validation error detected: Value null at 'keyConditions.pk.member.comparisonOperator' failed to satisfy constraint: Member must not be null"),
        ({"pk": cond("XX")}, "1 validation error detected: Value 'XX' at 'keyConditions.pk.member.comparisonOperator' failed to satisfy constraint: Member must satisfy enum value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS]"),
        ({"pk": None}, "The filter condition for an attribute cannot be null: pk"),
    ],
)  # fmt: skip
def test_faults_of_key_conditions(caller: Caller, conditions: Any, message: str) -> None:
    assert caller.invalid("Query", query(KeyConditions=conditions)) == message


def test_query_filters_keep_off_the_key(caller: Caller) -> None:
    assert caller.invalid("Query", query(QueryFilter={"sk": cond("GT", N(1))})) == (
        "QueryFilter can only contain non-primary key attributes: Primary key attribute: sk"
    )


def test_select_and_attributes_to_get(caller: Caller) -> None:
    assert caller.invalid("Query", query(AttributesToGet=["v"], Select="COUNT")) == (
        "Cannot specify the AttributesToGet when choosing to get only the Count"
    )
    assert caller.call("Scan", scan(AttributesToGet=["v"], Select="SPECIFIC_ATTRIBUTES", Limit=1))["Count"] == 1


# --- beside expressions


def test_the_two_languages_do_not_mix(caller: Caller) -> None:
    absent = {"a": {"Exists": False}}
    both = put(Expected=absent, ConditionalOperator="AND", ConditionExpression="attribute_exists(a)")
    assert caller.invalid("PutItem", both) == (
        f"{MIXED}{{Expected, ConditionalOperator}} Expression parameters: {{ConditionExpression}}"
    )
    both = update(AttributeUpdates={}, UpdateExpression="SET a = b")
    assert caller.invalid("UpdateItem", both) == (
        f"{MIXED}{{AttributeUpdates}} Expression parameters: {{UpdateExpression}}"
    )
    both = query(
        QueryFilter={"v": cond("EQ", N(1))}, AttributesToGet=["v"], ConditionalOperator="OR",
        KeyConditionExpression="pk = :a", FilterExpression="v = :a", ProjectionExpression="v",
    )  # fmt: skip
    assert caller.invalid("Query", both) == (
        f"{MIXED}{{AttributesToGet, QueryFilter, ConditionalOperator, KeyConditions}} "
        "Expression parameters: {ProjectionExpression, FilterExpression, KeyConditionExpression}"
    )
    both = scan(ScanFilter={"v": cond("EQ", N(1))}, ProjectionExpression="v")
    assert caller.invalid("Scan", both) == f"{MIXED}{{ScanFilter}} Expression parameters: {{ProjectionExpression}}"


def test_placeholders_belong_to_expressions(caller: Caller) -> None:
    assert caller.invalid("PutItem", put(Expected={}, ExpressionAttributeNames={"#a": "b"})) == (
        "ExpressionAttributeNames can only be specified when using expressions"
    )
    assert caller.invalid("Query", query(ExpressionAttributeValues={":a": N(1)})) == (
        "ExpressionAttributeValues can only be specified when using expressions: FilterExpression and "
        "KeyConditionExpression are null"
    )


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("Expected", [], "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.ExpectedAttributeValue>"),
        ("Expected", {"a": {"Value": "x"}}, "Unexpected value type in payload"),
        ("Expected", {"a": {"Exists": 1}}, "NUMBER_VALUE cannot be converted to Boolean"),
        ("AttributeUpdates", {"a": {"Value": {"S": 1}}}, "NUMBER_VALUE cannot be converted to String"),
        ("AttributeUpdates", {"a": {"Action": 1}}, "NUMBER_VALUE cannot be converted to String"),
        ("Expected", {"a": {"AttributeValueList": {}}}, "Start of structure or map found where not expected"),
    ],
)  # fmt: skip
def test_wrong_json_types(caller: Caller, member: str, value: Any, message: str) -> None:
    assert caller.refuse("UpdateItem", update(**{member: value})) == ("SerializationException", message)
