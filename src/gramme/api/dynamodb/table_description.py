"""`TableDescription`: a table's descriptor as CreateTable, DescribeTable and DeleteTable answer it.

Rule: what CreateTable stored is described as it was given; everything else is derived. Source: API reference,
TableDescription.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.settings import ApiSettings
from gramme.kernel.time import SECOND
from gramme.tables.catalog import TableReply
from gramme.tables.descriptor import TableDescriptor

ON_DEMAND_READS: Final = 12_000
ON_DEMAND_WRITES: Final = 4_000

_encode: Final = msgspec.json.Encoder().encode


def describe(reply: TableReply, status: str, settings: ApiSettings) -> bytes:
    """JSON of the description, with `status` as TableStatus."""
    table = reply.table
    created = round(table.created / SECOND, 3)
    description: dict[str, Any] = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in table.attribute_definitions
        ],
        "TableName": table.name,
        "KeySchema": _key_schema(table),
        "TableStatus": status,
        "CreationDateTime": created,
        "ProvisionedThroughput": {
            "NumberOfDecreasesToday": 0,
            "ReadCapacityUnits": table.read_units,
            "WriteCapacityUnits": table.write_units,
        },
        "TableSizeBytes": reply.size_bytes,
        "ItemCount": reply.item_count,
        "TableArn": settings.table_arn(table.name),
        "TableId": table.table_id,
    }
    if table.billing_mode == "PAY_PER_REQUEST":
        description["BillingModeSummary"] = {
            "BillingMode": "PAY_PER_REQUEST",
            "LastUpdateToPayPerRequestDateTime": created,
        }
    stored = table.settings
    if "TableClass" in stored:
        description["TableClassSummary"] = {"TableClass": stored["TableClass"]}
    if "OnDemandThroughput" in stored:
        description["OnDemandThroughput"] = stored["OnDemandThroughput"]
    description["WarmThroughput"] = _warm_throughput(table, status)
    description["DeletionProtectionEnabled"] = bool(stored.get("DeletionProtectionEnabled", False))
    return _encode(description)


def _key_schema(table: TableDescriptor) -> list[dict[str, str]]:
    schema = [{"AttributeName": table.key.hash_name, "KeyType": "HASH"}]
    if table.key.range_name is not None:
        schema.append({"AttributeName": table.key.range_name, "KeyType": "RANGE"})
    return schema


def _warm_throughput(table: TableDescriptor, status: str) -> dict[str, Any]:
    on_demand = table.billing_mode == "PAY_PER_REQUEST"
    warm: dict[str, Any] = {
        "ReadUnitsPerSecond": ON_DEMAND_READS if on_demand else table.read_units,
        "WriteUnitsPerSecond": ON_DEMAND_WRITES if on_demand else table.write_units,
    }
    warm.update(table.settings.get("WarmThroughput", {}))
    warm["Status"] = status if status in ("CREATING", "UPDATING") else "ACTIVE"
    return warm
