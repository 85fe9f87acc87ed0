"""BatchExecuteStatement: up to 25 PartiQL statements, each on its own. Source: API reference, BatchExecuteStatement.

Rules: either all read or all write, and none names an item that another names; each is answered in its place, with its
item or with an error of its own, so the call itself succeeds. A SELECT must name one whole key: it becomes a GetItem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call, is_repeated
from gramme.api.dynamodb.capacity import Usage, read_halves
from gramme.api.dynamodb.errors import ApiError, unreachable, validation
from gramme.api.dynamodb.large import PARSING_COST, Budget, free
from gramme.api.dynamodb.statements import Bound, parameters_of, refused_write
from gramme.api.dynamodb.table_lookup import find_each
from gramme.api.dynamodb.writes import returns_on_failure
from gramme.api.tasks import Gather
from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.partiql.nodes import Exists, Select
from gramme.tables.partiql.parser import parse_statement
from gramme.tables.partiql.requests import bind, labelled, projection_of, single_item, write_request
from gramme.tables.requests import (
    ConditionFailed,
    Failed,
    FailureKind,
    Found,
    GetItem,
    Reply,
    WriteRequest,
    Written,
)
from gramme.tables.rows import project_row

_CODES: Final = {
    "ConditionalCheckFailedException": "ConditionalCheckFailed",
    "ItemCollectionSizeLimitExceededException": "ItemCollectionSizeLimitExceeded",
    "ValidationException": "ValidationError",
    "ProvisionedThroughputExceededException": "ProvisionedThroughputExceeded",
    "TransactionConflictException": "TransactionConflict",
    "ThrottlingException": "ThrottlingError",
    "ResourceNotFoundException": "ResourceNotFound",
    "AccessDeniedException": "AccessDenied",
    "DuplicateItemException": "DuplicateItem",
}
"""Errors of statements by the errors of operations; every other is an InternalServerError."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Entry:
    """One statement: what was asked, then what it is, what is sent, what came back. `number` is its place, from 1."""

    number: int
    element: dict[str, Any]
    bound: Bound | None = None
    table: TableDescriptor | None = None
    request: GetItem | WriteRequest | None = None
    reply: Reply | None = None
    error: Exception | None = None


def start(call: Call) -> None:
    """Begin BatchExecuteStatement."""
    call.run(_run(call))


async def _run(call: Call) -> None:
    budget = Budget(call.env)
    entries = [_Entry(number, element) for number, element in enumerate(call.body["Statements"], 1)]
    for entry in entries:
        _read(entry)
        await budget.spend(PARSING_COST * len(entry.element["Statement"]))
    if len({entry.bound.statement.is_read for entry in entries if entry.bound is not None}) > 1:
        raise validation("Read and write requests together in the same batch is not supported.")
    await _send(call, entries, budget, fresh=False)
    gone = [entry for entry in entries if isinstance(entry.reply, Failed) and entry.reply.kind is FailureKind.NO_TABLE]
    await _send(call, gone, budget, fresh=True)
    _answer(call, entries)
    entries.clear()
    await free(call.body["Statements"], budget)


def _read(entry: _Entry) -> None:
    """Parse and bind; a fault of the statement stays with the entry. Raises InvalidValue for a bad parameter."""
    parameters = parameters_of(entry.element)
    try:
        statement = parse_statement(entry.element["Statement"])
        if isinstance(statement.body, Exists):
            raise validation("EXISTS can only be used in ExecuteTransaction write requests.")
        entry.bound = Bound(statement, bind(statement, parameters))
    except (InvalidInput, ApiError) as error:
        entry.error = error


# --- sending


async def _send(call: Call, entries: list[_Entry], budget: Budget, fresh: bool) -> None:
    """Send what has no fault yet, after all of it is known to be right, and note the replies."""
    entries = [entry for entry in entries if entry.bound is not None]
    names = list(dict.fromkeys(entry.bound.statement.body.table for entry in entries if entry.bound is not None))
    tables = await find_each(call, names, fresh)
    for entry in entries:
        entry.reply = entry.table = None
        _build(entry, tables)
        await budget.spend(_size(entry.request))
    sent = [entry for entry in entries if entry.error is None]
    _check_distinct(sent)
    replies: Gather[Reply] = Gather(len(sent))
    for index, entry in enumerate(sent):
        _submit(call, entry, replies.slot(index))
    for entry, reply in zip(sent, await replies, strict=True):
        entry.reply = reply


