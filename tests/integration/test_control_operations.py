"""Changes of a table made at one node are seen at every other at once, and outlive the catalog's leader."""

from __future__ import annotations

from typing import Any

from tests.integration.support import create_table, eventually

from gramme.testing import Cluster


def _seen(client: Any, arn: str) -> dict[str, Any]:
    table = client.describe_table(TableName="settings")["Table"]
    return {
        "reads": table["ProvisionedThroughput"]["ReadCapacityUnits"],
        "mode": table.get("BillingModeSummary", {}).get("BillingMode"),
        "protected": table["DeletionProtectionEnabled"],
        "tags": client.list_tags_of_resource(ResourceArn=arn)["Tags"],
        "expiry": client.describe_time_to_live(TableName="settings")["TimeToLiveDescription"],
    }


def test_changes_reach_every_node_and_outlive_a_kill(three: Cluster) -> None:
    nodes = [three.client(endpoint_url=three.node_url(node)) for node in range(3)]
    arn = create_table(nodes[0], "settings", units=5)["TableArn"]
    nodes[0].get_waiter("table_exists").wait(TableName="settings", WaiterConfig={"Delay": 1})
    nodes[1].update_table(TableName="settings", ProvisionedThroughput={"ReadCapacityUnits": 9, "WriteCapacityUnits": 5})
    nodes[2].update_table(TableName="settings", DeletionProtectionEnabled=True)
    nodes[0].tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "a"}])
    nodes[1].update_time_to_live(
        TableName="settings", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    expected: dict[str, Any] = {
        "reads": 9,
        "mode": None,
        "protected": True,
        "tags": [{"Key": "team", "Value": "a"}],
        "expiry": {"TimeToLiveStatus": "ENABLED", "AttributeName": "until"},
    }
    assert [_seen(node, arn) for node in nodes] == [expected] * 3

    three.kill(0)
    nodes[1].update_table(TableName="settings", BillingMode="PAY_PER_REQUEST")
    expected.update(reads=0, mode="PAY_PER_REQUEST")
    assert [_seen(node, arn) for node in nodes[1:]] == [expected] * 2
    three.start(0)
    three.wait_ready()
    eventually("the restarted node tells the same", lambda: _seen(nodes[0], arn) == expected)
