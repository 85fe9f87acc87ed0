"""Items and keys against a table's key schema and the size limits.

Owns which items a table takes. Rule: what passes here has exactly the key attributes the table wants, in their types,
not empty and within the key limits, so encoding its key cannot fail. The texts are the service's and differ between an
item to put and a key to look up. Source: AWS developer guide, "Constraints" (partition key 1-2,048 bytes, sort key
1-1,024 bytes, item 400 KB).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gramme.kernel.errors import InvalidInput
from gramme.kernel.md5 import md5
from gramme.tables.compare import type_of
from gramme.tables.descriptor import KeySchema
from gramme.tables.item import MAX_ITEM_BYTES
from gramme.tables.keys import encode_scalar
from gramme.tables.requests import AttributeValue, Item
from gramme.tables.values import value_size

MAX_HASH_BYTES: Final = 2048
MAX_RANGE_BYTES: Final = 1024
_LEAST_BYTES: Final = 3  # of an encoded value that is certainly not empty

_INVALID: Final = "One or more parameter values were invalid: "
EMPTY_KEY: Final = "One or more parameter values are not valid. "
"""Begins the texts about an empty value of a key, of a table or an index, which transactions treat apart."""
_MISMATCH: Final = "The provided key element does not match the schema"


class InvalidItem(InvalidInput):
    """The item or key does not fit the table or a limit: a ValidationException with the service's text."""


def check_item_size(size: int) -> None:
    """Refuse an item to put of more than 400 KB. Raises InvalidItem."""
    if size > MAX_ITEM_BYTES:
        raise InvalidItem("Item size has exceeded the maximum allowed size")


def check_item(key: KeySchema, item: Item) -> None:
    """Check a normalised item to put against the table's keys. Raises InvalidItem."""
    _check_types(key, item)
    _check_sizes(key, item)


def _check_types(key: KeySchema, item: Item) -> None:
    _check_in_item(key.hash_name, key.hash_type, item)
    if key.range_name is not None and key.range_type is not None:
        _check_in_item(key.range_name, key.range_type, item)


def check_key(key: KeySchema, attributes: Item) -> None:
    """Check that normalised `attributes` are exactly the table's primary key. Raises InvalidItem."""
    _check_shape(key, attributes)
    _check_sizes(key, attributes)


def _check_shape(key: KeySchema, attributes: Item) -> None:
    hash_value = attributes.get(key.hash_name)
    if hash_value is None or key.hash_type not in hash_value:
        raise InvalidItem(_MISMATCH)
    if key.range_name is None:
        if len(attributes) != 1:
            raise InvalidItem(_MISMATCH)
    else:
        range_value = attributes.get(key.range_name)
        if range_value is None or key.range_type not in range_value or len(attributes) != 2:
            raise InvalidItem(_MISMATCH)


def item_key(key: KeySchema, item: Item) -> bytes:
    """The encoded key of a normalised item to put, checked like `check_item`. Raises InvalidItem."""
    _check_types(key, item)
    return _encoded(key, item)


def request_key(key: KeySchema, attributes: Item) -> bytes:
    """The encoded key that a Get, Update or Delete names, checked like `check_key`. Raises InvalidItem."""
    _check_shape(key, attributes)
    return _encoded(key, attributes)


def _encoded(key: KeySchema, attributes: Item) -> bytes:
    """The encoded key, its attributes being there in their types. An encoding is never shorter than what it encodes, so
    most sizes need no measuring. Raises InvalidItem."""
    try:
        encoded = encode_scalar(key.hash_type, attributes[key.hash_name])
        fits = _LEAST_BYTES <= len(encoded) <= MAX_HASH_BYTES
        prefix = md5(encoded).digest() + encoded
        if key.range_name is not None and key.range_type is not None:
            encoded = encode_scalar(key.range_type, attributes[key.range_name])
            fits = fits and _LEAST_BYTES <= len(encoded) <= MAX_RANGE_BYTES
            prefix += encoded
    except InvalidInput:
        _check_sizes(key, attributes)  # whose faults come first
        raise
    if not fits:
        _check_sizes(key, attributes)
    return prefix


def check_key_content(name: str, value: AttributeValue) -> None:
    """Refuse an empty key attribute. Raises InvalidItem."""
    if value.get("S") == "" or value.get("B") == "":
        kind = "string" if "S" in value else "binary"
        raise InvalidItem(
            f"{EMPTY_KEY}The AttributeValue for a key attribute cannot contain an empty {kind} value. Key: {name}"
        )


def check_updated_attributes(names: Iterable[object], key_names: Iterable[str]) -> None:
    """Refuse an update of key attributes; `names` are the first steps of the updated paths. Raises InvalidItem."""
    keys = tuple(key_names)
    for name in names:
        if name in keys:
            raise InvalidItem(f"{_INVALID}Cannot update attribute {name}. This attribute is part of the key")


def _check_in_item(name: str, kind: str, item: Item) -> None:
    value = item.get(name)
    if value is None:
        raise InvalidItem(f"{_INVALID}Missing the key {name} in the item")
    if kind not in value:
        raise InvalidItem(f"{_INVALID}Type mismatch for key {name} expected: {kind} actual: {type_of(value)}")


def _check_sizes(key: KeySchema, attributes: Item) -> None:
    value = attributes[key.hash_name]
    check_key_content(key.hash_name, value)
    if value_size(value) > MAX_HASH_BYTES:
        raise InvalidItem(f"{_INVALID}Size of hashkey has exceeded the maximum size limit of{MAX_HASH_BYTES} bytes")
    if key.range_name is not None:
        value = attributes[key.range_name]
        check_key_content(key.range_name, value)
        if value_size(value) > MAX_RANGE_BYTES:
            raise InvalidItem(
                f"{_INVALID}Aggregated size of all range keys has exceeded the size limit of {MAX_RANGE_BYTES} bytes"
            )
