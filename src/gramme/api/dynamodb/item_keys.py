"""From a page token (ExclusiveStartKey) to the encoded key behind which a page begins."""

from __future__ import annotations

from typing import Any

from gramme.api.dynamodb.errors import validation
from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import KeySchema
from gramme.tables.requests import Item
from gramme.tables.schema import request_key
from gramme.tables.values import WrongJsonType, normalise_item


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
