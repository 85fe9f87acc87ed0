"""DescribeTable: the newest descriptor, read at the catalog's leader, so that every node says the same."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call, guarded
from gramme.api.dynamodb.errors import table_not_found
from gramme.api.dynamodb.table_description import describe
from gramme.kernel.time import MILLISECOND
from gramme.tables.catalog import CatalogReply, DescribeTable, NoSuchTable, TableReply
from gramme.tables.requests import Failed


def start(call: Call) -> None:
    """Begin DescribeTable."""
    call.table_name = name = call.env.settings.table_name(call.body["TableName"])
    call.env.backend.catalog(DescribeTable(name), call.deadline, _on_reply(call))


def _answered(call: Call, reply: CatalogReply) -> None:
    if isinstance(reply, TableReply):
        call.answer([b'{"Table":', describe(reply, _status(call, reply), call.env.settings), b"}"])
    elif isinstance(reply, NoSuchTable):
        raise table_not_found(call.table_name)
    elif isinstance(reply, Failed):
        raise call.failure(reply)
    else:
        raise TypeError(f"unexpected catalog reply {type(reply).__name__}")


def _status(call: Call, reply: TableReply) -> str:
    delay_ns = call.env.settings.control_plane_delay_ms * MILLISECOND
    if delay_ns and call.env.clock.timestamp() - reply.table.created < delay_ns:
        return "CREATING"
    return reply.table.status


_on_reply: Final = guarded(_answered)
