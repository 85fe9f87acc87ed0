"""BatchGetItem and BatchWriteItem: limits, parts that could not be done, and ids of the parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.caller import Caller, event

from gramme.tables.requests import CollectionFull, Conflict, Failed, FailureKind, Refused, Reply, Written

_MISSING = ("ResourceNotFoundException", "Requested resource not found")
_THROTTLED = Failed(FailureKind.THROTTLED)


def _put(pk: str, **attributes: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": {"pk": {"S": pk}, **attributes}}}


def _delete(pk: str) -> dict[str, Any]:
    return {"DeleteRequest": {"Key": {"pk": {"S": pk}}}}


def _keys(*names: str) -> dict[str, Any]:
    return {"Keys": [{"pk": {"S": name}} for name in names]}


def test_writes_and_reads_over_several_tables(caller: Caller) -> None:
    written = caller.call(
        "BatchWriteItem",
        {
            "RequestItems": {
                "users": [_put("a", x={"N": "01"}), _put("b")],
                "events": [{"PutRequest": {"Item": event("e", 1)}}],
            },
            "ReturnConsumedCapacity": "TOTAL",
        },
    )
    assert written == {
        "UnprocessedItems": {},
        "ConsumedCapacity": [
            {"TableName": "users", "CapacityUnits": 2.0},
            {"TableName": "events", "CapacityUnits": 1.0},
        ],
    }
    assert caller.call("BatchWriteItem", {"RequestItems": {"users": [_delete("b"), _delete("never")]}}) == {
        "UnprocessedItems": {}
    }
    read = caller.call(
        "BatchGetItem",
        {
            "RequestItems": {
                "users": {**_keys("a", "b"), "ConsistentRead": True},
                "events": {"Keys": [event("e", 1)], "ProjectionExpression": "sk"},
            },
            "ReturnConsumedCapacity": "INDEXES",
        },
    )
    assert read["Responses"] == {"users": [{"pk": {"S": "a"}, "x": {"N": "1"}}], "events": [{"sk": {"N": "1"}}]}
    assert read["UnprocessedKeys"] == {}
    assert read["ConsumedCapacity"] == [
        {"TableName": "users", "CapacityUnits": 2.0, "Table": {"CapacityUnits": 2.0}},
        {"TableName": "events", "CapacityUnits": 0.5, "Table": {"CapacityUnits": 0.5}},
    ]


def test_the_largest_batches(caller: Caller) -> None:
    names = [f"k{index}" for index in range(100)]
    for at in range(0, 100, 25):
        caller.call("BatchWriteItem", {"RequestItems": {"users": [_put(name) for name in names[at : at + 25]]}})
    got = caller.call("BatchGetItem", {"RequestItems": {"users": _keys(*names)}})
    assert sorted(item["pk"]["S"] for item in got["Responses"]["users"]) == sorted(names)


@pytest.mark.parametrize(
    ("operation", "items", "text"),
    [
        ("BatchGetItem", {}, "The requestItems parameter is required for BatchGetItem"),
        ("BatchWriteItem", {}, "The requestItems parameter is required for BatchWriteItem"),
        (
            "BatchGetItem",
            {"users": _keys(*map(str, range(101)))},
            "1 validation error detected: Value at 'RequestItems.users.member.Keys' failed to satisfy constraint: "
            "Member must have length less than or equal to 100",
        ),
        (
            "BatchGetItem",
            {"users": _keys(*map(str, range(60))), "events": _keys(*map(str, range(60)))},
            "Too many items requested for the BatchGetItem call",
        ),
        (
            "BatchWriteItem",
            {"users": [_put(str(index)) for index in range(20)], "events": [_put("x")] * 6},
            "Too many items requested for the BatchWriteItem call",
        ),
        ("BatchGetItem", {"users": _keys("a", "a")}, "Provided list of item keys contains duplicates"),
        ("BatchWriteItem", {"users": [_put("a"), _delete("a")]}, "Provided list of item keys contains duplicates"),
        (
            "BatchWriteItem",
            {"users": [{}]},
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes",
        ),
        (
            "BatchWriteItem",
            {"users": [{**_put("a"), **_delete("b")}]},
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes",
        ),
        (
            "BatchWriteItem",
            {"users": [{"PutRequest": {}}]},
            "1 validation error detected: Value null at 'requestItems.users.member.1.member.putRequest.item' failed to "
            "satisfy constraint: Member must not be null",
        ),
        ("BatchWriteItem", {"users": [_put("")]}, None),
        ("BatchWriteItem", {"users": [_put("a"), {"DeleteRequest": {"Key": {}}}]}, None),
        (
            "BatchWriteItem",
            {"users": [_put("a", x={"S": "y" * 500_000})]},
            "Item size has exceeded the maximum allowed size",
        ),
        ("BatchGetItem", {"x!": _keys("a")}, None),
    ],
)  # fmt: skip
def test_refused_batches_write_nothing(caller: Caller, operation: str, items: Any, text: str | None) -> None:
    message = caller.invalid(operation, {"RequestItems": items})
    assert text is None or message == text
    assert caller.backend.requests == []


def test_too_many_writes_to_one_table_are_shown(caller: Caller) -> None:
    message = caller.invalid("BatchWriteItem", {"RequestItems": {"users": [_put(str(index)) for index in range(26)]}})
    assert message.startswith(
        "1 validation error detected: Value '{users=[WriteRequest(putRequest=PutRequest(item={pk="
    )
    assert message.endswith(
        "]}' at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: [Member must have "
        "length less than or equal to 25, Member must have length greater than or equal to 1]"
    )
    huge = [_put(str(index), x={"S": "z" * 10_000}) for index in range(26)]
    assert len(caller.invalid("BatchWriteItem", {"RequestItems": {"users": huge}})) < 5_000


def test_a_missing_table_fails_the_batch(caller: Caller) -> None:
    assert caller.refuse("BatchGetItem", {"RequestItems": {"nope": _keys("a"), "users": _keys("a")}}) == _MISSING
    assert caller.refuse("BatchWriteItem", {"RequestItems": {"nope": [_put("a")], "users": [_put("a")]}}) == _MISSING
    assert caller.backend.requests == []


def test_throttled_parts_come_back_to_be_sent_again(caller: Caller) -> None:
    items = {"users": [_put("a", x={"N": "1.0"}), _put("b"), _delete("c")]}
    caller.backend.failures += [_THROTTLED, Failed(FailureKind.UNKNOWN)]
    answer = caller.call("BatchWriteItem", {"RequestItems": items})
    assert answer["UnprocessedItems"] == {"users": [_put("a", x={"N": "1"}), _put("b")]}
    assert caller.call("BatchWriteItem", {"RequestItems": answer["UnprocessedItems"]}) == {"UnprocessedItems": {}}
    wanted = {**_keys("a", "b"), "ConsistentRead": True, "ProjectionExpression": "#p"}
    wanted["ExpressionAttributeNames"] = {"#p": "pk"}
    caller.backend.failures.append(_THROTTLED)
    answer = caller.call("BatchGetItem", {"RequestItems": {"users": wanted}})
    assert answer["Responses"] == {"users": [{"pk": {"S": "b"}}]}
    assert answer["UnprocessedKeys"] == {"users": {**wanted, **_keys("a")}}
    again = caller.call("BatchGetItem", {"RequestItems": answer["UnprocessedKeys"]})
    assert again["Responses"] == {"users": [{"pk": {"S": "a"}}]}


@pytest.mark.parametrize(
    ("operation", "items"), [("BatchWriteItem", {"users": [_put("a")]}), ("BatchGetItem", {"users": _keys("a")})]
)
@pytest.mark.parametrize(
    ("kind", "status"), [(FailureKind.THROTTLED, 400), (FailureKind.NO_QUORUM, 503), (FailureKind.UNKNOWN, 500)]
)
def test_a_batch_of_which_nothing_was_done_fails(
    caller: Caller, operation: str, items: Any, kind: FailureKind, status: int
) -> None:
    caller.backend.failures.append(Failed(kind))
    assert caller.raw(operation, json.dumps({"RequestItems": items}).encode()).status == status


def test_a_table_dropped_half_way_fails_no_batch_of_which_something_was_done(caller: Caller) -> None:
    gone = Failed(FailureKind.NO_TABLE)
    caller.backend.replies += [Written(None, 0, 2), gone]
    answer = caller.call("BatchWriteItem", {"RequestItems": {"users": [_put("a"), _put("b")]}})
    assert answer["UnprocessedItems"] == {"users": [_put("b")]}
    del caller.backend.tables["users"]
    caller.backend.replies += [gone, gone]
    assert caller.refuse("BatchWriteItem", {"RequestItems": {"users": [_put("a"), _put("b")]}}) == _MISSING


def test_what_may_have_been_applied_is_never_called_missing(caller: Caller) -> None:
    caller.backend.replies += [Failed(FailureKind.NO_TABLE), _THROTTLED, Failed(FailureKind.UNKNOWN)]
    body = {"RequestItems": {"users": [_put("a"), _put("b"), _put("c")]}}
    assert caller.raw("BatchWriteItem", json.dumps(body).encode()).status == 500


def test_parts_of_an_item_that_a_transaction_holds_come_back(caller: Caller) -> None:
    caller.backend.replies += [Conflict(), Conflict()]
    answer = caller.call("BatchWriteItem", {"RequestItems": {"users": [_put("a"), _delete("b")]}})
    assert answer == {"UnprocessedItems": {"users": [_put("a"), _delete("b")]}}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Refused("no"), ("ValidationException", "no")),
        (CollectionFull(), ("ItemCollectionSizeLimitExceededException", "Collection size exceeded.")),
    ],
)
def test_a_part_that_never_can_be_done_fails_only_the_batch_that_is_left(
    caller: Caller, reply: Reply, error: tuple[str, str]
) -> None:
    caller.backend.replies += [reply, Written(None, 0, 2)]
    answer = caller.call("BatchWriteItem", {"RequestItems": {"users": [_put("a"), _put("b")]}})
    assert answer["UnprocessedItems"] == {"users": [_put("a")]}
    caller.backend.replies += [reply]
    assert caller.refuse("BatchWriteItem", {"RequestItems": {"users": [_put("a")]}}) == error


def test_responses_stop_at_one_megabyte_of_a_partition(caller: Caller) -> None:
    names = [f"k{index:02}" for index in range(20)]
    for name in names:
        caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": name}, "x": {"S": "y" * 400_000}}})
    wanted = _keys(*names)
    rounds = []
    while wanted["Keys"]:
        answer = caller.call("BatchGetItem", {"RequestItems": {"users": wanted}})
        rounds.append([item["pk"]["S"] for item in answer["Responses"]["users"]])
        wanted = answer["UnprocessedKeys"].get("users", {"Keys": []})
    assert len(rounds[0]) == 2 * 4  # two items of 400,008 bytes from each of four partitions
    assert sorted(name for read in rounds for name in read) == names


def test_responses_stop_at_sixteen_megabytes() -> None:
    caller = Caller(partitions=1000)  # so many that no two of the items share one
    caller.create_tables()
    names = [f"k{index:02}" for index in range(50)]
    for name in names:
        caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": name}, "x": {"S": "y" * 400_000}}})
    answer = caller.call("BatchGetItem", {"RequestItems": {"users": _keys(*names)}})
    returned = [item["pk"]["S"] for item in answer["Responses"]["users"]]
    left = [key["pk"]["S"] for key in answer["UnprocessedKeys"]["users"]["Keys"]]
    assert len(returned) == (16 << 20) // 400_008
    assert sorted(returned + left) == names


def test_parts_of_a_batch_have_ids_of_their_own_that_stay_the_same(caller: Caller) -> None:
    body = {"RequestItems": {"users": [_put("a"), _put("b"), _delete("c")]}}
    caller.call("BatchWriteItem", body, amz_sdk_invocation_id=b"i1")
    first = caller.backend.command_ids[-3:]
    assert len({id_ for id_ in first if id_ is not None}) == 3
    caller.call("BatchWriteItem", body, amz_sdk_invocation_id=b"i1")
    assert caller.backend.command_ids[-3:] == first
    caller.call("BatchWriteItem", body, amz_sdk_invocation_id=b"i2")
    assert not set(caller.backend.command_ids[-3:]) & set(first)
