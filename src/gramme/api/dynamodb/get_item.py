"""GetItem: the stored JSON as it is, or a projection of it. Source: API reference, GetItem."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call, guarded
from gramme.api.dynamodb.capacity import Usage, read_halves
from gramme.api.dynamodb.expressions import Rules, prepare
from gramme.api.dynamodb.legacy import with_projection
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.item import decode_item, encode_attributes
from gramme.tables.requests import Found, GetItem, Reply
from gramme.tables.schema import request_key
from gramme.tables.values import normalise_item

_RULES: Final = Rules(("ProjectionExpression",), ("AttributesToGet",))


def start(call: Call) -> None:
    """Begin GetItem."""
    body = call.body
    if _RULES.involved.isdisjoint(body):
        normalise_item(body["Key"])
    else:
        expressions = prepare(body, _RULES)
        normalise_item(body["Key"])
        expressions = with_projection(body, expressions)
        call.parsed = None if expressions is None else expressions.parsed.projection
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    key = request_key(table.key, call.body["Key"])
    request = GetItem(key, bool(call.body.get("ConsistentRead")))
    backend = call.env.backend
    reply = backend.read_here(table, key, request)
    if reply is not None:
        _answered(call, reply)
    else:
        backend.submit(table, key, request, None, call.deadline, _on_reply(call))


def _answered(call: Call, reply: Reply) -> None:
    if type(reply) is not Found:
        call.refused(reply)
        return
    item = reply.item
    if item is not None and call.parsed is not None:
        item = encode_attributes(call.parsed.apply(decode_item(item)))
    level = call.body.get("ReturnConsumedCapacity")
    if level is None:
        call.answer(b"{}" if item is None else b'{"Item":' + item + b"}")
        return
    members = b"" if item is None else b',"Item":' + item
    consistent = bool(call.body.get("ConsistentRead"))
    assert call.table is not None
    usage = Usage(call.body["TableName"], call.table)
    usage.add(read_halves(reply.size, consistent))
    members += usage.member(level)
    call.answer(b"{" + members[1:] + b"}")


_on_reply: Final = guarded(_answered)
