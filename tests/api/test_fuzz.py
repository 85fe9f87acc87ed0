"""Mutated requests: whatever comes, exactly one answer, never a 500, and nothing written by what was refused."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from tests.api.caller import HASH_TABLE, RANGE_TABLE, Caller, event

from gramme.api.dynamodb.operations import OPERATIONS

_ROUNDS = 6_000
_ODD: list[Any] = json.loads(
    """[null, true, false, 0, -1, 1.5, 1099511627776, 1e308, "", "a", "#a", ":a", "\\u00e9\\u0000", [], {}, [[]],
    [null], {"S": "a"}, {"N": "x"}, {"N": "1e200"}, {"S": 1}, {"S": null}, {"SS": []}, {"B": "!"}, {"": {}},
    {"S": "a", "N": "1"}, {"M": {"a": {"L": [null]}}}, {"L": [{"L": [{"L": [{"NULL": false}]}]}]}]"""
)
_NAMES = ["S", "N", "Extra", "#x", ":x", "Limit", "Expected", "IndexName", "Keys"]
_TEXTS = ["", "(", ")", ",", " ", "AND", ":", "#", "[", "99999999999", "\u0000", "x" * 5000]
_BYTES = [b"", b"{", b"}", b'"', b"\xff", b"\\u0000", b"1e999", b"null", b"[["]
_NOT_FOUND: list[tuple[str, dict[str, Any]]] = [
    *((f"Describe{thing}", {f"{thing}Arn": "a" * 40}) for thing in ("Backup", "Export", "Import", "BulkOperation")),
    ("DescribeGlobalTable", {"GlobalTableName": "events"}),
    ("DescribeGlobalTableSettings", {"GlobalTableName": "events"}),
    ("GetResourcePolicy", {"ResourceArn": "arn:aws:dynamodb:us-east-1:123456789012:table/events"}),
]
_DESCRIPTIONS = (
    "DescribeContinuousBackups",
    "DescribeContributorInsights",
    "DescribeKinesisStreamingDestination",
    "DescribeTableReplicaAutoScaling",
)
_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/events"
_RECOVERY = {"PointInTimeRecoveryEnabled": False}
_UNMUTATED = {"DeleteTable", "DescribeLimits", "DescribeEndpoints"}
STATEMENTS = (
    "INSERT INTO events VALUE {'pk': 'x', 'sk': 1, 'l': [1, {'a': <<'x'>>}]}",
    "UPDATE events SET a = list_append(a, [1]) REMOVE m.x WHERE pk = 'a' AND sk = 3 AND b > 1 RETURNING ALL OLD *",
    "DELETE FROM events WHERE pk = 'a' AND sk = 4 AND (a IN (1, 'b') OR NOT b BETWEEN 1 AND 2) RETURNING ALL OLD *",
    "SELECT pk, m.x FROM events WHERE pk IN ('a', 'b') AND sk >= 1 AND a IS NOT MISSING ORDER BY pk DESC",
)
_VALUES = {":a": {"S": "a"}, ":n": {"N": "1"}}
_KEY = {"TableName": "events", "Key": event("a", 1)}
_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("CreateTable", HASH_TABLE),
    ("DescribeTable", {"TableName": "users"}),
    ("ListTables", {"Limit": 3, "ExclusiveStartTableName": "aaa"}),
    ("UpdateTable", {"TableName": "events", "BillingMode": "PAY_PER_REQUEST", "TableClass": "STANDARD"}),
    ("TagResource", {"ResourceArn": _ARN, "Tags": [{"Key": "k", "Value": "v"}]}),
    ("UntagResource", {"ResourceArn": _ARN, "TagKeys": ["k"]}),
    ("ListTagsOfResource", {"ResourceArn": _ARN}),
    ("UpdateTimeToLive", {"TableName": "events", "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "t"}}),
    ("DescribeTimeToLive", {"TableName": "events"}),
    ("UpdateContinuousBackups", {"TableName": "events", "PointInTimeRecoverySpecification": _RECOVERY}),
    ("ListBackups", {"TableName": "events", "Limit": 3, "TimeRangeLowerBound": 1.5, "BackupType": "USER"}),
    ("ListContributorInsights", {"TableName": "events", "MaxResults": 4}),
    ("ListExports", {"TableArn": _ARN, "MaxResults": 4}),
    ("ListImports", {"TableArn": _ARN, "PageSize": 4}),
    ("ListGlobalTables", {"RegionName": "us-east-1"}),
    ("ListBulkOperations", {"MaxResults": 5}),
    *((operation, {"TableName": "events"}) for operation in _DESCRIPTIONS),
    ("GetItem", {**_KEY, "ProjectionExpression": "a, b[0].c", "ConsistentRead": True}),
    ("PutItem", {"TableName": "events", "Item": event("a", 1, l={"L": [{"NULL": True}]}), "ReturnValues": "ALL_OLD"}),
    ("DeleteItem", {**_KEY, "ConditionExpression": "a = :a OR size(b) > :n", "ExpressionAttributeValues": _VALUES}),
    (
        "UpdateItem",
        {
            **_KEY,
            "UpdateExpression": "SET a = :a, #b = if_not_exists(c, :n) + :n REMOVE d",
            "ExpressionAttributeValues": _VALUES,
            "ExpressionAttributeNames": {"#b": "b"},
            "ReturnValues": "ALL_NEW",
        },
    ),
    (
        "Query",
        {
            "TableName": "events",
            "KeyConditionExpression": "pk = :a AND sk >= :n",
            "FilterExpression": "contains(l, :a)",
            "ExpressionAttributeValues": _VALUES,
            "ExclusiveStartKey": event("a", 2),
            "Limit": 2,
            "ScanIndexForward": False,
        },
    ),
    ("Scan", {"TableName": "events", "Segment": 0, "TotalSegments": 2, "Select": "COUNT"}),
    *(("ExecuteStatement", {"Statement": statement, "Limit": 2}) for statement in STATEMENTS),
    ("ExecuteStatement", {"Statement": "SELECT * FROM events WHERE pk = ?", "Parameters": [{"S": "a"}]}),
    ("ExecuteTransaction", {"TransactStatements": [{"Statement": STATEMENTS[0].replace("'x'", "'t'", 1)}]}),
    ("BatchExecuteStatement", {"Statements": [{"Statement": STATEMENTS[0]}, {"Statement": STATEMENTS[1]}]}),
    ("BatchGetItem", {"RequestItems": {"events": {"Keys": [event("a", 1), event("a", 2)]}}}),
    (
        "BatchWriteItem",
        {
            "RequestItems": {
                "events": [{"PutRequest": {"Item": event("b", 1)}}, {"DeleteRequest": {"Key": event("c", 1)}}]
            },
            "ReturnConsumedCapacity": "TOTAL",
        },
    ),
    (
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {"TableName": "events", "Item": event("d", 1)}},
                {"Delete": {**_KEY, "ConditionExpression": "attribute_not_exists(q)"}},
                {
                    "Update": {
                        "TableName": "events",
                        "Key": event("d", 2),
                        "UpdateExpression": "SET a = :a",
                        "ExpressionAttributeValues": {":a": {"S": "a"}},
                    }
                },
                {
                    "ConditionCheck": {
                        "TableName": "events",
                        "Key": event("d", 3),
                        "ConditionExpression": "attribute_not_exists(#p)",
                        "ExpressionAttributeNames": {"#p": "pk"},
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
            ],
            "ClientRequestToken": "t",
            "ReturnConsumedCapacity": "INDEXES",
        },
    ),
    (
        "TransactGetItems",
        {
            "TransactItems": [
                {"Get": {**_KEY, "ProjectionExpression": "a"}},
                {"Get": {"TableName": _ARN, "Key": event("b", 1)}},
            ]
        },
    ),
]


def _mutate(value: Any, rng: random.Random) -> Any:
    """`value` with one place changed: replaced, dropped, doubled, or given a strange neighbour."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        action = rng.random()
        if action < 0.1:
            del value[name]
        elif action < 0.2:
            value[rng.choice(["S", "N", "Extra", "#x", ":x", "Limit", "Expected", "IndexName", "Keys"])] = rng.choice(
                _ODD
            )
        else:
            value[name] = _mutate(value[name], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.8:
        index = rng.randrange(len(value))
        if rng.random() < 0.2:
            value.append(copy.deepcopy(value[index]))
        else:
            value[index] = _mutate(value[index], rng)
        return value
    if isinstance(value, str) and value and rng.random() < 0.5:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(_TEXTS) + value[at + 1 :]
    return copy.deepcopy(rng.choice(_ODD))


def _mutate_bytes(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with a few bytes changed, cut or repeated."""
    data = bytearray(raw)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randrange(3)] = rng.choice(_BYTES)
    return bytes(data)


def _check(caller: Caller, operation: str, raw: bytes) -> None:
    rows_before = {table: dict(rows) for table, rows in caller.backend.rows.items()}
    answer = caller.raw(operation, raw)
    assert answer.status in (200, 400), (operation, raw, answer.whole_body(), caller.log)
    body = json.loads(answer.whole_body() or b"{}")
    if answer.status == 400:
        assert "#" in body["__type"]
        assert {table: dict(rows) for table, rows in caller.backend.rows.items()} == rows_before


def _reaches_items(operation: str) -> bool:
    return "Item" in operation or operation in ("Query", "Scan")


@pytest.mark.parametrize("seed", range(2))
def test_mutated_requests(seed: int) -> None:
    rng = random.Random(seed)
    caller = Caller()
    caller.create_tables()
    bodies = [entry for entry in _BODIES for _ in range(3 if _reaches_items(entry[0]) else 1)] + _NOT_FOUND
    assert {operation for operation, _ in bodies} | _UNMUTATED == set(OPERATIONS)
    accepted = 0
    for _ in range(_ROUNDS):
        operation, body = rng.choice(bodies)
        mutated = copy.deepcopy(body)
        for _ in range(rng.randrange(1, 4)):
            mutated = _mutate(mutated, rng)
        raw = json.dumps(mutated).encode()
        if rng.random() < 0.2:
            raw = _mutate_bytes(raw, rng)
        _check(caller, operation, raw)
        accepted += bool(caller.backend.requests or caller.backend.transactions)
        caller.backend.requests.clear()
        caller.backend.transactions.clear()
    assert accepted > _ROUNDS // 50  # not everything is refused at the door
    assert caller.log == []


def test_mutated_stream_requests() -> None:
    rng = random.Random(3)
    caller = Caller()
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    caller.call("CreateTable", {**RANGE_TABLE, "StreamSpecification": stream})
    caller.call("PutItem", {"TableName": "events", "Item": event("a", 1)})
    arn = caller.call("ListStreams", {})["Streams"][0]["StreamArn"]
    shard = caller.call("DescribeStream", {"StreamArn": arn})["StreamDescription"]["Shards"][0]
    place = {"StreamArn": arn, "ShardId": shard["ShardId"]}
    number = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    token = caller.call("GetShardIterator", {**place, "ShardIteratorType": "TRIM_HORIZON"})["ShardIterator"]
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("ListStreams", {"TableName": "events", "Limit": 1, "ExclusiveStartStreamArn": arn}),
        ("DescribeStream", {"StreamArn": arn, "Limit": 2, "ExclusiveStartShardId": shard["ShardId"]}),
        ("DescribeStream", {"StreamArn": arn, "ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": shard["ShardId"]}}),
        ("GetShardIterator", {**place, "ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": number}),
        ("GetShardIterator", {**place, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.5}),
        ("GetRecords", {"ShardIterator": token, "Limit": 5}),
    ]
    for operation, body in bodies:
        caller.call(operation, body)
    for _ in range(_ROUNDS // 4):
        operation, body = rng.choice(bodies)
        mutated = copy.deepcopy(body)
        for _ in range(rng.randrange(1, 3)):
            mutated = _mutate(mutated, rng)
        raw = json.dumps(mutated).encode()
        _check(caller, operation, _mutate_bytes(raw, rng) if rng.random() < 0.2 else raw)
    assert caller.log == []


def test_every_unmutated_body_is_accepted() -> None:
    caller = Caller()
    caller.create_tables()
    caller.call("DeleteTable", {"TableName": "users"})
    for operation, body in _BODIES:
        answer = caller.raw(operation, json.dumps(body).encode())
        assert answer.status == 200 or b"ConditionalCheckFailed" in answer.whole_body(), operation
