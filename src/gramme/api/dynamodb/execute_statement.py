"""ExecuteStatement: one PartiQL statement. Source: API reference, ExecuteStatement; developer guide, "PartiQL".

A SELECT that names partition keys reads their collections one after the other, each as a Query would; any other is a
Scan. Rule: a page ends where a native page ends, and NextToken goes on behind it; the token holds the last key and a
digest of statement and parameters, so that it is of use with these only.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call, TableGone, guarded
from gramme.api.dynamodb.capacity import Usage
from gramme.api.dynamodb.errors import ApiError, validation
from gramme.api.dynamodb.expressions import Prepared
from gramme.api.dynamodb.indexes import Source, check_query_filter, checked, with_source
from gramme.api.dynamodb.pages import TOP, RowReader
from gramme.api.dynamodb.selection import reader
from gramme.api.dynamodb.statements import Bound, Range, key_attributes, parameters_of, ranges, refused_write
from gramme.api.dynamodb.writes import returns_on_failure, send
from gramme.kernel.errors import InvalidInput
from gramme.kernel.md5 import md5
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.expression.projection import Projection
from gramme.tables.expression.request import Expressions
from gramme.tables.item import encode_attributes
from gramme.tables.keys import key_after
from gramme.tables.partiql.keys import Reading, reading
from gramme.tables.partiql.nodes import Exists, Select
from gramme.tables.partiql.parser import parse_statement
from gramme.tables.partiql.requests import bind, filter_of, labelled, projection_of, write_request
from gramme.tables.requests import Failed, FailureKind, Item, Reply, Written
from gramme.tables.values import normalise_item

_TOKEN: Final = "Invalid NextToken"

_encode: Final = msgspec.msgpack.Encoder().encode


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """NextToken before base64."""

    digest: bytes
    key: Item


_decode_token: Final = msgspec.msgpack.Decoder(_Token).decode


def start(call: Call) -> None:
    """Begin ExecuteStatement."""
    asked = call.body
    parameters = parameters_of(asked)
    parsed = parse_statement(asked["Statement"])
    call.parsed = bound = Bound(parsed, bind(parsed, parameters))
    statement = parsed.body
    if isinstance(statement, Exists):
        raise validation("EXISTS can only be used in ExecuteTransaction write requests.")
    native = {"TableName": statement.table, "ReturnConsumedCapacity": asked.get("ReturnConsumedCapacity")}
    if isinstance(statement, Select):
        _start_select(call, bound, statement, native)
        return
    native["ReturnValuesOnConditionCheckFailure"] = asked.get("ReturnValuesOnConditionCheckFailure")
    call.body = native
    call.with_table(_write)


# --- INSERT, UPDATE, DELETE


def _write(call: Call, table: TableDescriptor) -> None:
    parsed: Bound = call.parsed
    body = parsed.statement.body
    assert not isinstance(body, Select | Exists)
    request = write_request(body, parsed.values, table.key, returns_on_failure(call.body))
    send(call, table, request, _on_reply(call))


def _written(call: Call, reply: Reply) -> None:
    if type(reply) is not Written:
        error = refused_write(call.parsed.statement, reply)
        if error is None:
            call.refused(reply)
        else:
            call.fail(error)
        return
    assert call.table is not None
    usage = Usage(call.table.name, call.table)
    usage.add_write(reply)
    items = b"" if reply.attributes is None else reply.attributes
    call.answer([b'{"Items":[', items, b"]", usage.member(call.body.get("ReturnConsumedCapacity")), b"}"])


_on_reply: Final = guarded(_written)


# --- SELECT


class _Reading:
    """A SELECT on its way: what was asked, and what has been made of it."""

    __slots__ = ("asked", "digest", "projection", "select", "values")

    def __init__(self, asked: dict[str, Any], parsed: Bound, select: Select) -> None:
        self.asked = asked
        self.values = parsed.values
        self.select = select
        self.projection: Projection | None = projection_of(select)
        filter_of(select.where, parsed.values)  # judged whole, before what is about keys goes another way
        digest = md5(asked["Statement"].encode("utf-8", "surrogatepass"))
        digest.update(_encode(asked.get("Parameters")))
        self.digest = digest.digest()


def _start_select(call: Call, parsed: Bound, select: Select, native: dict[str, Any]) -> None:
    """Begin a SELECT: `native` becomes the members of a Query or Scan."""
    asked = call.body
    call.parsed = _Reading(asked, parsed, select)
    native["IndexName"] = select.index
    native["ConsistentRead"] = asked.get("ConsistentRead")
    native["Limit"] = asked.get("Limit")
    call.body = native
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    with_source(call, table, _planned)


def _planned(call: Call, source: Source) -> None:
    made: _Reading = call.parsed
    plan = reading(made.select.where, made.values, *key_attributes(source))
    places, reverse = _order(made.select, source, plan)
    call.body["ScanIndexForward"] = not reverse
    prepared = Prepared(
        Expressions(filter=filter_of(plan.rest, made.values), projection=made.projection), None, None, made.values
    )
    source = checked(source, call.body, prepared)
    if plan.hashes is not None:
        check_query_filter(source, prepared)
    places = _resumed(call, source, places, reverse)
    rows = reader(call.body, prepared, source)
    rows.projection = labelled(made.select, made.projection)
    call.run(_read(call, source, rows, places))


def _order(select: Select, source: Source, plan: Reading) -> tuple[list[Range], bool]:
    """The ranges in the order of reading, and whether each is read backwards. Raises ApiError."""
    hashed, ranged = key_attributes(source)
    directions: dict[str, bool] = {}
    if select.order and select.where is None:
        raise validation("Must have WHERE clause in the statement when using ORDER BY clause.")
    for order in select.order:
        if order.name not in dict((*hashed, *ranged)):
            raise validation(f"Variable reference {order.name} in ORDER BY clause must be part of the primary key")
        directions.setdefault(order.name, order.descending)
    if plan.hashes is None:
        if select.order:
            raise validation(
                "Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause."
            )
        return [(b"", TOP)], False
    reverse = bool(ranged) and directions.get(ranged[0][0], False)
    if directions.get(hashed[0][0]):
        plan.hashes.reverse()
    return ranges(source, plan, reverse), reverse


async def _read(call: Call, source: Source, rows: RowReader, places: list[Range]) -> None:
    try:
        for low, high in places:
            await rows.read(call, source.table, low, high)
            if rows.last_row is not None:
                break
    except TableGone:
        call.refused(Failed(FailureKind.NO_TABLE))
        return
    parts = [b'{"Items":[', b",".join(rows.rows), b"]"]
    last_key = rows.last_key()
    if last_key is not None:
        token = urlsafe_b64encode(_encode(_Token(call.parsed.digest, last_key)))
        parts += [b',"NextToken":"', token, b'","LastEvaluatedKey":', encode_attributes(last_key)]
    usage = rows.usage(source.table.name)
    parts += [usage.member(call.body.get("ReturnConsumedCapacity")), b"}"]
    call.answer(parts)


# --- NextToken


def _resumed(call: Call, source: Source, places: list[Range], reverse: bool) -> list[Range]:
    """What is left of the ranges behind NextToken. Raises ApiError."""
    made: _Reading = call.parsed
    text = made.asked.get("NextToken")
    if text is None:
        return places
    try:
        token = _decode_token(urlsafe_b64decode(text))
        normalise_item(token.key)
        key = source.start_key(token.key)
    except (ValueError, InvalidInput, ApiError, msgspec.MsgspecError):
        raise validation(_TOKEN) from None
    if token.digest != made.digest:
        raise validation(_TOKEN)
    for at, (low, high) in enumerate(places):
        if low <= key and (high == TOP or key < high):
            rest = (low, key) if reverse else (key_after(key), high)
            return [rest, *places[at + 1 :]]
    raise validation(_TOKEN)
