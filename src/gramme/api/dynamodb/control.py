"""What the operations on tables share: from the catalog's reply to the table, or to the error of the operation.

Rule: every control operation gets its answer from the catalog's leader, never from a cache, so that what one client
changed is what the next one sees, whichever node it asks.
"""

from __future__ import annotations

from collections.abc import Callable

from gramme.api.dynamodb.call import Call, guarded
from gramme.api.dynamodb.errors import ApiError, table_in_use, table_not_found, validation
from gramme.tables.catalog import (
    CatalogReply,
    CatalogRequest,
    DescribeTable,
    NoSuchIndex,
    NoSuchTable,
    TableInUse,
    TableReply,
)
from gramme.tables.requests import Failed, Refused

Missing = Callable[[str], ApiError]


def table_of(call: Call, reply: CatalogReply, missing: Missing = table_not_found) -> TableReply:
    """The table in a catalog's reply. Raises ApiError; `missing` makes that of a table which does not exist."""
    if isinstance(reply, TableReply):
        return reply
    if isinstance(reply, NoSuchTable):
        raise missing(call.table_name)
    if isinstance(reply, NoSuchIndex):
        raise ApiError("ResourceNotFoundException", "Requested resource not found")
    if isinstance(reply, TableInUse):
        raise table_in_use(reply.name, reply.status)
    if isinstance(reply, Refused):
        raise validation(reply.message)
    if isinstance(reply, Failed):
        raise call.failure(reply)
    raise TypeError(f"unexpected catalog reply {type(reply).__name__}")


def ask(
    call: Call,
    request: CatalogRequest,
    answered: Callable[[Call, TableReply], None],
    missing: Missing = table_not_found,
) -> None:
    """Have the catalog evaluate `request`, and go on with the table that it answers with."""
    handle = guarded(lambda call, reply: answered(call, table_of(call, reply, missing)))
    call.env.backend.catalog(request, call.deadline, handle(call))


def described(
    call: Call,
    name_or_arn: str,
    answered: Callable[[Call, TableReply], None],
    missing: Missing = table_not_found,
) -> None:
    """Go on with the newest descriptor of a table. Raises ApiError if the name is a foreign ARN."""
    call.table_name = call.env.settings.table_name(name_or_arn)
    ask(call, DescribeTable(call.table_name), answered, missing)
