"""DeleteTable: refuses a protected table, then has the catalog delete it; the answer says DELETING.

The protection is read first, at the catalog's leader. That is no race worth a command of its own: only UpdateTable
could change it in between, and then either order of the two is a right one.
"""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.control import ask, described
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.table_description import describe
from gramme.tables.catalog import DeleteTable, TableReply

_PROTECTED: Final = (
    "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first."
)


def start(call: Call) -> None:
    """Begin DeleteTable."""
    described(call, call.body["TableName"], _described)


def _described(call: Call, reply: TableReply) -> None:
    if reply.table.settings.get("DeletionProtectionEnabled"):
        raise validation(_PROTECTED)
    ask(call, DeleteTable(call.table_name), _deleted)


def _deleted(call: Call, reply: TableReply) -> None:
    now = call.env.clock.timestamp()
    call.answer([b'{"TableDescription":', describe(reply, "DELETING", call.env.settings, now), b"}"])
