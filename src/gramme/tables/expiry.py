"""When an item expires (TTL): what the attribute named by UpdateTimeToLive says.

Rule: only a Number counts, as seconds since the epoch; an item is expired when that second is over, unless the time is
more than five years ago (then the value is taken for something else, and the item stays). Source: AWS developer guide,
"Using time to live (TTL) in DynamoDB".
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

FIVE_YEARS_S: Final = 5 * 365 * 86_400

_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value: Final = msgspec.json.Decoder(dict[str, Any]).decode


def expiry_of(json: bytes, attribute: str) -> int | None:
    """The time in `attribute` of an item's canonical JSON, in whole seconds since the epoch; None if there is none.

    Most of the cost is one search: the item is taken apart only where the attribute's name stands before a Number.
    """
    if _marker(attribute) not in json:
        return None
    raw = _members(json).get(attribute)  # the mark may have been deeper in the item
    number = None if raw is None else _value(raw).get("N")
    return None if number is None else int(Decimal(number))


def is_expired(expiry_s: int, now_s: int) -> bool:
    """Whether an item with this time of expiry is to be deleted."""
    return now_s - FIVE_YEARS_S <= expiry_s < now_s


@lru_cache(maxsize=1024)
def _marker(attribute: str) -> bytes:
    return _encode(attribute) + b':{"N":'
