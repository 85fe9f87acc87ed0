"""TransactWriteItems and TransactGetItems: what is refused and how, outcomes in words, units, tokens, large ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.api.caller import HASH_TABLE, Caller, event

from gramme.tables.descriptor import Index
from gramme.tables.requests import (
    CollectionFull,
    ConditionFailed,
    Conflict,
    Failed,
    FailureKind,
    Found,
    Refused,
    Written,
)
from gramme.tables.transactions import (
    ConditionCheck,
    ItemsRead,
    ReadTransaction,
    Reason,
    TokenMismatch,
    TransactionCanceled,
    TransactionDone,
    TransactionInProgress,
    WriteTransaction,
)

_MISSING = ("ResourceNotFoundException", "Requested resource not found")
_MULTIPLE = "Transaction request cannot include multiple operations on one item"
_EMPTY = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "
_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/users"


def _pk(name: str) -> dict[str, Any]:
    return {"pk": {"S": name}}


def _put(item: dict[str, Any], table: str = "users", **members: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": item, **members}}


def _delete(key: dict[str, Any], table: str = "users", **members: Any) -> dict[str, Any]:
    return {"Delete": {"TableName": table, "Key": key, **members}}


def _update(key: dict[str, Any], text: str, table: str = "users", **members: Any) -> dict[str, Any]:
    return {"Update": {"TableName": table, "Key": key, "UpdateExpression": text, **members}}


def _check(key: dict[str, Any], condition: str, table: str = "users", **members: Any) -> dict[str, Any]:
    return {"ConditionCheck": {"TableName": table, "Key": key, "ConditionExpression": condition, **members}}


def _get(key: dict[str, Any], table: str = "users", **members: Any) -> dict[str, Any]:
    return {"Get": {"TableName": table, "Key": key, **members}}


def _values(**values: Any) -> dict[str, Any]:
    return {f":{name}": value for name, value in values.items()}


def _write(caller: Caller, *items: Any, **members: Any) -> Any:
    return caller.call("TransactWriteItems", {"TransactItems": list(items), **members})


def _read(caller: Caller, *items: Any, **members: Any) -> Any:
    return caller.call("TransactGetItems", {"TransactItems": list(items), **members})


def _canceled(caller: Caller, *items: Any, operation: str = "TransactWriteItems") -> list[dict[str, Any]]:
    """The cancellation reasons of a transaction that must be canceled; also checks the message made of them."""
    answer = caller.raw(operation, json.dumps({"TransactItems": list(items)}).encode())
    error = json.loads(answer.whole_body())
    assert answer.status == 400
    assert error["__type"] == "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
    reasons: list[dict[str, Any]] = error["CancellationReasons"]
    codes = ", ".join(reason["Code"] for reason in reasons)
    assert error["Message"] == (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    assert len(reasons) == len(items)
    return reasons


def _nothing_was_written(caller: Caller) -> bool:
    return not any(caller.backend.rows.values())


# --- what they do


def test_all_four_actions_over_two_tables(caller: Caller) -> None:
    for name in ("old", "gone", "seen"):
        caller.call("PutItem", {"TableName": "users", "Item": {**_pk(name), "n": {"N": "1"}}})
    assert (
        _write(
            caller,
            _put(event("e", 1, x={"N": "01.0"}), "events"),
            _update(_pk("old"), "SET #n = #n + :one", ExpressionAttributeNames={"#n": "n"},
                    ExpressionAttributeValues=_values(one={"N": "1"})),
            _delete(_pk("gone"), ConditionExpression="attribute_exists(n)"),
            _check(_pk("seen"), "n = :n", ExpressionAttributeValues=_values(n={"N": "1"})),
            _put(_pk("new"), _ARN, ConditionExpression="attribute_not_exists(pk)"),
        )
        == {}
    )  # fmt: skip
    gets = [_get(_pk(name)) for name in ("old", "gone", "seen", "new")]
    assert _read(caller, *gets, _get(event("e", 1), "events")) == {
        "Responses": [
            {"Item": {**_pk("old"), "n": {"N": "2"}}},
            {},
            {"Item": {**_pk("seen"), "n": {"N": "1"}}},
            {"Item": _pk("new")},
            {"Item": event("e", 1, x={"N": "1"})},
        ]
    }  # fmt: skip


def test_what_the_backend_is_asked_for(caller: Caller) -> None:
    caller.backend.outcomes = [TransactionDone((Written(None, 0, 3),) * 3)]
    _write(
        caller,
        _check(_pk("a"), "x = :v", ExpressionAttributeValues=_values(v={"N": "1.0"}),
               ReturnValuesOnConditionCheckFailure="ALL_OLD"),
        _put(_pk("b"), ReturnValuesOnConditionCheckFailure="NONE"),
        _delete(_pk("c"), _ARN),
    )  # fmt: skip
    request = caller.backend.transactions[-1]
    assert isinstance(request, WriteTransaction)
    assert request.token is None
    assert [type(action).__name__ for _, action in request.actions] == ["ConditionCheck", "PutItem", "DeleteItem"]
    assert {table.name for table, _ in request.actions} == {"users"}
    check = request.actions[0][1]
    assert isinstance(check, ConditionCheck)
    assert check.return_on_failure
    assert check.condition.values == {":v": {"N": "1"}}


def test_projections_and_absent_items(caller: Caller) -> None:
    caller.call("PutItem", {"TableName": "users", "Item": {**_pk("a"), "x": {"M": {"y": {"S": "z"}}}, "w": {"N": "1"}}})
    answer = _read(
        caller,
        _get(_pk("a"), ProjectionExpression="#x.y", ExpressionAttributeNames={"#x": "x"}),
        _get(_pk("b"), ProjectionExpression="w"),
        _get(event("a", 1), "events"),
    )
    assert answer == {"Responses": [{"Item": {"x": {"M": {"y": {"S": "z"}}}}}, {}, {}]}
    assert _read(caller, _get(_pk("a"), ProjectionExpression="nothing")) == {"Responses": [{}]}


# --- refused as a whole


@pytest.mark.parametrize("operation", ["TransactWriteItems", "TransactGetItems"])
@pytest.mark.parametrize(
    ("items", "text"),
    [
        (None, "Value null at 'transactItems' failed to satisfy constraint: Member must not be null"),
        (
            [],
            "Value '[]' at 'transactItems' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        ([None], "Value null at 'transactItems.1.member' failed to satisfy constraint: Member must not be null"),
    ],
)
def test_how_many_items_there_may_be(caller: Caller, operation: str, items: Any, text: str) -> None:
    assert caller.invalid(operation, {"TransactItems": items}) == f"1 validation error detected: {text}"


def test_more_than_a_hundred_items_are_shown_in_part(caller: Caller) -> None:
    puts = [_put({**_pk(str(index)), "x": {"S": "y" * 3_000}}) for index in range(101)]
    for operation, items in (
        ("TransactWriteItems", puts),
        ("TransactGetItems", [_get(_pk(str(index))) for index in range(101)]),
    ):
        text = caller.invalid(operation, {"TransactItems": items})
        assert text.startswith("1 validation error detected: Value '[Transact")
        assert text.endswith(
            "]' at 'transactItems' failed to satisfy constraint: Member must have length less than or equal to 100"
        )
        assert len(text) < 5_000
    assert _write(caller, *puts[:100]) == {}


_NOT_NULL = "failed to satisfy constraint: Member must not be null"


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (
            [{}],
            "Invalid Request: TransactWriteRequest should contain Delete or Put or Update request",
        ),
        (
            [_put(_pk("a")), {**_put(_pk("b")), **_delete(_pk("c"))}],
            "TransactItems can only contain one of Check, Put, Update or Delete",
        ),
        (
            [{"Put": {"Item": _pk("a")}}, {"Update": {"TableName": "users", "Key": _pk("b")}}],
            f"2 validation errors detected: Value null at 'transactItems.1.member.put.tableName' {_NOT_NULL}; "
            f"Value null at 'transactItems.2.member.update.updateExpression' {_NOT_NULL}",
        ),
        (
            [{"ConditionCheck": {"TableName": "users", "Key": _pk("a")}}],
            "1 validation error detected: Value null at 'transactItems.1.member.conditionCheck.conditionExpression' "
            f"{_NOT_NULL}",
        ),
        (
            [_delete(_pk("a"), "x!y")],
            "1 validation error detected: Value 'x!y' at 'transactItems.1.member.delete.tableName' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
        ),
        (
            [_put(_pk("a"), ReturnValuesOnConditionCheckFailure="ALL_NEW")],
            "1 validation error detected: Value 'ALL_NEW' at "
            "'transactItems.1.member.put.returnValuesOnConditionCheckFailure' failed to satisfy constraint: Member "
            "must satisfy enum value set: [ALL_OLD, NONE]",
        ),
        ([_put(_pk("a"), ConditionExpression="!")], 'Invalid ConditionExpression: Syntax error; token: "!", near: "!"'),
        ([_update(_pk("a"), "")], "Invalid UpdateExpression: The expression can not be empty;"),
        (
            [_put(_pk("a"), ExpressionAttributeNames={"#n": "n"})],
            "ExpressionAttributeNames can only be specified when using expressions",
        ),
        (
            [_delete(_pk("a"), ExpressionAttributeValues=_values(v={"N": "1"}))],
            "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null",
        ),
        (
            [_put({**_pk("a"), "x": {"SS": []}})],
            "One or more parameter values were invalid: An string set  may not be empty",
        ),
        ([_put({**_pk("a"), "x": {"S": "y" * 410_000}})], "Item size has exceeded the maximum allowed size"),
        ([_put(_pk(""))], f"{_EMPTY}string value. Key: pk"),
        ([_put(_pk("a")), _delete(_pk(""))], f"{_EMPTY}string value. Key: pk"),
        ([_put(_pk("a")), _delete(_pk("a"))], _MULTIPLE),
        ([_put(_pk("a")), _check(_pk("a"), "attribute_exists(pk)", _ARN)], _MULTIPLE),
    ],
)
def test_a_wrong_request_is_refused_whole(caller: Caller, items: list[Any], text: str) -> None:
    assert caller.invalid("TransactWriteItems", {"TransactItems": items}) == text
    assert caller.backend.transactions == []
    # A fault of the request comes before a table that does not exist.
    if "transactItems" not in text and _EMPTY not in text and text != _MULTIPLE:
        elsewhere = [_put(_pk("z"), "nope"), *items]
        assert caller.invalid("TransactWriteItems", {"TransactItems": elsewhere}) == text


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([{}], f"1 validation error detected: Value null at 'transactItems.1.member.get' {_NOT_NULL}"),
        (
            [{"Get": {"TableName": "users"}}],
            f"1 validation error detected: Value null at 'transactItems.1.member.get.key' {_NOT_NULL}",
        ),
        (
            [_get(_pk("a"), ProjectionExpression="!!!")],
            'Invalid ProjectionExpression: Syntax error; token: "!", near: "!!"',
        ),
        ([_get(_pk("a")), _get(_pk("a"), _ARN)], _MULTIPLE),
        ([_get(_pk(""))], f"{_EMPTY}string value. Key: pk"),
    ],
)
def test_a_wrong_read_is_refused_whole(caller: Caller, items: list[Any], text: str) -> None:
    assert caller.invalid("TransactGetItems", {"TransactItems": items}) == text
    assert caller.backend.transactions == []


@pytest.mark.parametrize(
    ("member", "value", "constraint"),
    [
        ("ClientRequestToken", "", "have length greater than or equal to 1"),
        ("ClientRequestToken", "x" * 37, "have length less than or equal to 36"),
        ("ReturnConsumedCapacity", "ALL", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        ("ReturnItemCollectionMetrics", "ALL", "satisfy enum value set: [SIZE, NONE]"),
    ],
)
def test_members_of_the_request(caller: Caller, member: str, value: str, constraint: str) -> None:
    text = caller.invalid("TransactWriteItems", {"TransactItems": [_put(_pk("a"))], member: value})
    shown = member[0].lower() + member[1:]
    assert text == (
        f"1 validation error detected: Value '{value}' at '{shown}' failed to satisfy constraint: Member must "
        f"{constraint}"
    )
    assert _nothing_was_written(caller)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ("x", "Unexpected field type"),
        (["x"], "Unexpected value type in payload"),
        ([{"Put": []}], "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.Put"),
        ([{"Put": {"TableName": "users", "Item": {"pk": {"S": 1}}}}], "NUMBER_VALUE cannot be converted to String"),
        ([{}, _put(_pk("a"), ExpressionAttributeValues={":v": 1})], "Unexpected value type in payload"),
    ],
)
def test_wrong_json_types_come_first(caller: Caller, items: Any, text: str) -> None:
    assert caller.refuse("TransactWriteItems", {"TransactItems": items}) == ("SerializationException", text)


def test_a_missing_table_comes_before_what_does_not_fit_a_table(caller: Caller) -> None:
    for items in ([_put(_pk("a"), "nope")], [_delete({"x": {"S": "y"}}), _put(_pk("a"), "nope")]):
        assert caller.refuse("TransactWriteItems", {"TransactItems": items}) == _MISSING
    assert caller.refuse("TransactGetItems", {"TransactItems": [_get({}), _get(_pk("a"), "nope")]}) == _MISSING


def test_four_megabytes(caller: Caller) -> None:
    size = 399_992  # with the names `pk` and `x` and a key of two bytes 399,997
    items = [_put({**_pk(f"k{index}"), "x": {"S": "y" * size}}) for index in range(10)]
    left = (4 << 20) - 10 * (size + 5)
    values: dict[str, Any] = {"ExpressionAttributeNames": {"#n": "name"}}
    text = "SET #n = :v"
    rest = left - len("pk") - 1 - len(text) - len("name")
    last = _update(_pk("u"), text, ExpressionAttributeValues=_values(v={"S": "z" * rest}), **values)
    assert _write(caller, *items, last) == {}
    last = _update(_pk("u"), text, ExpressionAttributeValues=_values(v={"S": "z" * (rest + 1)}), **values)
    refusal = caller.invalid("TransactWriteItems", {"TransactItems": [*items, last]})
    assert refusal == f"Transaction payload size cannot exceed 4MB. Payload Size: {(4 << 20) + 1}"
    gets = [_get(_pk(f"k{index}")) for index in range(10)]
    assert len(_read(caller, *gets)["Responses"]) == 10
    caller.call("PutItem", {"TableName": "users", "Item": {**_pk("v"), "x": {"S": "z" * (left - 3)}}})
    refusal = caller.invalid("TransactGetItems", {"TransactItems": [*gets, _get(_pk("v"), ProjectionExpression="pk")]})
    assert refusal == f"Payload in response is too large.{(4 << 20) + 1}"


# --- canceled

_NONE = {"Code": "None"}


def _invalid(text: str) -> dict[str, Any]:
    return {"Code": "ValidationError", "Message": text}


_MISMATCH = _invalid("The provided key element does not match the schema")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (_delete({}), _MISMATCH),
        (_delete({"pk": {"N": "1"}}), _MISMATCH),
        (_update({**_pk("a"), "x": {"S": "y"}}, "REMOVE x"), _MISMATCH),
        (_check({"pk": {"L": []}}, "attribute_exists(pk)"), _MISMATCH),
        (
            _put({"x": {"S": "y"}}),
            _invalid("One or more parameter values were invalid: Missing the key pk in the item"),
        ),
        (
            _put({"pk": {"N": "1"}}),
            _invalid("One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N"),
        ),
        (
            _delete(_pk("x" * 2049)),
            _invalid(
                "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 "
                "bytes"
            ),
        ),
        (
            _update(_pk("a"), "SET pk = :v", ExpressionAttributeValues=_values(v={"S": "x"})),
            _invalid(
                "One or more parameter values were invalid: Cannot update attribute pk. This attribute is part of the "
                "key"
            ),
        ),
    ],
)
def test_a_part_that_does_not_fit_its_table_cancels(caller: Caller, item: Any, reason: dict[str, Any]) -> None:
    assert _canceled(caller, _put(_pk("first")), item, _put(_pk("last"))) == [_NONE, reason, _NONE]
    assert caller.backend.transactions == []
    if "Delete" in item:
        key = item["Delete"]["Key"]
        assert _canceled(caller, _get(_pk("b")), _get(key), operation="TransactGetItems") == [_NONE, reason]


def test_conditions_that_fail(caller: Caller) -> None:
    caller.call("PutItem", {"TableName": "users", "Item": {**_pk("a"), "x": {"N": "1"}}})
    failed = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    reasons = _canceled(
        caller,
        _put(_pk("b")),
        _put(_pk("a"), ConditionExpression="attribute_not_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
        _check(_pk("c"), "attribute_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
        _delete(_pk("d"), ConditionExpression="attribute_exists(pk)"),
        _delete(_pk("e")),
    )
    assert reasons == [_NONE, {**failed, "Item": {**_pk("a"), "x": {"N": "1"}}}, failed, failed, _NONE]
    assert len(caller.backend.rows[caller.backend.tables["users"].table_id]) == 1


_LIMIT = "TableWriteProvisionedThroughputExceeded"


@pytest.mark.parametrize(
    ("reason", "described"),
    [
        (Conflict(), {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}),
        (CollectionFull(), {"Code": "ItemCollectionSizeLimitExceeded", "Message": "Collection size exceeded."}),
        (
            Refused("The provided expression refers to an attribute that does not exist in the item"),
            _invalid("The provided expression refers to an attribute that does not exist in the item"),
        ),
        (
            ConditionFailed(b'{"pk":{"S":"b"}}', 3),
            {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": _pk("b")},
        ),
    ],
)
def test_reasons_in_words(caller: Caller, reason: Reason, described: dict[str, Any]) -> None:
    caller.backend.outcomes = [TransactionCanceled((None, reason))]
    assert _canceled(caller, _put(_pk("a")), _put(_pk("b"))) == [_NONE, described]
    caller.backend.read_outcomes = [TransactionCanceled((None, reason))]
    assert _canceled(caller, _get(_pk("a")), _get(_pk("b")), operation="TransactGetItems") == [_NONE, described]


def test_throttled_items_say_of_which_table(caller: Caller) -> None:
    throttled = Failed(FailureKind.THROTTLED, "", _LIMIT)
    caller.backend.outcomes = [TransactionCanceled((throttled, None, throttled))]
    reasons = _canceled(caller, _put(_pk("a")), _put(_pk("b")), _put(event("a", 1), "events"))
    assert [reason["Code"] for reason in reasons] == ["ThrottlingError", "None", "ProvisionedThroughputExceeded"]
    assert reasons[0]["Message"].startswith("Throughput exceeds the current capacity of your table or index.")
    assert reasons[2]["Message"].startswith("The level of configured provisioned throughput for the table was exceeded")


def test_an_empty_key_that_only_the_partition_found_is_a_fault_of_the_request(caller: Caller) -> None:
    text = f"{_EMPTY}string value. IndexName: i, IndexKey: g"
    caller.backend.outcomes = [TransactionCanceled((ConditionFailed(None, 0), Refused(text)))]
    assert caller.invalid("TransactWriteItems", {"TransactItems": [_put(_pk("a")), _put(_pk("b"))]}) == text


# --- other ends


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        (FailureKind.THROTTLED, 400, "ThrottlingException"),
        (FailureKind.NO_QUORUM, 503, "ServiceUnavailable"),
        (FailureKind.UNKNOWN, 500, "InternalServerError"),
        (FailureKind.INTERNAL, 500, "InternalServerError"),
    ],
)
def test_failures(caller: Caller, kind: FailureKind, status: int, name: str) -> None:
    for operation, items in (("TransactWriteItems", [_put(_pk("a"))]), ("TransactGetItems", [_get(_pk("a"))])):
        caller.backend.outcomes = [Failed(kind)]
        caller.backend.read_outcomes = [Failed(kind)]
        answer = caller.raw(operation, json.dumps({"TransactItems": items}).encode())
        assert (answer.status, json.loads(answer.whole_body())["__type"].rpartition("#")[2]) == (status, name)


def test_a_table_that_was_made_anew_is_looked_up(caller: Caller) -> None:
    old = caller.backend.tables["users"]
    caller.call("PutItem", {"TableName": "users", "Item": _pk("a")})
    caller.call("DeleteTable", {"TableName": "users"})
    caller.call("CreateTable", HASH_TABLE)
    caller.backend.cache["users"] = old
    assert _write(caller, _put(_pk("b"))) == {}
    caller.backend.cache["users"] = old
    assert _read(caller, _get(_pk("a")), _get(_pk("b"))) == {"Responses": [{}, {"Item": _pk("b")}]}
    caller.call("DeleteTable", {"TableName": "users"})
    for operation, item in (("TransactWriteItems", _put(_pk("a"))), ("TransactGetItems", _get(_pk("a")))):
        caller.backend.cache["users"] = old
        assert caller.refuse(operation, {"TransactItems": [item]}) == _MISSING


def test_a_table_that_exists_but_is_not_served_is_not_called_missing(caller: Caller) -> None:
    caller.backend.outcomes = [Failed(FailureKind.NO_TABLE), Failed(FailureKind.NO_TABLE)]
    answer = caller.raw("TransactWriteItems", json.dumps({"TransactItems": [_put(_pk("a"))]}).encode())
    assert answer.status == 503


# --- tokens


def test_a_token_makes_a_write_happen_once(caller: Caller) -> None:
    values: dict[str, Any] = {
        "ExpressionAttributeNames": {"#n": "n"},
        "ExpressionAttributeValues": _values(one={"N": "1"}),
    }
    items = [_update(_pk("a"), "ADD #n :one", **values), _put(_pk("b"))]
    first = _write(caller, *items, ClientRequestToken="t", ReturnConsumedCapacity="TOTAL")
    # Neither the order of members nor the notation of a number, nor what is to be returned, makes another request.
    other = [
        {"Update": dict(reversed(_update(_pk("a"), "ADD #n :one", **values)["Update"].items()))},
        _put(_pk("b")),
    ]
    other[0]["Update"]["ExpressionAttributeValues"] = _values(one={"N": "1.0"})
    second = _write(caller, *other, ClientRequestToken="t", ReturnConsumedCapacity="INDEXES")
    assert first["ConsumedCapacity"] == [{"TableName": "users", "CapacityUnits": 4.0, "WriteCapacityUnits": 4.0}]
    read = {"CapacityUnits": 4.0, "ReadCapacityUnits": 4.0}
    assert second["ConsumedCapacity"] == [{"TableName": "users", **read, "Table": read}]
    assert _read(caller, _get(_pk("a"))) == {"Responses": [{"Item": {**_pk("a"), "n": {"N": "1"}}}]}


@pytest.mark.parametrize(
    "items",
    [
        [_put({**_pk("a"), "x": {"N": "2"}})],
        [_put({**_pk("a"), "x": {"N": "1"}}), _delete(_pk("b"))],
        [_put({**_pk("a"), "x": {"N": "1"}}, ConditionExpression="attribute_exists(pk)")],
    ],
)
def test_a_token_belongs_to_one_request(caller: Caller, items: list[Any]) -> None:
    _write(caller, _put({**_pk("a"), "x": {"N": "1"}}), ClientRequestToken="t")
    answer = caller.raw("TransactWriteItems", json.dumps({"TransactItems": items, "ClientRequestToken": "t"}).encode())
    error = json.loads(answer.whole_body())
    assert answer.status == 400
    assert error["__type"].endswith("#IdempotentParameterMismatchException")
    assert "ClientRequestToken" in error["Message"]
    assert _read(caller, _get(_pk("a"))) == {"Responses": [{"Item": {**_pk("a"), "x": {"N": "1"}}}]}


def test_a_transaction_that_is_still_running(caller: Caller) -> None:
    for outcome, name in (
        (TransactionInProgress(), "TransactionInProgressException"),
        (TokenMismatch(), "IdempotentParameterMismatchException"),
    ):
        caller.backend.outcomes = [outcome]
        body = {"TransactItems": [_put(_pk("a"))], "ClientRequestToken": "t"}
        answer = caller.raw("TransactWriteItems", json.dumps(body).encode())
        assert answer.status == 400
        assert json.loads(answer.whole_body())["__type"].endswith(f"#{name}")


# --- units and collections


def _indexed(caller: Caller) -> None:
    table = caller.backend.tables["events"]
    indexes = tuple(
        Index(name=name, kind=kind, hash=(("pk", "S"),), range=(), projection="ALL")  # type: ignore[arg-type]
        for name, kind in (("local", "LOCAL"), ("global", "GLOBAL"))
    )
    caller.backend.tables["events"] = msgspec.structs.replace(table, indexes=indexes)


def _units(kind: str, units: float) -> dict[str, float]:
    return {"CapacityUnits": units, kind: units}


def test_units_of_a_write(caller: Caller) -> None:
    _indexed(caller)
    done = TransactionDone(
        (
            Written(None, 0, 100, (("local", 1), ("global", 2)), 5_000),
            Written(None, 3_000, 10),  # a deletion counts what was there
            Written(None, 1_025, 1_025),  # a check counts what it read
            Written(None, 0, 0),
        )
    )
    items = [
        _put(event("a", 1), "events"),
        _delete(_pk("b")),
        _check(_pk("c"), "attribute_exists(pk)"),
        _delete(event("a", 2), "events"),
    ]
    kind = "WriteCapacityUnits"
    caller.backend.outcomes = [done]
    answer = _write(caller, *items, ReturnConsumedCapacity="TOTAL")
    assert answer == {
        "ConsumedCapacity": [
            {"TableName": "events", **_units(kind, 7.0)},  # indexes at the price of a plain write
            {"TableName": "users", **_units(kind, 10.0)},
        ]
    }
    caller.backend.outcomes = [done]
    answer = _write(caller, *items, ReturnConsumedCapacity="INDEXES")
    assert answer["ConsumedCapacity"][0] == {
        "TableName": "events",
        **_units(kind, 7.0),
        "Table": _units(kind, 4.0),
        "LocalSecondaryIndexes": {"local": _units(kind, 1.0)},
        "GlobalSecondaryIndexes": {"global": _units(kind, 2.0)},
    }
    caller.backend.outcomes = [TransactionDone(done.parts, replayed=True)]
    answer = _write(caller, *items, ReturnConsumedCapacity="INDEXES")
    kind = "ReadCapacityUnits"
    assert answer["ConsumedCapacity"] == [
        {"TableName": "events", **_units(kind, 4.0), "Table": _units(kind, 4.0)},
        {"TableName": "users", **_units(kind, 4.0), "Table": _units(kind, 4.0)},
    ]
    caller.backend.outcomes = [done]
    assert _write(caller, *items, ReturnConsumedCapacity="NONE") == {}


def test_units_of_a_read(caller: Caller) -> None:
    caller.backend.read_outcomes = [ItemsRead((Found(b"{}", 4_097), Found(None, 0), Found(b"{}", 10)))]
    answer = _read(
        caller, _get(_pk("a")), _get(_pk("b")), _get(event("a", 1), "events"), ReturnConsumedCapacity="TOTAL"
    )
    assert answer["ConsumedCapacity"] == [
        {"TableName": "users", **_units("ReadCapacityUnits", 6.0)},
        {"TableName": "events", **_units("ReadCapacityUnits", 2.0)},
    ]
    request = caller.backend.transactions[-1]
    assert isinstance(request, ReadTransaction)
    assert [table.name for table, _ in request.keys] == ["users", "users", "events"]


def test_collections_of_what_was_changed(caller: Caller) -> None:
    giga = 1 << 30
    parts = (
        Written(None, 0, 1, (), 5),
        Written(None, 0, 1, (), 2 * giga),
        Written(None, 0, 1, (), 7),
        Written(None, 3, 3),
    )
    items = [
        _put(event("a", 1), "events"),
        _put(event("a", 2), "events"),
        _delete(event("b", 1), "events"),
        _check(event("c", 1), "attribute_exists(pk)", "events"),
    ]
    caller.backend.outcomes = [TransactionDone(parts)]
    answer = _write(caller, *items, ReturnItemCollectionMetrics="SIZE")
    assert answer == {
        "ItemCollectionMetrics": {
            "events": [
                {"ItemCollectionKey": _pk("a"), "SizeEstimateRangeGB": [2.0, 3.0]},
                {"ItemCollectionKey": _pk("b"), "SizeEstimateRangeGB": [0.0, 1.0]},
            ]
        }
    }
    caller.backend.outcomes = [TransactionDone(parts)]
    assert _write(caller, *items, ReturnItemCollectionMetrics="NONE") == {}


# --- large requests


def test_a_large_transaction_is_the_same_as_a_small_one(caller: Caller) -> None:
    many = {f"a{index}": {"N": f"{index}.0"} for index in range(3_000)}
    items = [_put({**_pk(f"k{index}"), **many, "x": {"S": "y" * 50_000}}) for index in range(20)]
    assert _write(caller, *items, ClientRequestToken="t") == {}
    (stored,) = _read(caller, _get(_pk("k7")))["Responses"]
    assert stored["Item"] == {**_pk("k7"), **{f"a{n}": {"N": str(n)} for n in range(3_000)}, "x": {"S": "y" * 50_000}}
    bad = [*items[:19], _put({**_pk("k19"), "x": {"S": "y" * 50_000}, "n": {"N": "one"}})]
    text = caller.invalid("TransactWriteItems", {"TransactItems": bad})
    assert text == "The parameter cannot be converted to a numeric value: one"
