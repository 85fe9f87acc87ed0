"""DescribeTable: the newest descriptor, read at the catalog's leader, so that every node says the same."""

from __future__ import annotations

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.control import described
from gramme.api.dynamodb.counts import count
from gramme.api.dynamodb.table_description import describe
from gramme.kernel.time import MILLISECOND
from gramme.tables.catalog import TableReply


def start(call: Call) -> None:
    """Begin DescribeTable."""
    described(call, call.body["TableName"], lambda call, reply: call.run(_described(call, reply)))


async def _described(call: Call, reply: TableReply) -> None:
    counts = await count(call, reply.table)
    now = call.env.clock.timestamp()
    call.answer([b'{"Table":', describe(reply, _status(call, reply), call.env.settings, now, counts), b"}"])


def _status(call: Call, reply: TableReply) -> str:
    """The table's status, or the one that a delay set by the operator still shows."""
    delay_ns = call.env.settings.control_plane_delay_ms * MILLISECOND
    table = reply.table
    if delay_ns and table.status == "ACTIVE":
        now = call.env.clock.timestamp()
        if now - table.created < delay_ns:
            return "CREATING"
        if now - table.history.updated < delay_ns:
            return "UPDATING"
    return table.status
