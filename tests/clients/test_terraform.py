"""The calls that Terraform's `aws_dynamodb_table` makes, in its order: create, read back, change, destroy.

It fails on an unknown backup or expiry call, and on a description without `WarmThroughput`.
"""

from __future__ import annotations

from typing import Any

import pytest

from gramme.testing import Server


def _read(client: Any, name: str) -> dict[str, Any]:
    """What a refresh reads."""
    table: dict[str, Any] = client.describe_table(TableName=name)["Table"]
    assert table["TableStatus"] == "ACTIVE"
    assert table["WarmThroughput"]["Status"] == "ACTIVE"
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "DISABLED"
    table["expiry"] = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    table["tags"] = {
        tag["Key"]: tag["Value"] for tag in client.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    }
    return table


def test_the_life_of_a_table(gramme: Server) -> None:
    client = gramme.client()
    client.create_table(
        TableName="state-lock",
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        TableClass="STANDARD",
        DeletionProtectionEnabled=True,
        Tags=[{"Key": "team", "Value": "infra"}],
    )
    client.get_waiter("table_exists").wait(TableName="state-lock")
    client.update_time_to_live(
        TableName="state-lock", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    table = _read(client, "state-lock")
    assert table["expiry"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    assert table["tags"] == {"team": "infra"}
    assert table["TableClassSummary"] == {"TableClass": "STANDARD"}

    # A plan that changes most of it.
    client.update_table(TableName="state-lock", ProvisionedThroughput={"ReadCapacityUnits": 7, "WriteCapacityUnits": 5})
    client.update_table(TableName="state-lock", BillingMode="PAY_PER_REQUEST")
    client.update_table(
        TableName="state-lock", WarmThroughput={"ReadUnitsPerSecond": 12_500, "WriteUnitsPerSecond": 4_000}
    )
    client.update_table(TableName="state-lock", DeletionProtectionEnabled=False)
    client.update_continuous_backups(
        TableName="state-lock", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}
    )
    client.update_time_to_live(
        TableName="state-lock", TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires"}
    )
    client.tag_resource(ResourceArn=table["TableArn"], Tags=[{"Key": "env", "Value": "prod"}])
    client.untag_resource(ResourceArn=table["TableArn"], TagKeys=["team"])
    table = _read(client, "state-lock")
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["WarmThroughput"]["ReadUnitsPerSecond"] == 12_500
    assert table["expiry"] == {"TimeToLiveStatus": "DISABLED"}
    assert table["tags"] == {"env": "prod"}

    client.delete_table(TableName="state-lock")
    client.get_waiter("table_not_exists").wait(TableName="state-lock")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_table(TableName="state-lock")
