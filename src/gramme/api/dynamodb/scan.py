"""Scan: all rows of a table, or of one of equal slices of its hash space. Source: API reference, Scan."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Rules, prepare
from gramme.api.dynamodb.indexes import Source, checked, with_source
from gramme.api.dynamodb.item_keys import normalise_start_key
from gramme.api.dynamodb.legacy import with_filter, with_projection
from gramme.api.dynamodb.pages import TOP
from gramme.api.dynamodb.selection import check_select, reader
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.keys import HASH_BYTES, key_after
from gramme.tables.requests import Failed, FailureKind

_RULES: Final = Rules(
    ("ProjectionExpression", "FilterExpression"), ("AttributesToGet", "ScanFilter", "ConditionalOperator")
)
_HASH_BITS: Final = 8 * HASH_BYTES


def start(call: Call) -> None:
    """Begin Scan."""
    body = call.body
    call.parsed = with_filter(body, with_projection(body, prepare(body, _RULES)), "ScanFilter")
    if body.get("ExclusiveStartKey") is not None:
        normalise_start_key(body["ExclusiveStartKey"])
    _check_segments(body.get("Segment"), body.get("TotalSegments"))
    check_select(body)
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    with_source(call, table, _planned)


def _planned(call: Call, source: Source) -> None:
    body = call.body
    source = checked(source, body, call.parsed)
    start, end = segment_range(body.get("Segment"), body.get("TotalSegments"))
    if body.get("ExclusiveStartKey") is not None:
        key = source.start_key(body["ExclusiveStartKey"])
        if key < start or (end != TOP and key >= end):
            raise validation(
                "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with "
                f"correct Segment. TotalSegments: {body.get('TotalSegments')} Segment: {body.get('Segment')}"
            )
        start = key_after(key)
    call.run(_read(call, source, start, end))


async def _read(call: Call, source: Source, start: bytes, end: bytes) -> None:
    rows = reader(call.body, call.parsed, source)
    try:
        await rows.read(call, source.table, start, end)
    except TableGone:
        call.refused(Failed(FailureKind.NO_TABLE))
        return
    rows.answer(call)


def _check_segments(segment: int | None, total: int | None) -> None:
    if segment is None and total is None:
        return
    if total is None:
        raise validation(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is "
            "present"
        )
    if segment is None:
        raise validation(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is "
            "present"
        )
    if segment >= total:
        raise validation(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
            f"Segment: {segment} is not less than TotalSegments: {total}"
        )


def segment_range(segment: int | None, total: int | None) -> tuple[bytes, bytes]:
    """[start, end) of the encoded keys of one of `total` equal slices of the hash space."""
    if segment is None or total is None:
        return b"", TOP
    return _cut(segment, total), TOP if segment + 1 == total else _cut(segment + 1, total)


def _cut(index: int, total: int) -> bytes:
    if index == 0:
        return b""
    return ((index << _HASH_BITS) // total).to_bytes(HASH_BYTES, "big")
