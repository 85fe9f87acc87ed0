"""UpdateTable: throughput, billing mode and settings. Source: API reference, UpdateTable.

Rule: what can be judged from the request alone is judged here; the rest at the catalog's leader, against the table as
it is then (`gramme.tables.table_changes`). The answer says UPDATING, as the service's does; the change is in force.
"""

from __future__ import annotations

from typing import Any, Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.control import ask
from gramme.api.dynamodb.create_table import check_on_demand, check_throughput
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.index_definitions import index_updates
from gramme.api.dynamodb.streams.specification import stream_change
from gramme.api.dynamodb.table_description import describe
from gramme.tables.catalog import TableReply, UpdateTable
from gramme.tables.table_changes import NO_UNITS

_STORED: Final = ("TableClass", "DeletionProtectionEnabled", "OnDemandThroughput", "WarmThroughput")
_CHANGES: Final = (
    "ProvisionedThroughput",
    "BillingMode",
    "StreamSpecification",
    "SSESpecification",
    "GlobalSecondaryIndexUpdates",
    *_STORED,
)
_NOT_WITH_STREAM: Final = ("ProvisionedThroughput", "GlobalSecondaryIndexUpdates")
_ON_DEMAND: Final = {"PAY_PER_REQUEST": True, "PROVISIONED": False, None: None}


def start(call: Call) -> None:
    """Begin UpdateTable."""
    body = call.body
    call.table_name = name = call.env.settings.table_name(body["TableName"])
    call.refuse_enabled("SSESpecification", "Enabled")
    if all(body.get(member) in (None, []) for member in _CHANGES):
        raise validation(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or "
            "SSESpecification or ReplicaUpdates is required"
        )
    ask(call, _command(name, body), _updated)


def _command(name: str, body: dict[str, Any]) -> UpdateTable:
    throughput = body.get("ProvisionedThroughput")
    if throughput is not None:
        if body.get("BillingMode") == "PAY_PER_REQUEST":
            raise validation(NO_UNITS)
        check_throughput(throughput)
    check_on_demand(body.get("OnDemandThroughput"))
    stream = stream_change(body)
    if stream is not None and any(body.get(member) not in (None, []) for member in _NOT_WITH_STREAM):
        raise validation(
            "One or more parameter values were invalid: You cannot modify stream status while updating table IOPS"
        )
    return UpdateTable(
        name,
        body.get("BillingMode"),
        None if throughput is None else throughput["ReadCapacityUnits"],
        None if throughput is None else throughput["WriteCapacityUnits"],
        {member: body[member] for member in _STORED if body.get(member) is not None},
        tuple((entry["AttributeName"], entry["AttributeType"]) for entry in body.get("AttributeDefinitions") or ()),
        *index_updates(body, _ON_DEMAND[body.get("BillingMode")]),
        stream=stream,
    )


def _updated(call: Call, reply: TableReply) -> None:
    now = call.env.clock.timestamp()
    call.answer([b'{"TableDescription":', describe(reply, "UPDATING", call.env.settings, now), b"}"])
