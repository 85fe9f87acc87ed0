"""The encoded key of an item: what orders a table's rows and cuts it into partitions.

Layout: MD5 of the encoded partition key (16 bytes), the encoded partition key, the encoded sort key. The hash spreads
items over the partitions (DeCandia et al., SOSP 2007, §4.2 hashes keys with MD5; the DynamoDB paper, ATC 2022, §2,
derives the partition from a hash of the partition key); the partition key behind it keeps two keys of one
hash apart; the sort key orders an item collection. Rule: all items of one partition key form the contiguous range
[prefix, successor(prefix)), in the order of their sort keys: text by UTF-8 bytes, binary by unsigned bytes, numbers by
value.

Values are in wire form: `{"S": "x"}`, `{"N": "1"}`, `{"B": "<base64>"}`, of the type that the schema names. Key size
limits and messages for wrong types belong to `gramme.tables.schema`; here a wrong type is a clear `InvalidInput`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.kernel.md5 import md5
from gramme.storage.encoding import (
    decode_bytes,
    decode_number,
    decode_text,
    encode_bytes,
    encode_number,
    encode_text,
    escape,
    successor,
    text_bytes,
)
from gramme.tables.descriptor import KeySchema, ScalarType
from gramme.tables.requests import AttributeValue, Item

__all__ = [
    "HASH_BYTES",
    "SortOperator",
    "decode_key",
    "encode_key",
    "encode_scalar",
    "escaped_prefix",
    "key_after",
    "key_of",
    "partition_prefix",
    "partition_range",
    "sort_bounds",
    "successor",
]

HASH_BYTES: Final = 16
"""Bytes of the hash in front of every key: the space that a table's first cuts divide."""


class SortOperator(Enum):
    """Comparisons that a key condition may put on the sort key."""

    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    BETWEEN = "BETWEEN"
    BEGINS_WITH = "begins_with"


def encode_key(schema: KeySchema, hash_value: AttributeValue, range_value: AttributeValue | None = None) -> bytes:
    """The encoded key of the item with these key attributes.

    Raises `InvalidInput` if a value is of another type than the schema's, is no number or base64, or if the sort key
    is missing or superfluous.
    """
    encoded = encode_scalar(schema.hash_type, hash_value)
    prefix = md5(encoded).digest() + encoded
    if schema.range_type is None:
        if range_value is not None:
            raise InvalidInput("a sort key is given, but the table has none")
        return prefix
    if range_value is None:
        raise InvalidInput(f"the sort key {schema.range_name} is missing")
    return prefix + encode_scalar(schema.range_type, range_value)


def key_of(schema: KeySchema, item: Mapping[str, AttributeValue]) -> bytes:
    """The encoded key of `item`, which may hold other attributes too. Raises `InvalidInput` as `encode_key`."""
    hash_value = item.get(schema.hash_name)
    if hash_value is None:
        raise InvalidInput(f"the partition key {schema.hash_name} is missing")
    return encode_key(schema, hash_value, None if schema.range_name is None else item.get(schema.range_name))


def partition_prefix(schema: KeySchema, hash_value: AttributeValue) -> bytes:
    """What the encoded keys of all items with this partition key begin with, and no other's."""
    encoded = encode_scalar(schema.hash_type, hash_value)
    return md5(encoded).digest() + encoded


def partition_range(schema: KeySchema, hash_value: AttributeValue) -> tuple[bytes, bytes]:
    """[start, end) of the items with this partition key: a Query without a condition on the sort key."""
    prefix = partition_prefix(schema, hash_value)
    return prefix, successor(prefix)


def key_after(key: bytes) -> bytes:
    """The smallest byte string above `key`: where the page after `key` begins (ExclusiveStartKey)."""
    return key + b"\x00"


