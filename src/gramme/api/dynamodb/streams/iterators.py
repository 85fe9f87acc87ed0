"""Shard iterators: a place in a shard as a token that any node can read, for 15 minutes.

Rule: a token says everything itself, no node remembers one. It begins with the stream's ARN in clear, as the service's
do (SDKs and policies look there), and ends with a keyed digest over all of it: a damaged token, or one that this
software never gave out, is refused before anything is read. The digest guards against mistakes, not against forgers:
whoever may read the stream may ask for any place in it. Source: API reference, GetShardIterator.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from gramme.api.dynamodb.errors import ApiError, validation
from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Timestamp
from gramme.tables.streams import Position

LIFETIME_NS: Final = 15 * 60 * SECOND
HORIZON: Final = Position(0, 0)
"""The oldest record there is when the iterator is used, whatever has been trimmed by then; slot 0 holds no record."""

_FORMAT: Final = "1"
_PLACE: Final = Struct(">QQIQ")  # group, slot, index, given out (wall milliseconds)
_DIGEST_BYTES: Final = 8
_KEY: Final = b"gramme shard iterator"


class ShardIterator(NamedTuple):
    """Where to read: the next record of the shard of `group` at or behind `at`."""

    arn: str
    group: GroupId
    at: Position


def encode(iterator: ShardIterator, now: Timestamp) -> str:
    """The token, good for `LIFETIME_NS` from `now` on."""
    place = _PLACE.pack(iterator.group, iterator.at.slot, iterator.at.index, now // MILLISECOND)
    sealed = base64.urlsafe_b64encode(place + _digest(iterator.arn, place)).decode()
    return f"{iterator.arn}|{_FORMAT}|{sealed}"


def decode(token: str, now: Timestamp) -> ShardIterator:
    """Raises ApiError: ValidationException for a foreign or damaged token, ExpiredIteratorException for an old one."""
    arn, _, rest = token.partition("|")
    version, _, sealed = rest.partition("|")
    try:
        content = base64.b64decode(sealed.encode(), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    place, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if version != _FORMAT or len(place) != _PLACE.size or digest != _digest(arn, place):
        raise _invalid()
    group, slot, index, given_ms = _PLACE.unpack(place)
    if now - given_ms * MILLISECOND > LIFETIME_NS:
        raise ApiError("ExpiredIteratorException", "The provided iterator exceeds the maximum age allowed.")
    return ShardIterator(arn, GroupId(group), Position(slot, index))


def _digest(arn: str, place: bytes) -> bytes:
    digest = blake2b(arn.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, key=_KEY)
    digest.update(place)
    return digest.digest()


def _invalid() -> ApiError:
    return validation("Invalid ShardIterator")
