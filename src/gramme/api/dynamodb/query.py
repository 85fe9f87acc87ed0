"""Query: the items of one partition key, by the order of their sort keys. Source: API reference, Query."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Prepared, Rules, check_filter, prepare
from gramme.api.dynamodb.item_keys import normalise_start_key, start_key_of
from gramme.api.dynamodb.legacy import key_terms, with_filter, with_projection
from gramme.api.dynamodb.selection import check_index, check_select, reader
from gramme.tables.descriptor import KeySchema, TableDescriptor
from gramme.tables.expression.key_condition import KeyRange, key_range
from gramme.tables.keys import key_after, partition_range, sort_bounds
from gramme.tables.requests import Failed, FailureKind

_RULES: Final = Rules(
    ("ProjectionExpression", "FilterExpression", "KeyConditionExpression"),
    ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"),
)


def start(call: Call) -> None:
    """Begin Query."""
    body = call.body
    prepared = with_projection(body, with_filter(body, prepare(body, _RULES), "QueryFilter"))
    if body.get("ExclusiveStartKey") is not None:
        normalise_start_key(body["ExclusiveStartKey"])
    call.parsed = key_terms(body, prepared)
    check_select(body)
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    check_index(call.body)
    prepared, terms = call.parsed
    wanted = key_range(terms, prepared.values, table.key)
    check_filter(prepared, table.key.names)
    start, end = _bounds(table.key, wanted)
    if call.body.get("ExclusiveStartKey") is not None:
        start, end = _resume(call, table.key, wanted, start, end)
    call.run(_read(call, table, prepared, start, end))


async def _read(call: Call, table: TableDescriptor, prepared: Prepared, start: bytes, end: bytes) -> None:
    rows = reader(call.body, prepared)
    try:
        if start < end:
            await rows.read(call, table, start, end)
    except TableGone:
        call.refused(Failed(FailureKind.NO_TABLE))
        return
    rows.answer(call, table)


def _bounds(schema: KeySchema, wanted: KeyRange) -> tuple[bytes, bytes]:
    if wanted.operator is None:
        return partition_range(schema, wanted.hash_value)
    assert wanted.value is not None
    return sort_bounds(schema, wanted.hash_value, wanted.operator, wanted.value, wanted.upper)


def _resume(call: Call, schema: KeySchema, wanted: KeyRange, start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """What is left of the range behind ExclusiveStartKey, in the direction of reading."""
    key = start_key_of(schema, call.body["ExclusiveStartKey"])
    if not start <= key < end:
        if wanted.operator is None:
            raise validation("The provided starting key is outside query boundaries based on provided conditions")
        raise validation("The provided starting key does not match the range key predicate")
    if call.body.get("ScanIndexForward") is False:
        return start, key
    return key_after(key), end
