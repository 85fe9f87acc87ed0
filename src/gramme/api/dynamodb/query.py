"""Query: the items of one partition key, by the order of their sort keys. Source: API reference, Query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Rules, check_filter, prepare
from gramme.api.dynamodb.indexes import Source, check_query_filter, checked, index_bounds, with_source
from gramme.api.dynamodb.item_keys import normalise_start_key
from gramme.api.dynamodb.legacy import key_terms, with_filter, with_projection
from gramme.api.dynamodb.pages import RowReader
from gramme.api.dynamodb.selection import check_select, reader
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.expression.key_condition import KeyTerm, key_range
from gramme.tables.expression.nodes import Values
from gramme.tables.keys import key_after, partition_range, sort_bounds
from gramme.tables.requests import Failed, FailureKind

_RULES: Final = Rules(
    ("ProjectionExpression", "FilterExpression", "KeyConditionExpression"),
    ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"),
)


def start(call: Call) -> None:
    """Begin Query."""
    body = call.body
    prepared = prepare(body, _RULES)
    if not _RULES.clashing.isdisjoint(body):
        prepared = with_projection(body, with_filter(body, prepared, "QueryFilter"))
    if body.get("ExclusiveStartKey") is not None:
        normalise_start_key(body["ExclusiveStartKey"])
    call.parsed = key_terms(body, prepared)
    check_select(body)
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    with_source(call, table, _planned)


def _planned(call: Call, source: Source) -> None:
    prepared, terms = call.parsed
    source = checked(source, call.body, prepared)
    start, end = _bounds(source, terms, prepared.values)
    if prepared.parsed.filter is not None:
        check_filter(prepared, source.condition_names)
        check_query_filter(source, prepared)
    if call.body.get("ExclusiveStartKey") is not None:
        start, end = _resume(call, source, len(terms) > 1, start, end)
    rows = reader(call.body, prepared, source)
    left = rows.begin(call, source.table, start, end)
    if left is None:
        rows.answer(call)
    else:
        call.run(_read(call, source, rows, *left))


async def _read(call: Call, source: Source, rows: RowReader, start: bytes, end: bytes) -> None:
    try:
        await rows.read(call, source.table, start, end)
    except TableGone:
        call.refused(Failed(FailureKind.NO_TABLE))
        return
    rows.answer(call)


def _bounds(source: Source, terms: Mapping[str, KeyTerm], values: Values) -> tuple[bytes, bytes]:
    schema = source.table.key
    if source.index is not None:
        return index_bounds(source.index, schema, terms, values)
    wanted = key_range(terms, values, schema)
    if wanted.operator is None:
        return partition_range(schema, wanted.hash_value)
    assert wanted.value is not None
    return sort_bounds(schema, wanted.hash_value, wanted.operator, wanted.value, wanted.upper)


def _resume(call: Call, source: Source, ranged: bool, start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """What is left of the range behind ExclusiveStartKey, in the direction of reading."""
    key = source.start_key(call.body["ExclusiveStartKey"])
    if not start <= key < end:
        if not ranged:
            raise validation("The provided starting key is outside query boundaries based on provided conditions")
        raise validation("The provided starting key does not match the range key predicate")
    if call.body.get("ScanIndexForward") is False:
        return start, key
    return key_after(key), end
