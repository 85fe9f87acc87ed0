"""ListTables: names in byte order, at most 100 a page."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call, guarded
from gramme.tables.catalog import CatalogReply, ListTables, TableNames
from gramme.tables.requests import Failed

_PAGE: Final = 100

_encode: Final = msgspec.json.Encoder().encode


def start(call: Call) -> None:
    """Begin ListTables."""
    limit = call.body.get("Limit") or _PAGE
    command = ListTables(call.body.get("ExclusiveStartTableName"), limit)
    call.env.backend.catalog(command, call.deadline, _on_reply(call))


def _answered(call: Call, reply: CatalogReply) -> None:
    if isinstance(reply, Failed):
        raise call.failure(reply)
    if not isinstance(reply, TableNames):
        raise TypeError(f"unexpected catalog reply {type(reply).__name__}")
    answer: dict[str, Any] = {"TableNames": reply.names}
    if reply.more and reply.names:
        answer["LastEvaluatedTableName"] = reply.names[-1]
    call.answer(_encode(answer))


_on_reply: Final = guarded(_answered)
