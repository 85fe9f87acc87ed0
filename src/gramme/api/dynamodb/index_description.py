"""Secondary indexes as DescribeTable and its kin tell of them.

Source: API reference, LocalSecondaryIndexDescription and GlobalSecondaryIndexDescription.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gramme.tables.descriptor import Index, TableDescriptor
from gramme.tables.table_changes import ON_DEMAND_READS, ON_DEMAND_WRITES


def describe_indexes(
    table: TableDescriptor, table_status: str, table_arn: str, counts: Mapping[str, tuple[int, int]]
) -> dict[str, list[dict[str, Any]]]:
    """The members of a table's description that list its indexes; none for a table without. `counts` are entries and
    bytes by name."""
    members: dict[str, list[dict[str, Any]]] = {}
    for index in table.indexes:
        described = _described(index, table_arn)
        described["ItemCount"], described["IndexSizeBytes"] = counts.get(index.name, (0, 0))
        if index.kind == "LOCAL":
            members.setdefault("LocalSecondaryIndexes", []).append(described)
        else:
            described.update(_global_only(table, index, table_status))
            members.setdefault("GlobalSecondaryIndexes", []).append(described)
    return members


def _described(index: Index, table_arn: str) -> dict[str, Any]:
    projection: dict[str, Any] = {"ProjectionType": index.projection}
    if index.included:
        projection["NonKeyAttributes"] = list(index.included)
    return {
        "IndexName": index.name,
        "KeySchema": [{"AttributeName": name, "KeyType": "HASH"} for name, _ in index.hash]
        + [{"AttributeName": name, "KeyType": "RANGE"} for name, _ in index.range],
        "Projection": projection,
        "IndexArn": f"{table_arn}/index/{index.name}",
    }


def _global_only(table: TableDescriptor, index: Index, table_status: str) -> dict[str, Any]:
    status = table_status if table_status in ("CREATING", "DELETING") else index.status
    described: dict[str, Any] = {
        "IndexStatus": status,
        "ProvisionedThroughput": {
            "NumberOfDecreasesToday": 0,
            "ReadCapacityUnits": index.read_units,
            "WriteCapacityUnits": index.write_units,
        },
    }
    if status == "CREATING" and index.backfill:
        described["Backfilling"] = True
    on_demand = table.billing_mode == "PAY_PER_REQUEST"
    described["WarmThroughput"] = {
        "ReadUnitsPerSecond": ON_DEMAND_READS if on_demand else index.read_units,
        "WriteUnitsPerSecond": ON_DEMAND_WRITES if on_demand else index.write_units,
        **index.settings.get("WarmThroughput", {}),
        "Status": status if status in ("CREATING", "UPDATING") else "ACTIVE",
    }
    if "OnDemandThroughput" in index.settings:
        described["OnDemandThroughput"] = index.settings["OnDemandThroughput"]
    return described
