"""From the attributes of a request to encoded keys: of items, of keys to look up, and of pages to go on from."""

from __future__ import annotations

from typing import Any

from gramme.api.dynamodb.errors import validation
from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import KeySchema
from gramme.tables.keys import key_of
from gramme.tables.requests import Item
from gramme.tables.schema import check_item, check_key
from gramme.tables.values import WrongJsonType, normalise_item


def item_key(schema: KeySchema, item: Item) -> bytes:
    """The encoded key of a normalised item to put. Raises InvalidItem."""
    check_item(schema, item)
    return key_of(schema, item)


def request_key(schema: KeySchema, attributes: Item) -> bytes:
    """The encoded key of normalised `attributes`, which must be a whole key and no more. Raises InvalidItem."""
    check_key(schema, attributes)
    return key_of(schema, attributes)


def normalise_start_key(start_key: Any) -> None:
    """Check and normalise ExclusiveStartKey in place. Raises ApiError, WrongJsonType."""
    try:
        normalise_item(start_key)
    except WrongJsonType:
        raise
    except InvalidInput as error:
        raise validation(f"The provided starting key is invalid: {error}") from None


def start_key_of(schema: KeySchema, start_key: Item) -> bytes:
    """The encoded key in a page token, checked for shape only: it need not be that of an item. Raises ApiError."""
    try:
        return request_key(schema, start_key)
    except InvalidInput as error:
        raise validation(f"The provided starting key is invalid: {error}") from None
