"""Definitions of indexes that CreateTable and UpdateTable refuse, with the texts; nothing is created or changed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.caller import Caller

_INVALID = "One or more parameter values were invalid: "


def _keys(*names: str, kinds: tuple[str, ...] = ("HASH", "RANGE")) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, kinds, strict=False)]


TABLE: dict[str, Any] = {
    "TableName": "indexed",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": _keys("pk", "sk"),
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "a", "b")],
}
ALL = {"ProjectionType": "ALL"}
UNITS = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}


def _index(**change: Any) -> dict[str, Any]:
    return {"IndexName": "idx", "KeySchema": _keys("a", "b"), "Projection": ALL, **change}


def _shared(*changes: dict[str, Any], **table: Any) -> dict[str, Any]:
    return {"GlobalSecondaryIndexes": [_index(**change) for change in changes or ({},)], **table}


def _local(*changes: dict[str, Any], **table: Any) -> dict[str, Any]:
    own = {"KeySchema": _keys("pk", "a")}
    return {"LocalSecondaryIndexes": [_index(**{**own, **change}) for change in changes or ({},)], **table}


def _including(*names: str) -> dict[str, Any]:
    return {"Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(names)}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_shared({"Projection": {}}), f"{_INVALID}Unknown ProjectionType: null"),
        (
            _shared({"Projection": {"ProjectionType": "INCLUDE"}}),
            f"{_INVALID}ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
        ),
        (
            _shared({"Projection": {"ProjectionType": "KEYS_ONLY", "NonKeyAttributes": ["x"]}}),
            f"{_INVALID}ProjectionType is KEYS_ONLY, but NonKeyAttributes is specified",
        ),
        (
            _shared({"KeySchema": _keys("none")}),
            f"{_INVALID}Some index key attributes are not defined in AttributeDefinitions. Keys: [none], "
            "AttributeDefinitions: [pk, sk, a, b]",
        ),
        (
            _shared({"KeySchema": _keys("a", "b", kinds=("RANGE", "HASH"))}),
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ),
        (
            _shared({"KeySchema": _keys("a", "a")}),
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ),
        (
            _shared({"KeySchema": _keys("a", "b", "sk", kinds=("HASH", "RANGE", "HASH"))}),
            "Invalid KeySchema: HASH key attributes must stand before RANGE key attributes",
        ),
        (
            _shared({"KeySchema": _keys("a")}),
            f"{_INVALID}Some AttributeDefinitions are not used. AttributeDefinitions: [pk, sk, a, b], keys used: "
            "[pk, sk, a]",
        ),
        (
            _shared({"ProvisionedThroughput": UNITS}),
            f"{_INVALID}ProvisionedThroughput should not be specified for index: idx when BillingMode is "
            "PAY_PER_REQUEST",
        ),
        (
            _shared(BillingMode="PROVISIONED", ProvisionedThroughput=UNITS),
            f"{_INVALID}ProvisionedThroughput must be specified for index: idx",
        ),
        (_shared({}, {}), f"{_INVALID}Duplicate index name: idx"),
        (_shared() | _local(), f"{_INVALID}Duplicate index name: idx"),
        (
            _shared(*({"IndexName": f"idx{n}"} for n in range(21))),
            f"{_INVALID}GlobalSecondaryIndex count exceeds the per-table limit of 20",
        ),
        (
            _shared(*({"IndexName": f"idx{n}", **_including(*(f"{n}x{m}" for m in range(17)))} for n in range(6))),
            f"{_INVALID}Number of projected attributes exceeds the per-table limit of 100",
        ),
        (
            _local(*({"IndexName": f"idx{n}"} for n in range(6))),
            f"{_INVALID}Number of LocalSecondaryIndexes exceeds per-table limit of 5",
        ),
        (
            _local({"KeySchema": _keys("pk")}),
            f"{_INVALID}Index KeySchema does not have a range key for index: idx",
        ),
        (
            _local({"KeySchema": _keys("a", "b")}),
            f"{_INVALID}Index KeySchema does not have the same leading hash key as table KeySchema for index: idx. "
            "index hash key: a, table hash key: pk",
        ),
        (
            _local(KeySchema=_keys("pk")),
            f"{_INVALID}Table KeySchema does not have a range key, which is required when specifying a "
            "LocalSecondaryIndex",
        ),
        (
            _shared({"IndexName": "i"}),
            "1 validation error detected: Value 'i' at 'globalSecondaryIndexes.1.member.indexName' failed to satisfy "
            "constraint: Member must have length greater than or equal to 3",
        ),
    ],
)
def test_refused_indexes_of_a_new_table(change: dict[str, Any], text: str) -> None:
    caller = Caller()
    assert caller.invalid("CreateTable", {**TABLE, **change}) == text
    assert caller.call("ListTables", {}) == {"TableNames": []}


def test_the_most_that_a_table_may_have() -> None:
    caller = Caller()
    shared = _shared(*({"IndexName": f"gsi{n}", **_including(*(f"{n}x{m}" for m in range(5)))} for n in range(20)))
    local = _local(*({"IndexName": f"lsi{n}"} for n in range(5)))
    caller.call("CreateTable", {**TABLE, **shared, **local})
    caller = Caller()
    names = [f"k{n}" for n in range(8)]
    wide = _shared({"KeySchema": _keys(*names, kinds=("HASH",) * 4 + ("RANGE",) * 4)})
    definitions = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", *names)]
    caller.call("CreateTable", {**TABLE, **wide, "AttributeDefinitions": definitions})


@pytest.mark.parametrize(
    ("updates", "text"),
    [
        (
            [{"Create": _index(KeySchema=_keys("c"))}],
            f"{_INVALID}Some index key attributes are not defined in AttributeDefinitions. Keys: [c], "
            "AttributeDefinitions: [a, b]",
        ),
        (
            [{"Create": _index(ProvisionedThroughput=UNITS)}],
            f"{_INVALID}ProvisionedThroughput should not be specified for index: idx when BillingMode is "
            "PAY_PER_REQUEST",
        ),
        (
            [{}],
            f"{_INVALID}One of GlobalSecondaryIndexUpdate's Update, Create, Delete must be specified, and only one",
        ),
        (
            [{"Delete": {"IndexName": "idx"}}, {"Delete": {"IndexName": "idx"}}],
            "Only one global secondary index update per index is allowed simultaneously.",
        ),
        (
            [],
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or "
            "SSESpecification or ReplicaUpdates is required",
        ),
    ],
)
def test_refused_updates_of_indexes(updates: list[dict[str, Any]], text: str) -> None:
    caller = Caller()
    plain = {**TABLE, "AttributeDefinitions": TABLE["AttributeDefinitions"][:2]}
    caller.call("CreateTable", plain)
    before = caller.backend.tables["indexed"]
    body = {
        "TableName": "indexed",
        "AttributeDefinitions": TABLE["AttributeDefinitions"][2:],
        "GlobalSecondaryIndexUpdates": updates,
    }
    assert caller.invalid("UpdateTable", body) == text
    assert caller.backend.tables["indexed"] == before


def test_one_index_comes_or_goes_at_a_time() -> None:
    caller = Caller()
    caller.call("CreateTable", {**TABLE, "AttributeDefinitions": TABLE["AttributeDefinitions"][:2]})
    updates = [{"Create": _index()}, {"Delete": {"IndexName": "other"}}]
    body = {
        "TableName": "indexed",
        "AttributeDefinitions": TABLE["AttributeDefinitions"][2:],
        "GlobalSecondaryIndexUpdates": updates,
    }
    assert caller.refuse("UpdateTable", body) == (
        "LimitExceededException",
        "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
    )