def sort_bounds(
    schema: KeySchema,
    hash_value: AttributeValue,
    operator: SortOperator,
    value: AttributeValue,
    upper: AttributeValue | None = None,
) -> tuple[bytes, bytes]:
    """[start, end) of the items with this partition key whose sort key stands in `operator` to `value`.

    BETWEEN includes both `value` and `upper`; a lower bound above the upper one gives an empty range (start >= end).
    Raises `InvalidInput` for a wrong type, for `begins_with` on a number, or where the table has no sort key.
    """
    if schema.range_type is None:
        raise InvalidInput("the table has no sort key")
    prefix = partition_prefix(schema, hash_value)
    if operator is SortOperator.BEGINS_WITH:
        start = prefix + escaped_prefix(schema.range_type, value)
        return start, successor(start)
    point = prefix + encode_scalar(schema.range_type, value)
    if operator is SortOperator.EQUAL:
        return point, key_after(point)
    if operator is SortOperator.LESS:
        return prefix, point
    if operator is SortOperator.LESS_OR_EQUAL:
        return prefix, key_after(point)
    if operator is SortOperator.GREATER:
        return key_after(point), successor(prefix)
    if operator is SortOperator.GREATER_OR_EQUAL:
        return point, successor(prefix)
    if upper is None:
        raise InvalidInput("BETWEEN needs two operands")
    return point, key_after(prefix + encode_scalar(schema.range_type, upper))


def escaped_prefix(kind: ScalarType, value: AttributeValue) -> bytes:
    """The beginning of every encoded value of `kind` that begins with `value`."""
    content = _content(kind, value)
    if kind == "S":
        return escape(text_bytes(content))
    if kind == "B":
        return escape(_from_base64(content))
    raise InvalidInput("begins_with needs a sort key of type S or B")


def decode_key(schema: KeySchema, key: bytes) -> Item:
    """The key attributes in an encoded key, hash first (LastEvaluatedKey). Raises `Corruption`.

    Numbers come back in normal form. The hash is checked, so a key that was cut or forged is told from a real one.
    """
    value, offset = _DECODERS[schema.hash_type](key, HASH_BYTES)
    if md5(key[HASH_BYTES:offset]).digest() != key[:HASH_BYTES]:
        raise Corruption("the hash in an encoded key is not that of its partition key")
    item: Item = {schema.hash_name: {schema.hash_type: value}}
    if schema.range_name is not None and schema.range_type is not None:
        value, offset = _DECODERS[schema.range_type](key, offset)
        item[schema.range_name] = {schema.range_type: value}
    if offset != len(key):
        raise Corruption("an encoded key has bytes behind its end")
    return item


def encode_scalar(kind: ScalarType, value: AttributeValue) -> bytes:
    """Order-preserving encoding of a value of type `kind`. Raises `InvalidInput`."""
    try:
        return _ENCODERS[kind](value[kind])
    except (KeyError, TypeError, AttributeError):
        _content(kind, value)  # says what is wrong
        raise


def _content(kind: ScalarType, value: AttributeValue) -> str:
    content = value.get(kind)
    if len(value) != 1 or not isinstance(content, str):
        raise InvalidInput(f"a key value must be of type {kind}, not {', '.join(value) or 'empty'}")
    return content


def _from_base64(content: str) -> bytes:
    try:
        return binascii.a2b_base64(content, strict_mode=True)
    except ValueError as error:
        raise InvalidInput("a binary key value is not valid base64") from error


def _encode_binary(content: str) -> bytes:
    return encode_bytes(_from_base64(content))


def _decode_binary(data: bytes, offset: int) -> tuple[str, int]:
    raw, end = decode_bytes(data, offset)
    return binascii.b2a_base64(raw, newline=False).decode(), end


_ENCODERS: Final[dict[ScalarType, Callable[[str], bytes]]] = {
    "S": encode_text,
    "N": encode_number,
    "B": _encode_binary,
}

_DECODERS: Final[dict[ScalarType, Callable[[bytes, int], tuple[str, int]]]] = {
    "S": decode_text,
    "N": decode_number,
    "B": _decode_binary,
}