def _build(entry: _Entry, tables: dict[str, TableDescriptor | ApiError]) -> None:
    assert entry.bound is not None
    body, values = entry.bound.statement.body, entry.bound.values
    table = tables[body.table]
    try:
        if isinstance(table, ApiError):
            raise table
        if isinstance(body, Select):
            projection_of(body)
            key = single_item(body, values, table.key)
            if key is None:
                raise validation("Only single item select is supported")
            entry.request = GetItem(key, bool(entry.element.get("ConsistentRead")))
        else:
            assert not isinstance(body, Exists)
            entry.request = write_request(body, values, table.key, returns_on_failure(entry.element))
        entry.table = table
    except (InvalidInput, ApiError) as error:
        entry.error = error


def _size(request: GetItem | WriteRequest | None) -> int:
    """Bytes of JSON that building it has cost."""
    return len(getattr(request, "item", b""))


def _check_distinct(entries: list[_Entry]) -> None:
    seen: set[tuple[str, bytes]] = set()
    for entry in entries:
        assert entry.table is not None
        assert entry.request is not None
        place = (entry.table.table_id, entry.request.key)
        if place in seen:
            raise validation("Provided list of item keys contains duplicates")
        seen.add(place)


def _submit(call: Call, entry: _Entry, on_reply: Callable[[Reply], None]) -> None:
    table, request = entry.table, entry.request
    assert table is not None
    assert request is not None
    if isinstance(request, GetItem):
        call.env.backend.submit(table, request.key, request, None, call.deadline, on_reply)
        return
    content = _encode([entry.element["Statement"], entry.element.get("Parameters")])
    command_id = call.command_id(content, entry.number)
    repeated = is_repeated(call.request.headers)
    call.env.backend.submit(table, request.key, request, command_id, call.deadline, on_reply, repeated)


# --- the answer


def _answer(call: Call, entries: list[_Entry]) -> None:
    usages: dict[str, Usage] = {}
    parts: list[bytes] = [b'{"Responses":[']
    for at, entry in enumerate(entries):
        parts += [b"," if at else b"", *_response(call, entry)]
        _charge(usages, entry)
    level = call.body.get("ReturnConsumedCapacity")
    parts += [b"]", Usage.members(level, usages.values()) if usages else b"", b"}"]
    call.answer(parts)


def _response(call: Call, entry: _Entry) -> list[bytes]:
    reply, table = entry.reply, entry.table
    name = b"" if table is None else b'"TableName":' + _encode(table.name)
    if isinstance(reply, Written):
        return [b"{", name, *_item(reply.attributes), b"}"]
    if isinstance(reply, Found):
        return [b"{", name, *_item(_projected(entry, reply)), b"}"]
    error = _error(call, entry)
    return [b'{"Error":', error, b"," if name else b"", name, b"}"]


def _item(json: bytes | None) -> tuple[bytes, ...]:
    return () if json is None else (b',"Item":', json)


def _projected(entry: _Entry, reply: Found) -> bytes | None:
    assert entry.bound is not None
    body = entry.bound.statement.body
    assert isinstance(body, Select)
    projection = labelled(body, projection_of(body))
    if reply.item is None or projection is None:
        return reply.item
    return project_row(reply.item, projection)


def _error(call: Call, entry: _Entry) -> bytes:
    error, reply = entry.error, entry.reply
    if error is None:
        assert reply is not None
        assert entry.bound is not None
        if isinstance(reply, Failed) and reply.kind is FailureKind.NO_TABLE:
            error = unreachable()  # the catalog has just said that the table exists; nothing was applied
        else:
            error = refused_write(entry.bound.statement, reply) or call.refusal(reply, entry.table)
    if isinstance(error, InvalidInput):
        error = validation(str(error))
    if not isinstance(error, ApiError):
        raise error
    described: dict[str, Any] = {"Code": _CODES.get(error.name, "InternalServerError"), "Message": error.message}
    if isinstance(reply, ConditionFailed) and reply.item is not None:
        described["Item"] = msgspec.Raw(reply.item)
    return _encode(described)


def _charge(usages: dict[str, Usage], entry: _Entry) -> None:
    reply, table = entry.reply, entry.table
    if table is None or not isinstance(reply, Written | Found):
        return
    usage = usages.setdefault(table.table_id, Usage(table.name, table))
    if isinstance(reply, Written):
        usage.add_write(reply)
    else:
        assert isinstance(entry.request, GetItem)
        usage.add(read_halves(reply.size, entry.request.consistent))
