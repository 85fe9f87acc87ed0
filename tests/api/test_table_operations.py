"""CreateTable, DescribeTable, ListTables, DeleteTable, and the account's constants."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.caller import HASH_TABLE, RANGE_TABLE, Caller

from gramme.api.dynamodb.settings import ApiSettings
from gramme.kernel.time import MILLISECOND
from gramme.tables.requests import Failed, FailureKind

_INVALID = "One or more parameter values were invalid: "


def test_create_and_describe_an_on_demand_table() -> None:
    caller = Caller()
    created = caller.call("CreateTable", HASH_TABLE)["TableDescription"]
    assert created["TableStatus"] == "CREATING"
    described = caller.call("DescribeTable", {"TableName": "users"})["Table"]
    assert described["TableStatus"] == "ACTIVE"
    assert described["TableId"] == created["TableId"]
    assert described["KeySchema"] == HASH_TABLE["KeySchema"]
    assert described["AttributeDefinitions"] == HASH_TABLE["AttributeDefinitions"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert described["ProvisionedThroughput"] == {
        "NumberOfDecreasesToday": 0,
        "ReadCapacityUnits": 0,
        "WriteCapacityUnits": 0,
    }
    assert described["WarmThroughput"] == {
        "ReadUnitsPerSecond": 12000,
        "WriteUnitsPerSecond": 4000,
        "Status": "ACTIVE",
    }
    assert described["TableArn"] == "arn:aws:dynamodb:us-east-1:123456789012:table/users"
    assert described["CreationDateTime"] == caller.backend.clock.timestamp() / 1e9
    assert described["DeletionProtectionEnabled"] is False


def test_a_provisioned_table_with_stored_settings() -> None:
    caller = Caller()
    extra = {
        "Tags": [{"Key": "team", "Value": ""}],
        "TableClass": "STANDARD_INFREQUENT_ACCESS",
        "OnDemandThroughput": {"MaxReadRequestUnits": 10},
        "WarmThroughput": {"ReadUnitsPerSecond": 13000},
        "StreamSpecification": {"StreamEnabled": False},
        "SSESpecification": {"Enabled": False},
    }
    caller.call("CreateTable", {**RANGE_TABLE, **extra})
    table = caller.call("DescribeTable", {"TableName": "events"})["Table"]
    assert [element["KeyType"] for element in table["KeySchema"]] == ["HASH", "RANGE"]
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 5
    assert table["TableClassSummary"] == {"TableClass": "STANDARD_INFREQUENT_ACCESS"}
    assert table["OnDemandThroughput"] == {"MaxReadRequestUnits": 10}
    assert table["WarmThroughput"] == {"ReadUnitsPerSecond": 13000, "WriteUnitsPerSecond": 6, "Status": "ACTIVE"}
    assert "BillingModeSummary" not in table
    assert caller.backend.tables["events"].settings["Tags"] == extra["Tags"]


def _schema(*elements: tuple[str, str]) -> dict[str, Any]:
    return {"KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in elements]}


def _defined(*names: str) -> dict[str, Any]:
    return {"AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}},
            f"{_INVALID}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is "
            "PAY_PER_REQUEST",
        ),
        (
            {"BillingMode": "PROVISIONED"},
            f"{_INVALID}ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is "
            "PROVISIONED",
        ),
        (
            {
                "BillingMode": None,
                "ProvisionedThroughput": {"ReadCapacityUnits": 10**12 + 1, "WriteCapacityUnits": 1},
            },
            "Given value 1000000000001 for ReadCapacityUnits is out of bounds",
        ),
        (
            _schema(("pk", "HASH"), ("pk", "RANGE")),
            "Invalid KeySchema: Some index key attribute have no definition",
        ),
        (
            _schema(("pk", "HASH"), ("pk", "RANGE")) | _defined("pk", "x"),
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ),
        (
            _defined("other"),
            f"{_INVALID}Some index key attributes are not defined in AttributeDefinitions. Keys: [pk], "
            "AttributeDefinitions: [other]",
        ),
        (_schema(("pk", "RANGE")), "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"),
        (
            _schema(("pk", "HASH"), ("x", "HASH")) | _defined("pk", "x"),
            "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type",
        ),
        (
            _defined("pk", "unused"),
            f"{_INVALID}Number of attributes in KeySchema does not exactly match number of attributes defined in "
            "AttributeDefinitions",
        ),
        (_defined("pk", "pk"), f"{_INVALID}Duplicate AttributeName in AttributeDefinitions: pk"),
        ({"GlobalSecondaryIndexes": []}, f"{_INVALID}List of GlobalSecondaryIndexes is empty"),
        ({"LocalSecondaryIndexes": []}, f"{_INVALID}List of LocalSecondaryIndexes is empty"),
        ({"ResourcePolicy": "{}"}, f"{_INVALID}ResourcePolicy is not supported yet"),
        ({"SSESpecification": {"Enabled": True}}, f"{_INVALID}SSESpecification is not supported yet"),
        ({"Tags": [{"Key": "k", "Value": "v"}] * 51}, "Too many tags: a table can have 50"),
    ],
)
def test_refused_tables(change: dict[str, Any], text: str) -> None:
    caller = Caller()
    assert caller.invalid("CreateTable", {**HASH_TABLE, **change}) == text
    assert caller.call("ListTables", {}) == {"TableNames": []}


def test_a_table_exists_once() -> None:
    caller = Caller()
    caller.call("CreateTable", HASH_TABLE)
    assert caller.refuse("CreateTable", HASH_TABLE) == ("ResourceInUseException", "Table already exists: users")


def test_missing_tables_are_named() -> None:
    for operation in ("DescribeTable", "DeleteTable"):
        assert Caller().refuse(operation, {"TableName": "users"}) == (
            "ResourceNotFoundException",
            "Requested resource not found: Table: users not found",
        )


def test_delete_and_deletion_protection() -> None:
    caller = Caller()
    caller.call("CreateTable", {**HASH_TABLE, "DeletionProtectionEnabled": True})
    assert "protected against deletion" in caller.invalid("DeleteTable", {"TableName": "users"})
    caller.call("CreateTable", {**HASH_TABLE, "TableName": "other"})
    deleted = caller.call("DeleteTable", {"TableName": "other"})["TableDescription"]
    assert (deleted["TableName"], deleted["TableStatus"]) == ("other", "DELETING")
    assert caller.call("ListTables", {}) == {"TableNames": ["users"]}


def test_list_tables_in_pages() -> None:
    caller = Caller()
    names = [f"t-{index:03}" for index in range(105)]
    for name in reversed(names):
        caller.call("CreateTable", {**HASH_TABLE, "TableName": name})
    first = caller.call("ListTables", {})
    assert first == {"TableNames": names[:100], "LastEvaluatedTableName": "t-099"}
    assert caller.call("ListTables", {"ExclusiveStartTableName": "t-099"}) == {"TableNames": names[100:]}
    assert caller.call("ListTables", {"Limit": 2, "ExclusiveStartTableName": "t-0000"})["TableNames"] == names[1:3]


def test_control_plane_delay_shows_creating() -> None:
    caller = Caller(ApiSettings(control_plane_delay_ms=500))
    caller.call("CreateTable", HASH_TABLE)
    assert caller.call("DescribeTable", {"TableName": "users"})["Table"]["TableStatus"] == "CREATING"
    caller.backend.clock.now += 500 * MILLISECOND
    assert caller.call("DescribeTable", {"TableName": "users"})["Table"]["TableStatus"] == "ACTIVE"


def test_a_catalog_without_quorum_is_unavailable() -> None:
    caller = Caller()
    for operation, body in (
        ("CreateTable", HASH_TABLE),
        ("DescribeTable", {"TableName": "users"}),
        ("DeleteTable", {"TableName": "users"}),
        ("ListTables", {}),
    ):
        caller.backend.failures.append(Failed(FailureKind.NO_QUORUM))
        assert caller.raw(operation, json.dumps(body).encode()).status == 503


def test_account_constants() -> None:
    caller = Caller()
    assert caller.call("DescribeLimits", {})["AccountMaxReadCapacityUnits"] == 80_000
    assert caller.call("DescribeEndpoints", {})["Endpoints"] == [{"Address": "h:1", "CachePeriodInMinutes": 1440}]
