"""What does not exist here answers truthfully: nothing there, nothing enabled, not found, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.caller import Caller

_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/users"
_LONG_ARN = f"{_ARN}/thing/01489602797149-73d8d5bc"
_USERS = {"TableName": "users"}


def _ready() -> Caller:
    caller = Caller()
    caller.create_tables()
    return caller


@pytest.mark.parametrize(
    ("operation", "body", "answer"),
    [
        ("ListBackups", {}, {"BackupSummaries": []}),
        ("ListBackups", _USERS, {"BackupSummaries": []}),
        ("ListExports", {"TableArn": _ARN}, {"ExportSummaries": []}),
        ("ListImports", {}, {"ImportSummaryList": []}),
        ("ListGlobalTables", {}, {"GlobalTables": []}),
        ("ListContributorInsights", {}, {"ContributorInsightsSummaries": []}),
        ("ListBulkOperations", {}, {"BulkOperationsSummaryList": []}),
        (
            "DescribeContributorInsights",
            _USERS,
            {"TableName": "users", "ContributorInsightsStatus": "DISABLED"},
        ),
        (
            "DescribeKinesisStreamingDestination",
            _USERS,
            {"TableName": "users", "KinesisDataStreamDestinations": []},
        ),
        (
            "DescribeTableReplicaAutoScaling",
            _USERS,
            {"TableAutoScalingDescription": {"TableName": "users", "TableStatus": "ACTIVE", "Replicas": []}},
        ),
    ],
)
def test_nothing_is_there(operation: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
    assert _ready().call(operation, body) == answer


def test_backups_are_off_and_can_be_switched_off() -> None:
    caller = _ready()
    off = {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "DISABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
        }
    }
    assert caller.call("DescribeContinuousBackups", _USERS) == off
    change = {**_USERS, "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False}}
    assert caller.call("UpdateContinuousBackups", change) == off
    change["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}
    assert "PointInTimeRecoverySpecification is not supported yet" in caller.invalid("UpdateContinuousBackups", change)
    for operation, body in (
        ("DescribeContinuousBackups", {}),
        ("UpdateContinuousBackups", {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False}}),
    ):
        assert caller.refuse(operation, {"TableName": "missing", **body}) == (
            "TableNotFoundException",
            "Table not found: missing",
        )


@pytest.mark.parametrize(
    ("operation", "body", "error"),
    [
        ("DescribeBackup", {"BackupArn": _LONG_ARN}, "BackupNotFoundException"),
        ("DescribeExport", {"ExportArn": _LONG_ARN}, "ExportNotFoundException"),
        ("DescribeImport", {"ImportArn": _LONG_ARN}, "ImportNotFoundException"),
        ("DescribeBulkOperation", {"BulkOperationArn": _LONG_ARN}, "ResourceNotFoundException"),
        ("DescribeGlobalTable", {"GlobalTableName": "users"}, "GlobalTableNotFoundException"),
        ("DescribeGlobalTableSettings", {"GlobalTableName": "users"}, "GlobalTableNotFoundException"),
        ("GetResourcePolicy", {"ResourceArn": _ARN}, "PolicyNotFoundException"),
        ("GetResourcePolicy", {"ResourceArn": _ARN.replace("users", "missing")}, "ResourceNotFoundException"),
        ("ListBackups", {"TableName": "missing"}, "ResourceNotFoundException"),
        ("ListContributorInsights", {"TableName": "missing"}, "ResourceNotFoundException"),
        ("DescribeContributorInsights", {"TableName": "missing"}, "ResourceNotFoundException"),
        ("DescribeKinesisStreamingDestination", {"TableName": "missing"}, "ResourceNotFoundException"),
        ("DescribeTableReplicaAutoScaling", {"TableName": "missing"}, "ResourceNotFoundException"),
        ("ListExports", {"NextToken": "x"}, "ValidationException"),
        ("DescribeBackup", {"BackupArn": "short"}, "ValidationException"),
    ],
)
def test_what_is_asked_for_by_name_is_not_found(operation: str, body: dict[str, Any], error: str) -> None:
    assert _ready().refuse(operation, body)[0] == error
