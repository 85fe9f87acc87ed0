"""UpdateTimeToLive and DescribeTimeToLive: which attribute holds an item's time of expiry.

The partitions of the table act upon it (`gramme.node.expiry`). Source: API reference; the
service's limit of one change an hour is not kept.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.control import ask, described
from gramme.tables.catalog import SetTimeToLive, TableReply

_encode: Final = msgspec.json.Encoder().encode


def update(call: Call) -> None:
    """Begin UpdateTimeToLive."""
    call.table_name = name = call.env.settings.table_name(call.body["TableName"])
    wanted = call.body["TimeToLiveSpecification"]
    ask(call, SetTimeToLive(name, wanted["Enabled"], wanted["AttributeName"]), _updated)


def describe(call: Call) -> None:
    """Begin DescribeTimeToLive."""
    described(call, call.body["TableName"], _described)


def _updated(call: Call, reply: TableReply) -> None:
    call.answer(_encode({"TimeToLiveSpecification": call.body["TimeToLiveSpecification"]}))


def _described(call: Call, reply: TableReply) -> None:
    attribute = reply.table.settings.get("TimeToLive")
    state = {"TimeToLiveStatus": "DISABLED" if attribute is None else "ENABLED"}
    if attribute is not None:
        state["AttributeName"] = attribute
    call.answer(_encode({"TimeToLiveDescription": state}))
