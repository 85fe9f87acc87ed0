"""Capacity units, item-collection metrics, and what a client hears when it is throttled."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.api.caller import Caller, event

from gramme.tables.descriptor import Index
from gramme.tables.requests import CollectionFull, Failed, FailureKind, Written

_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/"
_GB = 1 << 30


def _ready(indexed: bool = False) -> Caller:
    caller = Caller()
    caller.create_tables()
    if indexed:
        table = caller.backend.tables["events"]
        indexes = tuple(
            Index(name=name, kind=kind, hash=(("pk", "S"),), range=(), projection="ALL")  # type: ignore[arg-type]
            for name, kind in (("local", "LOCAL"), ("first", "GLOBAL"), ("second", "GLOBAL"))
        )
        caller.backend.tables["events"] = msgspec.structs.replace(table, indexes=indexes)
    return caller


def _put(size: int = 0, **members: Any) -> dict[str, Any]:
    return {"TableName": "events", "Item": event("a", 1, data={"S": "x" * size}), **members}


# An item of this table with an empty `data` has 12 bytes: pk + a, sk + 1 (2), data.
@pytest.mark.parametrize(
    ("size", "write", "strong", "eventual"),
    [(0, 1, 1, 0.5), (1013, 1, 1, 0.5), (1014, 2, 1, 0.5), (4085, 4, 1, 0.5), (4086, 5, 2, 1.0)],
)
def test_units_follow_from_sizes(size: int, write: float, strong: float, eventual: float) -> None:
    caller = _ready()
    put = caller.call("PutItem", _put(size, ReturnConsumedCapacity="TOTAL"))
    assert put["ConsumedCapacity"] == {"TableName": "events", "CapacityUnits": write}
    key = {"TableName": "events", "Key": event("a", 1), "ReturnConsumedCapacity": "TOTAL"}
    assert caller.call("GetItem", {**key, "ConsistentRead": True})["ConsumedCapacity"]["CapacityUnits"] == strong
    assert caller.call("GetItem", key)["ConsumedCapacity"]["CapacityUnits"] == eventual
    assert caller.call("DeleteItem", key)["ConsumedCapacity"]["CapacityUnits"] == write


@pytest.mark.parametrize("level", [None, "NONE"])
def test_none_is_told_unless_asked(level: str | None) -> None:
    caller = _ready()
    asked: dict[str, Any] = {} if level is None else {"ReturnConsumedCapacity": level}
    assert caller.call("PutItem", _put(0, **asked)) == {}
    assert "ConsumedCapacity" not in caller.call("GetItem", {"TableName": "events", "Key": event("a", 1), **asked})
    assert "ConsumedCapacity" not in caller.call("Scan", {"TableName": "events", **asked})


def test_the_table_is_named_as_the_client_named_it() -> None:
    caller = _ready()
    put = _put(ReturnConsumedCapacity="INDEXES") | {"TableName": f"{_ARN}events"}
    assert caller.call("PutItem", put)["ConsumedCapacity"] == {
        "TableName": f"{_ARN}events",
        "CapacityUnits": 1.0,
        "Table": {"CapacityUnits": 1.0},
    }


def test_indexes_take_units_of_their_own() -> None:
    caller = _ready(indexed=True)
    written = Written(None, 0, 2000, indexes=(("second", 3), ("local", 1)))
    caller.backend.replies = [written, written, written]
    assert caller.call("PutItem", _put(ReturnConsumedCapacity="TOTAL"))["ConsumedCapacity"]["CapacityUnits"] == 6
    assert caller.call("PutItem", _put(ReturnConsumedCapacity="INDEXES"))["ConsumedCapacity"] == {
        "TableName": "events",
        "CapacityUnits": 6.0,
        "Table": {"CapacityUnits": 2.0},
        "LocalSecondaryIndexes": {"local": {"CapacityUnits": 1.0}},
        "GlobalSecondaryIndexes": {"second": {"CapacityUnits": 3.0}},
    }
    batch = {"RequestItems": {"events": [{"PutRequest": {"Item": event("a", 1)}}]}, "ReturnConsumedCapacity": "INDEXES"}
    consumed = caller.call("BatchWriteItem", batch)["ConsumedCapacity"]
    assert [entry["GlobalSecondaryIndexes"] for entry in consumed] == [{"second": {"CapacityUnits": 3.0}}]


def test_item_collections_are_estimated_in_steps_of_a_gigabyte() -> None:
    caller = _ready(indexed=True)
    sizes = [0, _GB - 1, _GB, 5 * _GB]
    caller.backend.replies = [Written(None, 0, 1, collection_bytes=size) for size in sizes]
    ranges = []
    for _ in sizes:
        metrics = caller.call("PutItem", _put(ReturnItemCollectionMetrics="SIZE"))["ItemCollectionMetrics"]
        assert metrics["ItemCollectionKey"] == {"pk": {"S": "a"}}
        ranges.append(metrics["SizeEstimateRangeGB"])
    assert ranges == [[0.0, 1.0], [0.0, 1.0], [1.0, 2.0], [5.0, 6.0]]
    caller.backend.replies = [Written(None, 0, 1, collection_bytes=1)]
    assert "ItemCollectionMetrics" not in caller.call("PutItem", _put(ReturnItemCollectionMetrics="NONE"))
    assert "ItemCollectionMetrics" not in caller.call("PutItem", _put(ReturnItemCollectionMetrics="SIZE"))


def test_a_batch_tells_each_collection_once() -> None:
    caller = _ready(indexed=True)
    caller.backend.replies = [Written(None, 0, 1, collection_bytes=size) for size in (1, _GB, 3)]
    writes: list[dict[str, Any]] = [{"PutRequest": {"Item": event("a", sk)}} for sk in (1, 2)]
    writes.append({"DeleteRequest": {"Key": event("b", 1)}})
    answer = caller.call("BatchWriteItem", {"RequestItems": {"events": writes}, "ReturnItemCollectionMetrics": "SIZE"})
    assert answer["ItemCollectionMetrics"] == {
        "events": [
            {"ItemCollectionKey": {"pk": {"S": "a"}}, "SizeEstimateRangeGB": [1.0, 2.0]},
            {"ItemCollectionKey": {"pk": {"S": "b"}}, "SizeEstimateRangeGB": [0.0, 1.0]},
        ]
    }


def test_a_full_collection_is_named() -> None:
    caller = _ready(indexed=True)
    caller.backend.replies = [CollectionFull()]
    assert caller.refuse("PutItem", _put())[0] == "ItemCollectionSizeLimitExceededException"


# --- throttling


def _error(caller: Caller, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = caller.raw(operation, json.dumps(body).encode())
    assert answer.status == 400
    error: dict[str, Any] = json.loads(answer.whole_body())
    error["__type"] = error["__type"].rpartition("#")[2]
    return error


def test_a_provisioned_table_says_what_was_exceeded() -> None:
    caller = _ready()
    caller.backend.failures = [Failed(FailureKind.THROTTLED, "", "TableWriteProvisionedThroughputExceeded")]
    error = _error(caller, "PutItem", _put())
    assert error["__type"] == "ProvisionedThroughputExceededException"
    assert error["ThrottlingReasons"] == [
        {"reason": "TableWriteProvisionedThroughputExceeded", "resource": f"{_ARN}events"}
    ]
    assert error["message"].startswith("The level of configured provisioned throughput for the table was exceeded.")


def test_an_on_demand_table_and_an_index() -> None:
    caller = _ready()
    caller.backend.failures = [
        Failed(FailureKind.THROTTLED, "", "IndexWriteKeyRangeThroughputExceeded", "by-name"),
        Failed(FailureKind.THROTTLED, "", "TableReadMaxOnDemandThroughputExceeded"),
    ]
    error = _error(caller, "PutItem", {"TableName": "users", "Item": {"pk": {"S": "a"}}})
    assert error["__type"] == "ThrottlingException"
    assert error["throttlingReasons"] == [
        {"reason": "IndexWriteKeyRangeThroughputExceeded", "resource": f"{_ARN}users/index/by-name"}
    ]
    error = _error(caller, "Scan", {"TableName": "users"})
    assert error["throttlingReasons"] == [
        {"reason": "TableReadMaxOnDemandThroughputExceeded", "resource": f"{_ARN}users"}
    ]


def test_an_overloaded_node_names_no_limit_of_the_table() -> None:
    caller = _ready()
    caller.backend.failures = [Failed(FailureKind.THROTTLED, "a queue is full")]
    error = _error(caller, "PutItem", _put())
    assert error["__type"] == "ThrottlingException"
    assert "throttlingReasons" not in error


def test_throttled_parts_of_batches_are_unprocessed_and_all_of_them_an_error() -> None:
    caller = _ready()
    throttled = Failed(FailureKind.THROTTLED, "", "TableWriteProvisionedThroughputExceeded")
    writes = [{"PutRequest": {"Item": event("a", sk)}} for sk in range(2)]
    caller.backend.failures = [throttled]
    answer = caller.call("BatchWriteItem", {"RequestItems": {"events": writes}})
    assert answer["UnprocessedItems"] == {"events": writes[:1]}
    caller.backend.failures = [throttled, throttled]
    error = _error(caller, "BatchWriteItem", {"RequestItems": {"events": writes}})
    assert error["__type"] == "ProvisionedThroughputExceededException"
    keys = [event("a", sk) for sk in range(2)]
    caller.backend.failures = [throttled]
    answer = caller.call("BatchGetItem", {"RequestItems": {"events": {"Keys": keys, "ConsistentRead": True}}})
    assert answer["UnprocessedKeys"] == {"events": {"Keys": keys[:1], "ConsistentRead": True}}
    caller.backend.failures = [throttled, throttled]
    error = _error(caller, "BatchGetItem", {"RequestItems": {"events": {"Keys": keys}}})
    assert error["ThrottlingReasons"][0]["resource"] == f"{_ARN}events"
