"""`TableDescription`: a table's descriptor as CreateTable, DescribeTable and DeleteTable answer it.

Rule: what CreateTable stored is described as it was given; everything else is derived. Source: API reference,
TableDescription.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.counts import NO_COUNTS, Counts
from gramme.api.dynamodb.index_description import describe_indexes
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.dynamodb.streams.specification import describe_stream_of
from gramme.kernel.time import SECOND, Timestamp
from gramme.tables.catalog import TableReply
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.table_changes import decreases_today, warm_throughput

_encode: Final = msgspec.json.Encoder().encode


def describe(
    reply: TableReply, status: str, settings: ApiSettings, now: Timestamp, counts: Counts = NO_COUNTS
) -> bytes:
    """JSON of the description, with `status` as TableStatus."""
    table = reply.table
    description: dict[str, Any] = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in table.attribute_definitions
        ],
        "TableName": table.name,
        "KeySchema": _key_schema(table),
        "TableStatus": status,
        "CreationDateTime": _seconds(table.created),
        "ProvisionedThroughput": _throughput(table, now),
        "TableSizeBytes": counts.table[1],
        "ItemCount": counts.table[0],
        "TableArn": settings.table_arn(table.name),
        "TableId": table.table_id,
    }
    history = table.history
    if table.billing_mode == "PAY_PER_REQUEST" or history.on_demand:
        description["BillingModeSummary"] = {
            "BillingMode": table.billing_mode,
            "LastUpdateToPayPerRequestDateTime": _seconds(history.on_demand or table.created),
        }
    stored = table.settings
    if "TableClass" in stored:
        description["TableClassSummary"] = summary = {"TableClass": stored["TableClass"]}
        if history.class_changed:
            summary["LastUpdateDateTime"] = _seconds(history.class_changed)
    if "OnDemandThroughput" in stored:
        description["OnDemandThroughput"] = stored["OnDemandThroughput"]
    description["WarmThroughput"] = _warm_throughput(table, status)
    description.update(describe_indexes(table, status, settings.table_arn(table.name), counts.indexes))
    description.update(describe_stream_of(table, settings))
    description["DeletionProtectionEnabled"] = bool(stored.get("DeletionProtectionEnabled", False))
    return _encode(description)


def _seconds(at: Timestamp) -> float:
    """A time as the protocol writes it: seconds, to the millisecond."""
    return round(at / SECOND, 3)


def _throughput(table: TableDescriptor, now: Timestamp) -> dict[str, Any]:
    history = table.history
    described: dict[str, Any] = {
        "NumberOfDecreasesToday": decreases_today(history, now),
        "ReadCapacityUnits": table.read_units,
        "WriteCapacityUnits": table.write_units,
    }
    if history.increased:
        described["LastIncreaseDateTime"] = _seconds(history.increased)
    if history.decreased:
        described["LastDecreaseDateTime"] = _seconds(history.decreased)
    return described


def _key_schema(table: TableDescriptor) -> list[dict[str, str]]:
    schema = [{"AttributeName": table.key.hash_name, "KeyType": "HASH"}]
    if table.key.range_name is not None:
        schema.append({"AttributeName": table.key.range_name, "KeyType": "RANGE"})
    return schema


def _warm_throughput(table: TableDescriptor, status: str) -> dict[str, Any]:
    warm: dict[str, Any] = dict(warm_throughput(table))
    warm["Status"] = status if status in ("CREATING", "UPDATING") else "ACTIVE"
    return warm
