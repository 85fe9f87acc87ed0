"""PutItem, GetItem, UpdateItem, DeleteItem through the API: answers, refusals, units, ids, failures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.caller import HASH_TABLE, Caller, event, headers_of

from gramme.tables.requests import Conflict, Failed, FailureKind

_EVERY_TYPE: dict[str, Any] = {
    "pk": {"S": "all"},
    "s": {"S": "héllo \u0000 \U0001f600"},
    "n": {"N": "12345678901234567890123456789012345678"},
    "b": {"B": "AAEC"},
    "bool": {"BOOL": False},
    "null": {"NULL": True},
    "l": {"L": [{"S": ""}, {"L": []}, {"M": {}}]},
    "m": {"M": {"a": {"N": "-0.5"}}},
    "ss": {"SS": ["b", "a"]},
    "ns": {"NS": ["1", "-2.5"]},
    "bs": {"BS": ["AA==", ""]},
}


def test_every_type_comes_back_as_it_was_put(caller: Caller) -> None:
    assert caller.call("PutItem", {"TableName": "users", "Item": _EVERY_TYPE}) == {}
    for consistent in (True, False):
        body = {"TableName": "users", "Key": {"pk": {"S": "all"}}, "ConsistentRead": consistent}
        assert caller.call("GetItem", body) == {"Item": _EVERY_TYPE}
        assert caller.backend.requests[-1].consistent is consistent  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("PutItem", {"Item": {"pk": {"S": "a"}}}),
        ("DeleteItem", {"Key": {"pk": {"S": "a"}}}),
        ("UpdateItem", {"Key": {"pk": {"S": "a"}}, "UpdateExpression": "REMOVE x"}),
    ],
)
def test_a_write_of_an_item_that_a_transaction_holds_is_a_conflict(
    caller: Caller, operation: str, members: dict[str, Any]
) -> None:
    caller.backend.replies = [Conflict()]
    refusal = caller.refuse(operation, {"TableName": "users", **members})
    assert refusal == ("TransactionConflictException", "Transaction is ongoing for the item")


def test_key_attributes_come_first_and_numbers_in_normal_form(caller: Caller) -> None:
    item = {"z": {"N": "0100.50"}, "sk": {"N": "+1e2"}, "pk": {"S": "a"}}
    caller.call("PutItem", {"TableName": "events", "Item": item})
    answer = caller.raw("GetItem", json.dumps({"TableName": "events", "Key": event("a", 100)}).encode())
    assert answer.whole_body() == b'{"Item":{"pk":{"S":"a"},"sk":{"N":"100"},"z":{"N":"100.5"}}}'


def test_missing_items(caller: Caller) -> None:
    key = {"TableName": "users", "Key": {"pk": {"S": "none"}}}
    assert caller.call("GetItem", key) == {}
    assert caller.call("GetItem", {**key, "ProjectionExpression": "a"}) == {}
    assert caller.call("DeleteItem", {**key, "ReturnValues": "ALL_OLD"}) == {}


def test_projection(caller: Caller) -> None:
    caller.call("PutItem", {"TableName": "users", "Item": _EVERY_TYPE})
    body = {
        "TableName": "users",
        "Key": {"pk": {"S": "all"}},
        "ProjectionExpression": "#n, m.a, l[1]",
        "ExpressionAttributeNames": {"#n": "null"},
    }
    assert caller.call("GetItem", body)["Item"] == {
        "null": {"NULL": True},
        "l": {"L": [{"L": []}]},
        "m": {"M": {"a": {"N": "-0.5"}}},
    }


def test_update_creates_edits_and_returns_what_is_asked(caller: Caller) -> None:
    body = {
        "TableName": "users",
        "Key": {"pk": {"S": "u"}},
        "UpdateExpression": "SET a = :a ADD c :one",
        "ExpressionAttributeValues": {":a": {"S": "x"}, ":one": {"N": "1"}},
    }
    new = {"a": {"S": "x"}, "c": {"N": "1"}}
    assert caller.call("UpdateItem", {**body, "ReturnValues": "ALL_OLD"}) == {}
    assert caller.call("UpdateItem", {**body, "ReturnValues": "UPDATED_OLD"}) == {"Attributes": new}
    assert caller.call("UpdateItem", {**body, "ReturnValues": "UPDATED_NEW"})["Attributes"]["c"] == {"N": "3"}
    everything = {"pk": {"S": "u"}, "a": {"S": "x"}, "c": {"N": "4"}}
    assert caller.call("UpdateItem", {**body, "ReturnValues": "ALL_NEW"}) == {"Attributes": everything}
    bare = {"TableName": "users", "Key": {"pk": {"S": "bare"}}}
    assert caller.call("UpdateItem", {**bare, "ReturnValues": "ALL_NEW"}) == {"Attributes": {"pk": {"S": "bare"}}}


def test_conditions(caller: Caller) -> None:
    put = {"TableName": "users", "Item": {"pk": {"S": "c"}, "v": {"N": "1"}}}
    caller.call("PutItem", {**put, "ConditionExpression": "attribute_not_exists(pk)"})
    answer = caller.raw(
        "PutItem",
        json.dumps(
            {
                **put,
                "ConditionExpression": "v > :v",
                "ExpressionAttributeValues": {":v": {"N": "1"}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        ).encode(),
    )
    assert answer.status == 400
    assert json.loads(answer.whole_body()) == {
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
        "Item": put["Item"],
    }
    delete = {"TableName": "users", "Key": {"pk": {"S": "c"}}, "ConditionExpression": "attribute_exists(nothing)"}
    assert caller.refuse("DeleteItem", delete)[0] == "ConditionalCheckFailedException"
    delete["ConditionExpression"] = "attribute_exists(v)"
    assert caller.call("DeleteItem", {**delete, "ReturnValues": "ALL_OLD"}) == {"Attributes": put["Item"]}


@pytest.mark.parametrize(
    ("operation", "body", "text"),
    [
        ("GetItem", {"Key": {}}, "The provided key element does not match the schema"),
        ("GetItem", {"Key": {"pk": {"N": "1"}}}, "The provided key element does not match the schema"),
        ("GetItem", {"Key": {"pk": {"S": "a"}, "x": {"S": "b"}}}, "The provided key element does not match the schema"),
        (
            "PutItem",
            {"Item": {"x": {"S": "a"}}},
            "One or more parameter values were invalid: Missing the key pk in the item",
        ),
        (
            "PutItem",
            {"Item": {"pk": {"N": "1"}}},
            "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N",
        ),
        ("PutItem", {"Item": {"pk": {"S": "a"}}, "ReturnValues": "ALL_NEW"}, "Return values set to invalid value"),
        (
            "DeleteItem",
            {"Key": {"pk": {"S": "a"}}, "ReturnValues": "UPDATED_OLD"},
            "Return values set to invalid value",
        ),
        (
            "PutItem",
            {"Item": {"pk": {"S": "a"}, "x": {"S": "y" * 409_600}}},
            "Item size has exceeded the maximum allowed size",
        ),
        (
            "PutItem",
            {"Item": {"pk": {"S": "a"}}, "ExpressionAttributeValues": {":v": {"S": "x"}}},
            "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null",
        ),
        (
            "PutItem",
            {"Item": {"pk": {"S": "a"}}, "Expected": {"pk": {"Exists": False}}, "ConditionExpression": "a = b"},
            "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "
            "{Expected} Expression parameters: {ConditionExpression}",
        ),
        (
            "UpdateItem",
            {
                "Key": {"pk": {"S": "a"}},
                "UpdateExpression": "SET pk = :v",
                "ExpressionAttributeValues": {":v": {"S": "b"}},
            },
            "One or more parameter values were invalid: Cannot update attribute pk. This attribute is part of the key",
        ),
        (
            "UpdateItem",
            {
                "Key": {"pk": {"S": "a"}},
                "UpdateExpression": "SET a = :v",
                "ExpressionAttributeValues": {":v": {"S": "b"}, ":unused": {"S": "c"}},
            },
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:unused}",
        ),
        (
            "GetItem",
            {"Key": {"pk": {"S": "a"}}, "ProjectionExpression": "!!! INVALID !!!"},
            'Invalid ProjectionExpression: Syntax error; token: "!", near: "!!"',
        ),
    ],
)
def test_refusals_change_nothing(caller: Caller, operation: str, body: dict[str, Any], text: str) -> None:
    assert caller.invalid(operation, {"TableName": "users", **body}) == text
    assert caller.backend.requests == []


def test_an_item_at_the_size_limit_is_taken(caller: Caller) -> None:
    item = {"pk": {"S": "a"}, "x": {"S": "y" * (409_600 - len("pkax"))}}
    caller.call("PutItem", {"TableName": "users", "Item": item})


def test_a_type_mismatch_in_the_stored_item_is_a_validation_error(caller: Caller) -> None:
    caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": "a"}, "x": {"S": "text"}}})
    body = {
        "TableName": "users",
        "Key": {"pk": {"S": "a"}},
        "UpdateExpression": "ADD x :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    assert "incorrect data type" in caller.invalid("UpdateItem", body)
    assert caller.call("GetItem", {"TableName": "users", "Key": {"pk": {"S": "a"}}})["Item"]["x"] == {"S": "text"}


@pytest.mark.parametrize(
    ("level", "shape"),
    [
        ("TOTAL", {"TableName": "users", "CapacityUnits": 2.0}),
        ("INDEXES", {"TableName": "users", "CapacityUnits": 2.0, "Table": {"CapacityUnits": 2.0}}),
    ],
)
def test_consumed_capacity(caller: Caller, level: str, shape: dict[str, Any]) -> None:
    item = {"pk": {"S": "a"}, "x": {"S": "y" * 1500}}
    put = {"TableName": "users", "Item": item, "ReturnConsumedCapacity": level}
    assert caller.call("PutItem", put) == {"ConsumedCapacity": shape}
    key = {"TableName": "users", "Key": {"pk": {"S": "a"}}, "ReturnConsumedCapacity": level}
    got = caller.call("GetItem", key)
    assert (got["Item"], got["ConsumedCapacity"]["CapacityUnits"]) == (item, 0.5)
    assert caller.call("GetItem", {**key, "ConsistentRead": True})["ConsumedCapacity"]["CapacityUnits"] == 1.0
    deleted = caller.call("DeleteItem", {**key, "ReturnValues": "ALL_OLD"})
    assert deleted == {"Attributes": item, "ConsumedCapacity": shape}  # the larger of old and new counts
    assert caller.call("GetItem", key) == {"ConsumedCapacity": {**_halved(shape)}}


def _halved(shape: dict[str, Any]) -> dict[str, Any]:
    return {name: {"CapacityUnits": 0.5} if name == "Table" else value for name, value in shape.items()} | {
        "CapacityUnits": 0.5
    }


def test_writes_carry_an_id_made_of_invocation_key_operation_and_body(caller: Caller) -> None:
    put = {"TableName": "users", "Item": {"pk": {"S": "a"}}}
    auth = b"AWS4-HMAC-SHA256 Credential=%b/20261120/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"

    def id_of(operation: str, body: dict[str, Any], invocation: bytes | None, key: bytes) -> Any:
        extra = {"authorization": auth % key}
        if invocation is not None:
            extra["amz_sdk_invocation_id"] = invocation
        caller.call(operation, body, **extra)
        return caller.backend.command_ids[-1]

    first = id_of("PutItem", put, b"i1", b"AK1")
    assert len(first) == 16
    assert id_of("PutItem", put, b"i1", b"AK1") == first
    others = [
        id_of("PutItem", put, b"i2", b"AK1"),
        id_of("PutItem", put, b"i1", b"AK2"),
        id_of("PutItem", {**put, "ReturnValues": "NONE"}, b"i1", b"AK1"),
        id_of("DeleteItem", {"TableName": "users", "Key": {"pk": {"S": "a"}}}, b"i1", b"AK1"),
    ]
    assert len({first, *others}) == 5
    assert id_of("PutItem", put, None, b"AK1") is None
    assert id_of("GetItem", {"TableName": "users", "Key": {"pk": {"S": "a"}}}, b"i1", b"AK1") is None


@pytest.mark.parametrize(
    ("kind", "status", "type_"),
    [
        (FailureKind.THROTTLED, 400, "com.amazonaws.dynamodb.v20120810#ThrottlingException"),
        (FailureKind.NO_QUORUM, 503, "com.amazonaws.dynamodb.v20120810#ServiceUnavailable"),
        (FailureKind.UNKNOWN, 500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        (FailureKind.INTERNAL, 500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
    ],
)
def test_failures_of_the_cluster(caller: Caller, kind: FailureKind, status: int, type_: str) -> None:
    put = json.dumps({"TableName": "users", "Item": {"pk": {"S": "a"}}}).encode()
    caller.backend.failures.append(Failed(kind, "node 7 said so"))
    answer = caller.raw("PutItem", put)
    assert (answer.status, json.loads(answer.whole_body())["__type"]) == (status, type_)
    assert b"node 7" not in answer.whole_body()
    assert len(caller.log) == (1 if status == 500 else 0)
    assert all("node 7 said so" in text for text, _ in caller.log)


def test_a_bug_is_logged_and_gives_a_bare_500(caller: Caller) -> None:
    def broken(*_arguments: Any) -> None:
        raise KeyError("secret")

    caller.backend.read_here = broken  # type: ignore[assignment, method-assign]
    answer = caller.raw("GetItem", json.dumps({"TableName": "users", "Key": {"pk": {"S": "a"}}}).encode())
    assert answer.status == 500
    assert b"secret" not in answer.whole_body()
    assert isinstance(caller.log[0][1], KeyError)


# --- tables that come and go


def test_an_unknown_table_is_looked_up_before_it_is_refused(caller: Caller) -> None:
    key = {"TableName": "users", "Key": {"pk": {"S": "a"}}}
    assert caller.backend.lookups == 0
    caller.call("GetItem", key)
    assert caller.backend.lookups == 1
    caller.call("GetItem", key)
    assert caller.backend.lookups == 1
    assert caller.refuse("GetItem", {**key, "TableName": "nope"}) == (
        "ResourceNotFoundException",
        "Requested resource not found",
    )
    assert caller.backend.lookups == 2


@pytest.mark.parametrize("operation", ["GetItem", "PutItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem"])
def test_a_recreated_table_is_found_again_and_shows_no_old_data(caller: Caller, operation: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "GetItem": {"TableName": "users", "Key": {"pk": {"S": "a"}}},
        "PutItem": {"TableName": "users", "Item": {"pk": {"S": "b"}}},
        "Query": {
            "TableName": "users",
            "KeyConditionExpression": "pk = :a",
            "ExpressionAttributeValues": {":a": {"S": "a"}},
        },
        "Scan": {"TableName": "users"},
        "BatchGetItem": {"RequestItems": {"users": {"Keys": [{"pk": {"S": "a"}}]}}},
        "BatchWriteItem": {"RequestItems": {"users": [{"PutRequest": {"Item": {"pk": {"S": "b"}}}}]}},
    }
    body = bodies[operation]
    caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": "a"}}})
    stale = caller.backend.cache["users"]
    caller.call("DeleteTable", {"TableName": "users"})
    caller.backend.cache["users"] = stale
    assert caller.refuse(operation, body)[0] == "ResourceNotFoundException"
    caller.call("CreateTable", HASH_TABLE)
    caller.backend.cache["users"] = stale
    answer = caller.call(operation, body)
    assert "Item" not in answer
    assert answer.get("Count", 0) == 0
    assert answer.get("Responses", {"users": []}) == {"users": []}


def test_answers_may_come_later() -> None:
    caller = Caller(deferred=True)
    create = caller.pending("POST", "/", json.dumps(HASH_TABLE).encode(), headers_of("CreateTable"))
    caller.backend.release()
    assert create[0].status == 200
    body = json.dumps({"TableName": "users", "Key": {"pk": {"S": "a"}}}).encode()
    answers = caller.pending("POST", "/", body, headers_of("GetItem"))
    assert caller.backend.release() == 1  # the lookup
    assert answers == []
    assert caller.backend.release() == 1  # the read
    assert [answer.whole_body() for answer in answers] == [b"{}"]
    answers = caller.pending("POST", "/", body.replace(b"users", b"other"), headers_of("GetItem"))
    assert caller.backend.release() == 1
    assert [answer.status for answer in answers] == [400]


@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem"])
def test_a_table_that_exists_but_that_nobody_serves_is_unavailable_not_missing(caller: Caller, operation: str) -> None:
    keys = {"Keys": [{"pk": {"S": "a"}}]}
    body = {"TableName": "users", "Key": {"pk": {"S": "a"}}, "RequestItems": {"users": keys}}
    caller.backend.failures += [Failed(FailureKind.NO_TABLE)] * 2
    answer = caller.raw(operation, json.dumps(body).encode())
    assert answer.status == 503
    caller.backend.failures.clear()
    assert caller.raw(operation, json.dumps(body).encode()).status == 200
