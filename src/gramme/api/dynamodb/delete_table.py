"""DeleteTable: refuses a protected table, then has the catalog delete it; the answer says DELETING.

The protection is read first, at the catalog's leader. That is no race worth a command of its own: only UpdateTable
could change it in between, and then either order of the two is a right one.
"""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call, guarded
from gramme.api.dynamodb.errors import table_in_use, table_not_found, validation
from gramme.api.dynamodb.table_description import describe
from gramme.tables.catalog import CatalogReply, DeleteTable, DescribeTable, NoSuchTable, TableInUse, TableReply
from gramme.tables.requests import Failed

_PROTECTED: Final = (
    "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first."
)


def start(call: Call) -> None:
    """Begin DeleteTable."""
    call.table_name = name = call.env.settings.table_name(call.body["TableName"])
    call.env.backend.catalog(DescribeTable(name), call.deadline, _on_described(call))


def _described(call: Call, reply: CatalogReply) -> None:
    table = _table_of(call, reply).table
    if table.settings.get("DeletionProtectionEnabled"):
        raise validation(_PROTECTED)
    call.env.backend.catalog(DeleteTable(call.table_name), call.deadline, _on_deleted(call))


def _deleted(call: Call, reply: CatalogReply) -> None:
    table = _table_of(call, reply)
    call.answer([b'{"TableDescription":', describe(table, "DELETING", call.env.settings), b"}"])


def _table_of(call: Call, reply: CatalogReply) -> TableReply:
    if isinstance(reply, TableReply):
        return reply
    if isinstance(reply, NoSuchTable):
        raise table_not_found(call.table_name)
    if isinstance(reply, TableInUse):
        raise table_in_use(reply.name, reply.status)
    if isinstance(reply, Failed):
        raise call.failure(reply)
    raise TypeError(f"unexpected catalog reply {type(reply).__name__}")


_on_described: Final = guarded(_described)
_on_deleted: Final = guarded(_deleted)
