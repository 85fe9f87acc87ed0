"""Encoded item keys (`gramme.tables.keys`): order, ranges and bounds against a plain sort and filter."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.tables.descriptor import KeySchema, ScalarType
from gramme.tables.keys import (
    SortOperator,
    decode_key,
    encode_key,
    key_after,
    key_of,
    partition_prefix,
    partition_range,
    sort_bounds,
)
from gramme.tables.requests import AttributeValue

TYPES: list[ScalarType] = ["S", "N", "B"]


def wire(kind: ScalarType, value: Any) -> AttributeValue:
    return {kind: base64.b64encode(value).decode() if kind == "B" else str(value)}


def comparable(kind: ScalarType, value: Any) -> Any:
    return value.encode() if kind == "S" else value


def values(kind: ScalarType) -> st.SearchStrategy[Any]:
    if kind == "S":
        return st.text(alphabet="ab\0\1\u00e9\U0001f600", max_size=4)
    if kind == "B":
        return st.lists(st.sampled_from([0, 1, 97, 0xFF]), max_size=4).map(bytes)
    return st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000).map(
        lambda value: Decimal(0) if value == 0 else value.normalize()
    )


@st.composite
def collections(draw: st.DrawFn) -> tuple[KeySchema, list[tuple[Any, Any]]]:
    hash_type, range_type = draw(st.sampled_from(TYPES)), draw(st.sampled_from(TYPES))
    rows = draw(st.lists(st.tuples(values(hash_type), values(range_type)), max_size=15))
    return KeySchema("pk", hash_type, "sk", range_type), rows


def encoded(schema: KeySchema, row: tuple[Any, Any]) -> bytes:
    assert schema.range_type is not None
    return encode_key(schema, wire(schema.hash_type, row[0]), wire(schema.range_type, row[1]))


@given(collections())
def test_an_item_collection_is_one_range_in_the_order_of_sort_keys(
    table: tuple[KeySchema, list[tuple[Any, Any]]],
) -> None:
    schema, rows = table
    assert schema.range_type is not None
    stored = sorted({encoded(schema, row): row for row in rows}.items())
    for hash_value, _ in rows:
        start, end = partition_range(schema, wire(schema.hash_type, hash_value))
        found = [row[1] for key, row in stored if start <= key < end]
        wanted = {comparable(schema.range_type, row[1]) for row in rows if row[0] == hash_value}
        assert [comparable(schema.range_type, value) for value in found] == sorted(wanted)


@given(collections(), st.data())
def test_sort_bounds_select_what_a_filter_selects(
    table: tuple[KeySchema, list[tuple[Any, Any]]], data: st.DataObject
) -> None:
    schema, rows = table
    kind = schema.range_type
    assert kind is not None
    hash_value = data.draw(st.sampled_from([row[0] for row in rows]) if rows else values(schema.hash_type))
    low, high = data.draw(values(kind)), data.draw(values(kind))
    operator = data.draw(st.sampled_from([op for op in SortOperator if kind != "N" or op.value != "begins_with"]))

    def holds(value: Any) -> bool:
        v, a, b = comparable(kind, value), comparable(kind, low), comparable(kind, high)
        tests = {
            SortOperator.EQUAL: lambda: v == a,
            SortOperator.LESS: lambda: v < a,
            SortOperator.LESS_OR_EQUAL: lambda: v <= a,
            SortOperator.GREATER: lambda: v > a,
            SortOperator.GREATER_OR_EQUAL: lambda: v >= a,
            SortOperator.BETWEEN: lambda: a <= v <= b,
            SortOperator.BEGINS_WITH: lambda: v.startswith(a),
        }
        return bool(tests[operator]())

    upper = wire(kind, high) if operator is SortOperator.BETWEEN else None
    start, end = sort_bounds(schema, wire(schema.hash_type, hash_value), operator, wire(kind, low), upper)
    found = {row for row in rows if start <= encoded(schema, row) < end}
    assert found == {row for row in rows if row[0] == hash_value and holds(row[1])}


@given(collections())
def test_decoding_gives_the_key_attributes_back(table: tuple[KeySchema, list[tuple[Any, Any]]]) -> None:
    schema, rows = table
    for row in rows:
        key = encoded(schema, row)
        item = decode_key(schema, key)
        assert list(item) == ["pk", "sk"]
        assert key_of(schema, {**item, "other": {"S": "x"}}) == key
        if schema.range_type != "N":
            assert item["sk"] == wire(schema.range_type or "S", row[1])
        else:
            assert item["sk"] == {"N": format(row[1], "f")}


def test_the_hash_in_front_is_md5_of_the_encoded_partition_key() -> None:
    key = encode_key(KeySchema("pk", "S"), {"S": "a"})
    assert key == hashlib.md5(b"a\x00\x01").digest() + b"a\x00\x01"
    assert key == partition_prefix(KeySchema("pk", "S"), {"S": "a"})
    assert decode_key(KeySchema("pk", "S"), key) == {"pk": {"S": "a"}}


def test_equal_numbers_are_one_key() -> None:
    schema = KeySchema("pk", "N")
    assert encode_key(schema, {"N": "1.0"}) == encode_key(schema, {"N": "10E-1"})
    assert decode_key(schema, encode_key(schema, {"N": "1.50"})) == {"pk": {"N": "1.5"}}


def test_nothing_lies_between_a_key_and_the_key_after_it() -> None:
    assert b"k" < key_after(b"k") <= b"k\x00"


def test_wrong_key_values_are_refused() -> None:
    plain, composite = KeySchema("pk", "S"), KeySchema("pk", "B", "sk", "N")
    with pytest.raises(InvalidInput, match="type S, not N"):
        encode_key(plain, {"N": "1"})
    with pytest.raises(InvalidInput, match="empty"):
        encode_key(plain, {})
    with pytest.raises(InvalidInput, match="type S"):
        encode_key(plain, {"S": 5})
    with pytest.raises(InvalidInput, match="table has none"):
        encode_key(plain, {"S": "a"}, {"S": "b"})
    with pytest.raises(InvalidInput, match="sort key sk is missing"):
        encode_key(composite, {"B": "YQ=="})
    with pytest.raises(InvalidInput, match="partition key pk is missing"):
        key_of(composite, {"sk": {"N": "1"}})
    for bad in ["YQ", "Y Q==", "Y!==", "YQ==YQ=="]:
        with pytest.raises(InvalidInput, match="base64"):
            encode_key(composite, {"B": bad}, {"N": "1"})
    with pytest.raises(InvalidInput, match="begins_with"):
        sort_bounds(composite, {"B": "YQ=="}, SortOperator.BEGINS_WITH, {"N": "1"})
    with pytest.raises(InvalidInput, match="two operands"):
        sort_bounds(composite, {"B": "YQ=="}, SortOperator.BETWEEN, {"N": "1"})
    with pytest.raises(InvalidInput, match="no sort key"):
        sort_bounds(plain, {"S": "a"}, SortOperator.EQUAL, {"S": "b"})


def test_a_key_that_was_cut_or_forged_is_told() -> None:
    schema = KeySchema("pk", "S", "sk", "N")
    key = encode_key(schema, {"S": "a"}, {"N": "12"})
    for length in range(len(key)):
        with pytest.raises(Corruption):
            decode_key(schema, key[:length])
    with pytest.raises(Corruption, match="hash"):
        decode_key(schema, bytes(16) + key[16:])
    with pytest.raises(Corruption, match="behind its end"):
        decode_key(schema, key + b"\x00")
